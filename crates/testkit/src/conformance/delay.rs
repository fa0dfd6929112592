//! Tasks that are kept back.

use super::{LIMIT, Subject, consume, next, until_ready, with_queue};
use pumasi_common::{
    Destination, PublishOutcome, QueueName, Refusal, Settlement, Task, TopicName,
    broker::Publication,
};
use std::time::{Duration, Instant};

/// What a busy machine may add to a delay.
const SLACK: Duration = Duration::from_secs(1);

fn after(queue: &QueueName, payload: &'static str, delay: Duration) -> Publication {
    Publication::new(Destination::Queue(queue.clone()), Task::new(payload)).after(delay)
}

async fn accepted(subject: &Subject, publication: Publication) {
    let outcome = subject.publish(publication).await;
    assert!(
        matches!(outcome, PublishOutcome::Accepted(_)),
        "{outcome:?}"
    );
}

pub(super) async fn a_delayed_task_comes_when_it_is_due_and_never_early(subject: Subject) {
    let queue = with_queue(&subject).await;
    let mut consumer = consume(&subject, &queue, 1).await;
    let delay = Duration::from_millis(1200);
    let asked = Instant::now();
    accepted(&subject, after(&queue, "later", delay)).await;
    let taken = Instant::now();
    let delivery = next(&mut consumer).await;
    assert!(asked.elapsed() >= delay, "early: {:?}", asked.elapsed());
    let most = delay + subject.capabilities().delay_resolution + SLACK;
    assert!(taken.elapsed() <= most, "late: {:?}", taken.elapsed());
    assert_eq!(delivery.task().payload, "later");
    delivery.settle(Settlement::Ack).unwrap();
    consumer.close().await;
    until_ready(&subject, &queue, 0).await;
}

pub(super) async fn a_task_of_an_hour_does_not_hold_back_one_of_a_second(subject: Subject) {
    let queue = with_queue(&subject).await;
    let mut consumer = consume(&subject, &queue, 10).await;
    accepted(&subject, after(&queue, "hour", Duration::from_secs(3600))).await;
    accepted(&subject, after(&queue, "second", Duration::from_secs(1))).await;
    accepted(&subject, after(&queue, "now", Duration::ZERO)).await;
    for expected in ["now", "second"] {
        let delivery = next(&mut consumer).await;
        assert_eq!(delivery.task().payload, expected);
        delivery.settle(Settlement::Ack).unwrap();
    }
    consumer.close().await;
}

pub(super) async fn what_cannot_be_kept_back_is_refused_by_name(subject: Subject) {
    let queue = with_queue(&subject).await;
    let topic = TopicName::new("news").unwrap();
    let event = Publication::new(Destination::Topic(topic), Task::new("event"));
    let reply = Publication::new(Destination::Reply("answers".to_owned()), Task::new("done"));
    let mut refused = vec![event.after(SLACK), reply.after(SLACK)];
    let longest = subject.capabilities().delay_max;
    refused.extend(
        longest
            .checked_add(SLACK)
            .map(|delay| after(&queue, "x", delay)),
    );
    for publication in refused {
        let destination = publication.destination.clone();
        let outcome = subject.publish(publication).await;
        let by_name = matches!(
            &outcome,
            PublishOutcome::Refused(_, Refusal::Property { property, .. }) if *property == "delay"
        );
        assert!(by_name, "{destination}: {outcome:?}");
    }
    let nowhere = QueueName::new("nowhere").unwrap();
    let outcome = tokio::time::timeout(LIMIT, subject.publish(after(&nowhere, "x", SLACK)));
    let outcome = outcome.await.expect("an answer in time");
    assert!(
        matches!(&outcome, PublishOutcome::Refused(_, Refusal::Unroutable { destination })
            if *destination == Destination::Queue(nowhere)),
        "{outcome:?}"
    );
}
