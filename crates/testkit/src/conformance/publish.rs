//! Publishing.

use super::{Subject, consume, next, publish, with_queue};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use pumasi_common::{
    Destination, PublishOutcome, QueueName, Refusal, Settlement, SubscriptionName, Task, TaskKind,
    TopicName, Topology,
    broker::Publication,
    queue::TopicSpec,
    task::{HeaderValue, TraceContext},
};
use std::{collections::HashSet, num::NonZeroU32, time::Duration};

pub(super) async fn an_accepted_task_arrives_with_every_property(subject: Subject) {
    let queue = with_queue(&subject).await;
    let mut task =
        Task::new(Bytes::from_static(b"\x00\xffbytes")).with_kind(TaskKind::new("a.b").unwrap());
    task.content_type = Some("application/x-test".to_owned());
    task.submitted_at = Some(1_700_000_000);
    task.priority = Some(3);
    task.expires_after = Some(Duration::from_secs(3600));
    task.submitter = Some("case".to_owned());
    task.reply_to = Some("answers".to_owned());
    task.correlation_id = Some("c-1".to_owned());
    task.attempt = NonZeroU32::new(2).unwrap();
    task.attempts_max = NonZeroU32::new(5);
    task.timeout = Some(Duration::from_millis(1500));
    task.trace = Some(TraceContext {
        traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned(),
        tracestate: Some("k=v".to_owned()),
    });
    task.headers.set("text", HeaderValue::from("t"));
    task.headers.set("number", HeaderValue::Integer(-7));
    task.headers.set("flag", HeaderValue::Boolean(true));
    publish(&subject, &queue, task.clone()).await;
    let mut consumer = consume(&subject, &queue, 1).await;
    let delivery = next(&mut consumer).await;
    assert_eq!(**delivery.task(), task);
    assert!(!delivery.redelivered());
    delivery.settle(Settlement::Ack).unwrap();
    consumer.close().await;
}

pub(super) async fn a_task_for_a_queue_that_does_not_exist_is_refused_alone(subject: Subject) {
    let good = with_queue(&subject).await;
    let bad = QueueName::new("nowhere").unwrap();
    let publications = (0..200).map(|number: u32| {
        let queue = if number == 100 { &bad } else { &good };
        let destination = Destination::Queue(queue.clone());
        subject.publish(Publication::new(destination, Task::new(number.to_string())))
    });
    let outcomes: Vec<PublishOutcome> = stream::iter(publications).buffered(200).collect().await;
    for (number, outcome) in outcomes.iter().enumerate() {
        match outcome {
            PublishOutcome::Accepted(_) => {
                assert_ne!(number, 100, "an unroutable task was accepted");
            }
            PublishOutcome::Refused(_, Refusal::Unroutable { .. }) => assert_eq!(number, 100),
            other => panic!("task {number}: {other:?}"),
        }
    }
}

pub(super) async fn a_payload_over_the_limit_is_refused_before_it_is_sent(subject: Subject) {
    let queue = with_queue(&subject).await;
    let limit = subject.capabilities().payload_bytes_max;
    let task = Task::new(vec![0_u8; limit + 1]);
    let destination = Destination::Queue(queue.clone());
    let outcome = subject.publish(Publication::new(destination, task)).await;
    assert!(
        matches!(
            outcome,
            PublishOutcome::Refused(_, Refusal::PayloadTooLarge { .. })
        ),
        "{outcome:?}"
    );
    publish(&subject, &queue, Task::new("after")).await;
}

pub(super) async fn many_publishes_at_once_arrive_once_each(subject: Subject) {
    let queue = with_queue(&subject).await;
    let tasks: Vec<Task> = (0..500)
        .map(|number: u32| Task::new(number.to_string()))
        .collect();
    let mut expected: HashSet<String> = tasks.iter().map(|task| task.id.to_string()).collect();
    stream::iter(tasks)
        .for_each_concurrent(256, |task| publish(&subject, &queue, task))
        .await;
    let mut consumer = consume(&subject, &queue, 100).await;
    while !expected.is_empty() {
        let delivery = next(&mut consumer).await;
        assert!(
            expected.remove(delivery.task().id.as_str()),
            "delivered twice: {delivery:?}"
        );
        delivery.settle(Settlement::Ack).unwrap();
    }
    consumer.close().await;
}

pub(super) async fn an_event_reaches_every_subscription(subject: Subject) {
    let topic = TopicName::new("events").unwrap();
    let names = ["mail", "audit"].map(|name| SubscriptionName::new(name).unwrap());
    let spec = TopicSpec {
        name: topic.clone(),
        subscriptions: names.to_vec(),
    };
    let topology = Topology {
        queues: Vec::new(),
        topics: vec![spec],
    };
    subject.ensure_topology(&topology).await.unwrap();
    let task = Task::new("event");
    let destination = Destination::Topic(topic.clone());
    let outcome = subject
        .publish(Publication::new(destination, task.clone()))
        .await;
    assert!(
        matches!(outcome, PublishOutcome::Accepted(_)),
        "{outcome:?}"
    );
    for name in &names {
        let own = QueueName::of_subscription(&topic, name).unwrap();
        let mut consumer = consume(&subject, &own, 1).await;
        let delivery = next(&mut consumer).await;
        assert_eq!(delivery.task().id, task.id);
        delivery.settle(Settlement::Ack).unwrap();
        consumer.close().await;
    }
    let nobody = Destination::Topic(TopicName::new("silence").unwrap());
    let outcome = subject.publish(Publication::new(nobody, task)).await;
    assert!(
        matches!(
            outcome,
            PublishOutcome::Refused(_, Refusal::Unroutable { .. })
        ),
        "{outcome:?}"
    );
}

pub(super) async fn tasks_published_together_arrive_in_their_order(subject: Subject) {
    const COUNT: u16 = 500;
    let queue = with_queue(&subject).await;
    let publications = (0..COUNT).map(|number| {
        subject.publish(Publication::new(
            Destination::Queue(queue.clone()),
            Task::new(number.to_string()),
        ))
    });
    let outcomes: Vec<PublishOutcome> = stream::iter(publications)
        .buffer_unordered(usize::from(COUNT))
        .collect()
        .await;
    let accepted = |outcome: &PublishOutcome| matches!(outcome, PublishOutcome::Accepted(_));
    assert!(outcomes.iter().all(accepted));
    let mut consumer = consume(&subject, &queue, COUNT).await;
    let mut arrived = Vec::new();
    for _ in 0..COUNT {
        let delivery = next(&mut consumer).await;
        arrived.push(String::from_utf8_lossy(&delivery.task().payload).into_owned());
        delivery.settle(Settlement::Ack).unwrap();
    }
    let submitted: Vec<String> = (0..COUNT).map(|number| number.to_string()).collect();
    assert_eq!(arrived, submitted);
    consumer.close().await;
}
