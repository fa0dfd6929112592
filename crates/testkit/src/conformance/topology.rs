//! Declaring and comparing.

use super::{Subject, publish, queue, until_ready, with_queue};
use pumasi_common::{
    QueueSpec, Task, TopicName, Topology,
    queue::{SubscriptionName, TopicSpec},
    topology::TopologyError,
};
use std::num::NonZeroU64;

pub(super) async fn ensuring_twice_changes_nothing(subject: Subject) {
    let topology = Topology::of_queues([queue()]);
    let first = subject.ensure_topology(&topology).await.unwrap();
    assert_eq!(
        (first.missing.len(), first.present.len()),
        (2, 0),
        "{first:?}"
    );
    let second = subject.ensure_topology(&topology).await.unwrap();
    assert_eq!(
        (second.missing.len(), second.present.len()),
        (0, 2),
        "{second:?}"
    );
}

pub(super) async fn everything_of_a_new_topic_is_missing_until_it_is_ensured(subject: Subject) {
    let topology = Topology {
        queues: Vec::new(),
        topics: vec![TopicSpec {
            name: TopicName::new("orders").unwrap(),
            subscriptions: vec![SubscriptionName::new("mail").unwrap()],
        }],
    };
    let all = [
        "topic `orders`",
        "queue `orders.mail.dead`",
        "queue `orders.mail`",
        "binding `orders` -> `orders.mail`",
    ];
    let planned = subject.plan_topology(&topology).await.unwrap();
    assert_eq!(
        (planned.missing, planned.present.len()),
        (all.map(str::to_owned).into(), 0)
    );
    let made = subject.ensure_topology(&topology).await.unwrap();
    assert_eq!(
        (made.missing, made.present.len()),
        (all.map(str::to_owned).into(), 0)
    );
    let planned = subject.plan_topology(&topology).await.unwrap();
    assert_eq!(
        (planned.present, planned.missing.len()),
        (all.map(str::to_owned).into(), 0)
    );
}

pub(super) async fn a_difference_is_reported_and_nothing_is_changed(subject: Subject) {
    let queue = with_queue(&subject).await;
    publish(&subject, &queue, Task::new("kept")).await;
    let other = QueueSpec {
        length_max: NonZeroU64::new(10),
        ..QueueSpec::new(queue.clone())
    };
    let topology = Topology {
        queues: vec![other],
        topics: Vec::new(),
    };
    let plan = subject.plan_topology(&topology).await.unwrap();
    assert_eq!(plan.differences.len(), 1, "{plan:?}");
    let error = subject.ensure_topology(&topology).await.unwrap_err();
    let TopologyError::Mismatch { differences } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(differences, &plan.differences);
    assert!(
        differences[0].object.contains(queue.as_str()),
        "{differences:?}"
    );
    assert!(differences[0].want.contains("10"), "{differences:?}");
    until_ready(&subject, &queue, 1).await;
}

pub(super) async fn a_queue_that_is_purged_is_empty(subject: Subject) {
    let queue = with_queue(&subject).await;
    for number in 0..7 {
        publish(&subject, &queue, Task::new(number.to_string())).await;
    }
    until_ready(&subject, &queue, 7).await;
    assert_eq!(subject.admin().purge(&queue).await.unwrap(), 7);
    until_ready(&subject, &queue, 0).await;
}
