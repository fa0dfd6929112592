//! Publishing, handing out and settling within one process.

use crate::support::{consume, next, open, publish, queue, settings, submit, text};
use futures_util::{FutureExt, StreamExt, future::join_all};
use pumasi_broker_sqlite::SqliteBroker;
use pumasi_common::{
    Broker, DeadLetter, DeadReason, Destination, Publication, PublishOutcome, QueueKind, QueueSpec,
    Refusal, Settlement, SubscriptionName, Task, TaskKind, TopicName, Topology, queue::TopicSpec,
    task::HeaderValue, topology::TopologyError,
};
use std::{
    num::{NonZeroU32, NonZeroU64},
    time::Duration,
};
use tempfile::tempdir;

#[tokio::test(flavor = "multi_thread")]
async fn a_task_comes_out_as_it_went_in() {
    let dir = tempdir().unwrap();
    let broker = open(&dir.path().join("new/folder/s.db")).await;
    let mut task = Task::new(vec![0, 255, 7]).with_kind(TaskKind::new("resize").unwrap());
    task.content_type = Some("image/png".into());
    task.submitted_at = Some(1_700_000_000);
    task.priority = Some(9);
    task.expires_after = Some(Duration::from_millis(90_500));
    task.submitter = Some("me".into());
    task.reply_to = Some("answers".into());
    task.correlation_id = Some("c".into());
    task.attempt = NonZeroU32::new(3).unwrap();
    task.headers
        .set("b", HeaderValue::Bytes(vec![0, 200].into()));
    task.headers.set("f", HeaderValue::Float(0.1));
    let outcome = broker
        .publish(Publication::new(Destination::Queue(queue()), task.clone()))
        .await;
    assert!(
        matches!(outcome, PublishOutcome::Accepted(_)),
        "{outcome:?}"
    );
    let mut consumer = consume(&broker, &queue(), 1).await;
    let delivery = next(&mut consumer).await;
    assert_eq!(**delivery.task(), task);
    assert!(!delivery.redelivered());
    delivery.settle(Settlement::Ack).unwrap();
    consumer.close().await;
    let status = broker.admin().queue(&queue()).await.unwrap();
    assert_eq!(
        (status.ready, status.in_flight, status.consumers),
        (0, Some(0), 0)
    );
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_idle_consumers_split_three_tasks_two_and_one() {
    let dir = tempdir().unwrap();
    let broker = open(&dir.path().join("s.db")).await;
    let mut first = consume(&broker, &queue(), 5).await;
    let mut second = consume(&broker, &queue(), 5).await;
    for name in ["1", "2", "3"] {
        submit(&broker, name).await;
    }
    let (a, b, c) = (
        next(&mut first).await,
        next(&mut second).await,
        next(&mut first).await,
    );
    assert_eq!([text(&a), text(&b), text(&c)], ["1", "2", "3"]);
    assert!(second.next().now_or_never().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_holds_at_most_its_prefetch() {
    let dir = tempdir().unwrap();
    let broker = open(&dir.path().join("s.db")).await;
    for name in ["1", "2", "3"] {
        submit(&broker, name).await;
    }
    let mut consumer = consume(&broker, &queue(), 2).await;
    let first = next(&mut consumer).await;
    let second = next(&mut consumer).await;
    let status = broker.admin().queue(&queue()).await.unwrap();
    assert_eq!((status.ready, status.in_flight), (1, Some(2)));
    second.settle(Settlement::Ack).unwrap();
    let third = next(&mut consumer).await;
    assert_eq!(text(&third), "3");
    drop(first);
    let again = next(&mut consumer).await;
    assert_eq!(text(&again), "1");
    assert!(again.redelivered());
}

#[tokio::test(flavor = "multi_thread")]
async fn publishes_of_one_moment_are_committed_together() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("s.db");
    let broker = open(&path).await;
    let before = commits(&path);
    let outcomes = join_all((0..500).map(|n| {
        let broker = &broker;
        async move { publish(broker, &n.to_string()).await }
    }))
    .await;
    assert!(
        outcomes
            .iter()
            .all(|o| matches!(o, PublishOutcome::Accepted(_)))
    );
    assert!(
        commits(&path) - before < 50,
        "{} commits",
        commits(&path) - before
    );
    let mut consumer = consume(&broker, &queue(), 500).await;
    for n in 0..500 {
        let delivery = next(&mut consumer).await;
        assert_eq!(text(&delivery), n.to_string());
        delivery.settle(Settlement::Ack).unwrap();
    }
    consumer.close().await;
    assert_eq!(broker.admin().queue(&queue()).await.unwrap().ready, 0);
}

/// Commits so far: the salted frame headers of the log that end a transaction.
fn commits(path: &std::path::Path) -> usize {
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    let bytes = std::fs::read(wal).unwrap_or_default();
    bytes
        .get(32..)
        .unwrap_or_default()
        .chunks(24 + 4096)
        .filter(|frame| frame.len() > 24 && frame[4..8] != [0; 4])
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_is_moved_aside_with_its_story() {
    let dir = tempdir().unwrap();
    let broker = open(&dir.path().join("s.db")).await;
    submit(&broker, "bad").await;
    let mut consumer = consume(&broker, &queue(), 1).await;
    let letter = DeadLetter::new(DeadReason::Rejected, "no", "w");
    let delivery = next(&mut consumer).await;
    delivery
        .settle(Settlement::DeadLetter(Box::new(letter)))
        .unwrap();
    let mut dead = consume(&broker, &queue().dead(), 1).await;
    let delivery = next(&mut dead).await;
    assert_eq!(text(&delivery), "bad");
    let reason = delivery
        .task()
        .headers
        .get(pumasi_common::wire::DEAD_REASON);
    assert_eq!(reason.and_then(HeaderValue::as_text), Some("rejected"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_consumer_hands_out_what_it_has_and_ends() {
    let dir = tempdir().unwrap();
    let broker = open(&dir.path().join("s.db")).await;
    submit(&broker, "1").await;
    let mut consumer = consume(&broker, &queue(), 1).await;
    let one = next(&mut consumer).await;
    consumer.stop();
    assert!(consumer.next().await.is_none());
    assert!(!consumer.is_live());
    submit(&broker, "2").await;
    one.settle(Settlement::Ack).unwrap();
    consumer.close().await;
    let mut other = consume(&broker, &queue(), 1).await;
    let two = next(&mut other).await;
    assert_eq!(text(&two), "2");
    assert!(!two.redelivered());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_closed_consumer_held_goes_back_uncounted_and_is_superseded() {
    let dir = tempdir().unwrap();
    let broker = open(&dir.path().join("s.db")).await;
    submit(&broker, "1").await;
    let mut consumer = consume(&broker, &queue(), 1).await;
    let late = next(&mut consumer).await;
    consumer.close().await;
    assert!(!late.is_current());
    assert!(late.settle(Settlement::Ack).is_err());
    let mut other = consume(&broker, &queue(), 1).await;
    let again = next(&mut other).await;
    assert!(again.redelivered());
    assert_eq!(again.delivery_count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_only_what_is_too_much() {
    let dir = tempdir().unwrap();
    let broker = SqliteBroker::open(&settings(), &dir.path().join("s.db"))
        .await
        .unwrap();
    let mut spec = QueueSpec::new(queue());
    spec.length_max = NonZeroU64::new(2);
    let topology = Topology {
        queues: vec![spec.clone()],
        topics: vec![],
    };
    assert_eq!(
        broker.plan_topology(&topology).await.unwrap().missing.len(),
        2
    );
    broker.ensure_topology(&topology).await.unwrap();
    let outcomes = join_all(["1", "2", "3"].map(|name| publish(&broker, name))).await;
    assert!(matches!(outcomes[1], PublishOutcome::Accepted(_)));
    assert!(matches!(
        outcomes[2],
        PublishOutcome::Refused(_, Refusal::Full { .. })
    ));
    spec.length_max = None;
    let other = Topology {
        queues: vec![spec.clone()],
        topics: vec![],
    };
    let error = broker.ensure_topology(&other).await.unwrap_err();
    assert!(matches!(error, TopologyError::Mismatch { .. }), "{error}");
    let transient = Topology {
        queues: vec![spec.with_kind(QueueKind::Transient)],
        topics: vec![],
    };
    let error = broker.ensure_topology(&transient).await.unwrap_err();
    assert!(
        matches!(error, TopologyError::Unsupported { .. }),
        "{error}"
    );
    assert_eq!(broker.admin().purge(&queue()).await.unwrap(), 2);
    submit(&broker, "4").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_reaches_every_subscription_and_an_unknown_name_is_unroutable() {
    let dir = tempdir().unwrap();
    let broker = open(&dir.path().join("s.db")).await;
    let topic = TopicName::new("orders").unwrap();
    let publication = Publication::new(Destination::Topic(topic.clone()), Task::new("event"));
    let outcome = broker.publish(publication.clone()).await;
    assert!(matches!(
        outcome,
        PublishOutcome::Refused(_, Refusal::Unroutable { .. })
    ));
    let subscriptions = ["mail", "bill"].map(|name| SubscriptionName::new(name).unwrap());
    let topology = Topology {
        queues: vec![],
        topics: vec![TopicSpec {
            name: topic,
            subscriptions: subscriptions.to_vec(),
        }],
    };
    broker.ensure_topology(&topology).await.unwrap();
    assert!(
        broker
            .ensure_topology(&topology)
            .await
            .unwrap()
            .missing
            .is_empty()
    );
    let outcome = broker.publish(publication).await;
    assert!(
        matches!(outcome, PublishOutcome::Accepted(_)),
        "{outcome:?}"
    );
    let ready: Vec<u64> = broker
        .admin()
        .queues(&[])
        .await
        .unwrap()
        .iter()
        .filter(|q| q.name.as_str().starts_with("orders.") && !q.name.as_str().ends_with(".dead"))
        .map(|q| q.ready)
        .collect();
    assert_eq!(ready, [1, 1]);
}
