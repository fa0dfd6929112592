//! Tasks that are kept back.

use crate::support::{accepted, consume, next, open, queue, submit, text, to_queue, until};
use pumasi_broker_sqlite::SqliteBroker;
use pumasi_common::{
    Broker, Destination, Publication, PublishOutcome, Refusal, Settlement, Task, TopicName,
};
use std::time::{Duration, Instant};
use tempfile::tempdir;

async fn submit_after(broker: &SqliteBroker, text: &str, delay: Duration) {
    let publication = to_queue(Task::new(text.to_owned())).after(delay);
    accepted(broker, publication).await;
}

const SHORT: Duration = Duration::from_millis(400);
/// So short that the beat, which is the net for a lost wake, would mostly come too late.
const VERY_SHORT: Duration = Duration::from_millis(20);
/// Far more than waking takes, far less than a beat.
const LATE_MAX: Duration = Duration::from_millis(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_delayed_task_comes_when_it_is_due_and_one_that_is_not_is_not_before_it() {
    let dir = tempdir().unwrap();
    let broker = open(&dir.path().join("s.db")).await;
    let mut consumer = consume(&broker, &queue(), 5).await;
    let begun = Instant::now();
    submit_after(&broker, "hour", Duration::from_secs(3600)).await;
    submit_after(&broker, "later", SHORT * 2).await;
    submit_after(&broker, "soon", SHORT).await;
    submit(&broker, "now").await;
    let mut late = Vec::new();
    for (name, delay) in [
        ("now", Duration::ZERO),
        ("soon", SHORT),
        ("later", SHORT * 2),
    ] {
        let delivery = next(&mut consumer).await;
        let elapsed = begun.elapsed();
        assert_eq!(text(&delivery), name);
        assert!(elapsed >= delay, "{name} after {elapsed:?}");
        late.push(elapsed - delay);
        delivery.settle(Settlement::Ack).unwrap();
    }
    println!("later than asked, the publishes before included: {late:?}");
    let status = broker.admin().queue(&queue()).await.unwrap();
    assert_eq!((status.ready, status.delayed), (0, Some(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_in_another_process_waits_for_what_is_due_first() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("s.db");
    // Two brokers share nothing but the files, as two processes do.
    let (publisher, worker) = (open(&path).await, open(&path).await);
    let mut consumer = consume(&worker, &queue(), 1).await;
    submit_after(&publisher, "hour", Duration::from_secs(3600)).await;
    let mut late = Vec::new();
    for _ in 0..11 {
        submit_after(&publisher, "soon", VERY_SHORT).await;
        let confirmed = Instant::now();
        let delivery = next(&mut consumer).await;
        late.push(confirmed.elapsed().saturating_sub(VERY_SHORT));
        delivery.settle(Settlement::Ack).unwrap();
    }
    late.sort();
    println!("later than asked: {late:?}");
    assert!(late[5] < LATE_MAX, "{late:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_consumes_again_knows_what_was_kept_back_meanwhile() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("s.db");
    let (publisher, worker) = (open(&path).await, open(&path).await);
    let mut late = Vec::new();
    for _ in 0..7 {
        let mut consumer = consume(&worker, &queue(), 1).await;
        submit(&publisher, "now").await;
        next(&mut consumer).await.settle(Settlement::Ack).unwrap();
        consumer.close().await;
        // Nobody is there to be woken.
        submit_after(&publisher, "soon", VERY_SHORT).await;
        let confirmed = Instant::now();
        let mut consumer = consume(&worker, &queue(), 1).await;
        next(&mut consumer).await.settle(Settlement::Ack).unwrap();
        late.push(confirmed.elapsed().saturating_sub(VERY_SHORT));
        consumer.close().await;
    }
    late.sort();
    println!("later than asked: {late:?}");
    // Most of them, or the beat would have found them.
    assert!(late[5] < LATE_MAX * 2, "{late:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_became_due_while_nobody_was_there_is_found_by_whoever_comes() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("s.db");
    let broker = open(&path).await;
    submit_after(&broker, "x", Duration::from_millis(1)).await;
    broker.close().await;
    drop(broker);
    let broker = open(&path).await;
    until("an operator sees that it is ready", async || {
        let status = broker.admin().queue(&queue()).await.unwrap();
        (status.ready, status.delayed) == (1, Some(0))
    })
    .await;
    let mut consumer = consume(&broker, &queue(), 1).await;
    assert_eq!(text(&next(&mut consumer).await), "x");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_that_are_due_at_once_all_come() {
    const COUNT: usize = 2_500;
    let dir = tempdir().unwrap();
    let broker = open(&dir.path().join("s.db")).await;
    let all = (0..COUNT).map(|_| {
        let publication = to_queue(Task::new("x")).after(Duration::from_millis(1));
        broker.publish(publication)
    });
    futures_util::future::join_all(all).await;
    let mut consumer = consume(&broker, &queue(), 1000).await;
    for _ in 0..COUNT {
        next(&mut consumer).await.settle(Settlement::Ack).unwrap();
    }
    consumer.close().await;
    let status = broker.admin().queue(&queue()).await.unwrap();
    assert_eq!((status.ready, status.delayed), (0, Some(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delayed_task_expires_after_it_was_ready_and_not_before() {
    let dir = tempdir().unwrap();
    let broker = open(&dir.path().join("s.db")).await;
    let mut task = Task::new("x");
    // Counted from the publish, it would be over before it is ready.
    let delay = Duration::from_secs(1);
    task.expires_after = Some(delay - Duration::from_millis(100));
    let mut late = task.clone();
    late.payload = "late".into();
    late.not_after_ms = Some(1);
    let mut consumer = consume(&broker, &queue(), 2).await;
    accepted(&broker, to_queue(late).after(SHORT)).await;
    accepted(&broker, to_queue(task.clone()).after(delay)).await;
    let delivery = next(&mut consumer).await;
    assert_eq!(**delivery.task(), task);
    let mut dead = consume(&broker, &queue().dead(), 1).await;
    assert_eq!(text(&next(&mut dead).await), "late");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delay_that_cannot_be_is_refused() {
    let dir = tempdir().unwrap();
    let broker = open(&dir.path().join("s.db")).await;
    let too_long = broker.capabilities().delay_max + Duration::from_secs(1);
    let topic = Destination::Topic(TopicName::new("t").unwrap());
    let second = Duration::from_secs(1);
    for (destination, delay) in [
        (Destination::Queue(queue()), too_long),
        (topic, second),
        (Destination::Reply("q".to_owned()), second),
    ] {
        let publication = Publication::new(destination, Task::new("x")).after(delay);
        let outcome = broker.publish(publication).await;
        assert!(
            matches!(
                outcome,
                PublishOutcome::Refused(
                    _,
                    Refusal::Property {
                        property: "delay",
                        ..
                    }
                )
            ),
            "{outcome:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retried_task_can_be_kept_back_and_its_place_is_free_meanwhile() {
    let dir = tempdir().unwrap();
    let broker = open(&dir.path().join("s.db")).await;
    submit(&broker, "first").await;
    let mut consumer = consume(&broker, &queue(), 1).await;
    let delivery = next(&mut consumer).await;
    let copy = to_queue(Task::clone(delivery.task())).after(SHORT);
    let begun = Instant::now();
    delivery.settle(Settlement::Retry(Box::new(copy))).unwrap();
    submit(&broker, "second").await;
    let second = next(&mut consumer).await;
    assert_eq!(text(&second), "second");
    second.settle(Settlement::Ack).unwrap();
    assert_eq!(text(&next(&mut consumer).await), "first");
    assert!(begun.elapsed() >= SHORT, "{:?}", begun.elapsed());
}
