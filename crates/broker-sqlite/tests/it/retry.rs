//! A task that is tried again, and outcomes that are told with a settlement.

use crate::support::{
    LIMIT, accepted, consume, next, open, publish, queue, submit, text, to_queue,
};
use futures_util::FutureExt;
use pumasi_common::{
    Broker, DeadReason, Destination, Publication, QueueName, QueueSpec, Settlement, Task, Topology,
    outcome::{Outcome, Output},
    task::HeaderValue,
};
use rusqlite::Connection;
use std::{num::NonZeroU32, time::Duration};
use tempfile::tempdir;

fn retry(task: &Task, destination: Destination) -> Settlement {
    let mut copy = task.clone();
    copy.attempt = NonZeroU32::new(2).unwrap();
    copy.failed_since = Some(1_700_000_000);
    copy.headers.set("own", HeaderValue::from("kept"));
    Settlement::Retry(Box::new(Publication::new(destination, copy)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retried_task_keeps_its_row_and_begins_a_new_count() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("s.db");
    let broker = open(&path).await;
    submit(&broker, "x").await;
    let sql = Connection::open(&path).unwrap();
    let row = || -> (i64, i64, i64) {
        let all = "SELECT (SELECT seq FROM tasks), length, bytes FROM queues WHERE name = 'q'";
        sql.query_row(all, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .unwrap()
    };
    let before = row();
    let mut consumer = consume(&broker, &queue(), 1).await;
    let delivery = next(&mut consumer).await;
    let task = delivery.task().clone();
    delivery
        .settle(retry(&task, Destination::Queue(queue())))
        .unwrap();
    let again = next(&mut consumer).await;
    assert_eq!(row(), before);
    assert_eq!(again.task().id, task.id);
    assert_eq!(again.task().attempt.get(), 2);
    assert_eq!(again.task().failed_since, Some(1_700_000_000));
    assert_eq!(
        again
            .task()
            .headers
            .get("own")
            .and_then(HeaderValue::as_text),
        Some("kept")
    );
    assert!(!again.redelivered());
    assert_eq!(again.delivery_count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_retried_in_another_queue_and_in_its_own_where_that_one_is_missing() {
    let dir = tempdir().unwrap();
    let broker = open(&dir.path().join("s.db")).await;
    let suspects = queue().suspects();
    let mut consumer = consume(&broker, &queue(), 1).await;
    submit(&broker, "x").await;
    let delivery = next(&mut consumer).await;
    let elsewhere = retry(delivery.task(), Destination::Queue(suspects.clone()));
    delivery.settle(elsewhere.clone()).unwrap();
    let again = next(&mut consumer).await;
    assert_eq!(again.task().attempt.get(), 2);
    let topology = Topology {
        queues: vec![QueueSpec::new(queue()).suspects()],
        topics: vec![],
    };
    broker.ensure_topology(&topology).await.unwrap();
    again.settle(elsewhere).unwrap();
    let mut other = consume(&broker, &suspects, 1).await;
    let moved = next(&mut other).await;
    assert_eq!(text(&moved), "x");
    let status = broker.admin().queue(&queue()).await.unwrap();
    assert_eq!((status.ready, status.in_flight), (0, Some(0)));
    moved.settle(Settlement::Ack).unwrap();
    other.close().await;
    let status = broker.admin().queue(&suspects).await.unwrap();
    assert_eq!((status.ready, status.in_flight), (0, Some(0)));
    // Its consumer has room again.
    submit(&broker, "y").await;
    assert_eq!(text(&next(&mut consumer).await), "y");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_is_told_with_the_settlement_and_never_by_one_that_is_late() {
    let dir = tempdir().unwrap();
    let broker = open(&dir.path().join("s.db")).await;
    let answers = QueueName::new("answers").unwrap();
    broker
        .ensure_topology(&Topology::of_queues([answers.clone()]))
        .await
        .unwrap();
    let mut task = Task::new("x");
    task.reply_to = Some("answers".to_owned());
    accepted(&broker, to_queue(task.clone())).await;
    let mut consumer = consume(&broker, &queue(), 1).await;
    let delivery = next(&mut consumer).await;
    let done = Outcome::Done(Output::default());
    let reply = done.clone().message(&task).map(Box::new);
    delivery
        .settle_with(Settlement::Ack, reply.clone())
        .unwrap();
    let mut told = consume(&broker, &answers, 1).await;
    let answer = next(&mut told).await;
    assert_eq!(Outcome::read(answer.task()), Some((task.id, done)));
    answer.settle(Settlement::Ack).unwrap();
    // Whoever is not there is not missed.
    submit(&broker, "y").await;
    let mut nobody = reply.clone().unwrap();
    nobody.destination = Destination::Reply("nobody".to_owned());
    let delivery = next(&mut consumer).await;
    delivery.settle_with(Settlement::Ack, Some(nobody)).unwrap();
    // A settlement that comes after the consumer has lost the task tells nothing.
    submit(&broker, "z").await;
    let late = next(&mut consumer).await;
    consumer.close().await;
    assert!(late.settle_with(Settlement::Ack, reply).is_err());
    let _ = publish(&broker, "marker").await;
    assert!(told.as_mut().next_now().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asked_hears_that_a_task_waited_too_long() {
    let dir = tempdir().unwrap();
    let broker = open(&dir.path().join("s.db")).await;
    let answers = QueueName::new("answers").unwrap();
    broker
        .ensure_topology(&Topology::of_queues([answers.clone()]))
        .await
        .unwrap();
    let mut task = Task::new("x");
    task.reply_to = Some("answers".to_owned());
    task.expires_after = Some(Duration::ZERO);
    accepted(&broker, to_queue(task.clone())).await;
    let _consumer = consume(&broker, &queue(), 1).await;
    let mut told = consume(&broker, &answers, 1).await;
    let answer = tokio::time::timeout(LIMIT, next(&mut told)).await.unwrap();
    let (id, outcome) = Outcome::read(answer.task()).unwrap();
    assert_eq!((id, outcome.as_str()), (task.id, "dead"));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asked_hears_that_workers_died_too_often_with_a_task() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("s.db");
    let broker = open(&path).await;
    let mut replies = broker.replies().await.unwrap();
    let mut task = Task::new("x");
    task.reply_to = Some(replies.to.clone());
    accepted(&broker, to_queue(task.clone())).await;
    // As a worker leaves it that was killed, after a hundred others.
    let sql = Connection::open(&path).unwrap();
    sql.execute_batch(
        "INSERT INTO consumers (id, instance, queue_id, name, prefetch, free, ticket)
         SELECT 900, 'gone', id, 'w', 1, 0, 1 FROM queues WHERE name = 'q';
         UPDATE tasks SET consumer = 900, delivery = 1, delivery_count = 100;",
    )
    .unwrap();
    let _consumer = consume(&broker, &queue(), 1).await;
    let answer = next(&mut replies.consumer).await;
    let (id, outcome) = Outcome::read(answer.task()).unwrap();
    assert_eq!(id, task.id);
    let Outcome::Dead { reason, .. } = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(reason, Some(DeadReason::Crashed));
    let dead = broker.admin().queue(&queue().dead()).await.unwrap();
    assert_eq!(dead.ready, 1);
}

trait NextNow {
    fn next_now(&mut self) -> Option<pumasi_common::Delivery>;
}

impl NextNow for dyn pumasi_common::Consumer {
    fn next_now(&mut self) -> Option<pumasi_common::Delivery> {
        futures_util::StreamExt::next(self).now_or_never().flatten()
    }
}
