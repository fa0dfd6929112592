//! Settling.

use super::{Subject, consume, next, publish, until_ready, with_queue};
use pumasi_common::{
    DeadLetter, DeadReason, Destination, Settlement, Task,
    broker::Publication,
    task::{HeaderValue, TraceContext},
    wire,
};
use std::{num::NonZeroU32, time::Duration};

pub(super) async fn an_acked_task_is_gone(subject: Subject) {
    let queue = with_queue(&subject).await;
    publish(&subject, &queue, Task::new("x")).await;
    let mut consumer = consume(&subject, &queue, 1).await;
    next(&mut consumer).await.settle(Settlement::Ack).unwrap();
    consumer.close().await;
    until_ready(&subject, &queue, 0).await;
    publish(&subject, &queue, Task::new("marker")).await;
    let mut consumer = consume(&subject, &queue, 1).await;
    assert_eq!(next(&mut consumer).await.task().payload, "marker");
    consumer.close().await;
}

pub(super) async fn a_released_task_is_delivered_again(subject: Subject) {
    let queue = with_queue(&subject).await;
    let task = Task::new("x");
    publish(&subject, &queue, task.clone()).await;
    let mut consumer = consume(&subject, &queue, 1).await;
    next(&mut consumer)
        .await
        .settle(Settlement::Release)
        .unwrap();
    let again = next(&mut consumer).await;
    assert_eq!(again.task().id, task.id);
    assert!(again.redelivered());
    again.settle(Settlement::Ack).unwrap();
    consumer.close().await;
}

pub(super) async fn a_dropped_delivery_is_released(subject: Subject) {
    let queue = with_queue(&subject).await;
    publish(&subject, &queue, Task::new("x")).await;
    let mut consumer = consume(&subject, &queue, 1).await;
    drop(next(&mut consumer).await);
    let again = next(&mut consumer).await;
    assert!(again.redelivered());
    again.settle(Settlement::Ack).unwrap();
    consumer.close().await;
}

pub(super) async fn a_task_that_waited_too_long_is_a_dead_letter_and_waits_on(subject: Subject) {
    let queue = with_queue(&subject).await;
    let mut late = Task::new("late");
    late.expires_after = Some(Duration::ZERO);
    publish(&subject, &queue, late).await;
    // An old time of submit means nothing: it is the wait in the queue that counts.
    let mut in_time = Task::new("in time");
    in_time.submitted_at = Some(1_000_000_000);
    in_time.expires_after = Some(Duration::from_secs(3600));
    publish(&subject, &queue, in_time).await;
    let mut consumer = consume(&subject, &queue, 1).await;
    let delivery = next(&mut consumer).await;
    assert_eq!(delivery.task().payload, "in time");
    delivery.settle(Settlement::Ack).unwrap();
    let mut dead = consume(&subject, &queue.dead(), 1).await;
    let delivery = next(&mut dead).await;
    assert_eq!(delivery.task().payload, "late");
    assert_eq!(delivery.task().expires_after, None);
    delivery.settle(Settlement::Ack).unwrap();
    consumer.close().await;
    dead.close().await;
}

pub(super) async fn a_dead_letter_keeps_its_payload_and_gets_a_reason(subject: Subject) {
    let queue = with_queue(&subject).await;
    let mut task = Task::new("payload");
    task.headers.set("own", HeaderValue::from("kept"));
    publish(&subject, &queue, task.clone()).await;
    let mut consumer = consume(&subject, &queue, 1).await;
    let letter = DeadLetter::new(DeadReason::Rejected, "no such customer", "case");
    next(&mut consumer)
        .await
        .settle(Settlement::DeadLetter(Box::new(letter)))
        .unwrap();
    let mut dead = consume(&subject, &queue.dead(), 1).await;
    let delivery = next(&mut dead).await;
    let text = |name| {
        delivery
            .task()
            .headers
            .get(name)
            .and_then(HeaderValue::as_text)
            .map(str::to_owned)
    };
    assert_eq!(delivery.task().id, task.id);
    assert_eq!(delivery.task().payload, task.payload);
    assert_eq!(text("own").as_deref(), Some("kept"));
    assert_eq!(text(wire::DEAD_REASON).as_deref(), Some("rejected"));
    assert_eq!(text(wire::DEAD_ERROR).as_deref(), Some("no such customer"));
    assert_eq!(text(wire::DEAD_QUEUE).as_deref(), Some(queue.as_str()));
    delivery.settle(Settlement::Ack).unwrap();
    dead.close().await;
    consumer.close().await;
    until_ready(&subject, &queue, 0).await;
}

pub(super) async fn closing_a_consumer_gives_back_what_it_held(subject: Subject) {
    let queue = with_queue(&subject).await;
    for number in 0..5 {
        publish(&subject, &queue, Task::new(number.to_string())).await;
    }
    let mut consumer = consume(&subject, &queue, 3).await;
    let held = [next(&mut consumer).await, next(&mut consumer).await];
    consumer.close().await;
    until_ready(&subject, &queue, 5).await;
    assert!(held.iter().all(|delivery| !delivery.is_current()));
}

pub(super) async fn a_retried_task_comes_back_as_itself_and_as_the_next_attempt(subject: Subject) {
    let queue = with_queue(&subject).await;
    let mut task = Task::new("payload");
    task.submitted_at = Some(1_700_000_000);
    task.reply_to = Some("answers".to_owned());
    task.headers.set("own", HeaderValue::from("kept"));
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned();
    task.trace = TraceContext::parse(trace, None);
    publish(&subject, &queue, task.clone()).await;
    let mut consumer = consume(&subject, &queue, 1).await;
    // At once, and after a while.
    for delay in [Duration::ZERO, Duration::from_secs(1)] {
        let delivery = next(&mut consumer).await;
        assert_eq!(*delivery.task().as_ref(), task);
        task.attempt = task.attempt.checked_add(1).unwrap();
        task.failed_since = Some(1_700_000_001);
        let copy = Publication::new(Destination::Queue(queue.clone()), task.clone());
        let retry = Settlement::Retry(Box::new(copy.after(delay)));
        delivery.settle(retry).unwrap();
    }
    let last = next(&mut consumer).await;
    assert_eq!(
        *last.task().as_ref(),
        task,
        "and nothing of the broker's own"
    );
    assert_eq!(last.task().attempt, NonZeroU32::new(3).unwrap());
    last.settle(Settlement::Ack).unwrap();
    consumer.close().await;
    until_ready(&subject, &queue, 0).await;
}
