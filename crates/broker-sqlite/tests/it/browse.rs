//! Looking through a queue while others work on it.

use crate::support::{accepted, consume, next, open, queue, submit, text, to_queue};
use futures_util::StreamExt;
use pumasi_broker_sqlite::SqliteBroker;
use pumasi_common::{Broker, Consumer, Settlement, Task};
use std::{path::Path, time::Duration};
use tempfile::tempdir;

async fn browse(broker: &SqliteBroker) -> Box<dyn Consumer> {
    broker.admin().browse(&queue()).await.unwrap()
}

async fn counts(broker: &SqliteBroker) -> (u64, Option<u64>, Option<u64>) {
    let status = broker.admin().queue(&queue()).await.unwrap();
    (status.ready, status.in_flight, status.delayed)
}

/// Length and bytes, as the store keeps them.
fn kept(path: &Path) -> (i64, i64) {
    let all = "SELECT length, bytes FROM queues WHERE name = 'q'";
    rusqlite::Connection::open(path)
        .unwrap()
        .query_row(all, [], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn several_pages_of_several_priorities_come_in_the_order_of_the_queue() {
    const COUNT: usize = 350;
    let dir = tempdir().unwrap();
    let broker = open(&dir.path().join("s.db")).await;
    let rank = |number: usize| number % 3;
    let publishes = (0..COUNT).map(|number| {
        let mut task = Task::new(number.to_string());
        task.priority = [Some(9), None, Some(0)][rank(number)];
        broker.publish(to_queue(task))
    });
    futures_util::future::join_all(publishes).await;
    let mut browser = browse(&broker).await;
    let mut shown: Vec<usize> = Vec::new();
    while let Some(delivery) = browser.next().await {
        if shown.is_empty() {
            submit(&broker, "9999").await;
        }
        shown.push(text(&delivery).parse().unwrap());
    }
    let mut expected: Vec<usize> = (0..COUNT).collect();
    expected.sort_by_key(|number| rank(*number));
    assert_eq!(shown, expected, "the one that came later is not shown");
    assert_eq!(counts(&broker).await, (COUNT as u64 + 1, Some(0), Some(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_worker_took_meanwhile_is_not_removed_by_who_looks() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("s.db");
    let broker = open(&path).await;
    submit(&broker, "taken").await;
    submit(&broker, "ready").await;
    let mut browser = browse(&broker).await;
    let shown: Vec<_> = browser.by_ref().collect().await;
    let mut consumer = consume(&broker, &queue(), 1).await;
    let taken = next(&mut consumer).await;
    for delivery in shown {
        assert!(delivery.is_current());
        delivery.settle(Settlement::Ack).unwrap();
    }
    browser.close().await;
    assert_eq!(counts(&broker).await, (0, Some(1), Some(0)));
    assert_eq!(kept(&path), (1, 5));
    assert_eq!(text(&taken), "taken");
    taken.settle(Settlement::Ack).unwrap();
    consumer.close().await;
    assert_eq!(kept(&path), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_is_shown_and_what_is_kept_back_or_held_is_not() {
    let dir = tempdir().unwrap();
    let broker = open(&dir.path().join("s.db")).await;
    submit(&broker, "held").await;
    let mut consumer = consume(&broker, &queue(), 1).await;
    let _held = next(&mut consumer).await;
    for (name, delay) in [("due", 1), ("later", 3_600_000)] {
        let publication = to_queue(Task::new(name)).after(Duration::from_millis(delay));
        accepted(&broker, publication).await;
    }
    crate::support::until("one is due", async || {
        counts(&broker).await == (1, Some(1), Some(1))
    })
    .await;
    let browser = browse(&broker).await;
    let shown: Vec<String> = browser.map(|delivery| text(&delivery)).collect().await;
    assert_eq!(shown, ["due"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_is_shown_though_nobody_consumes() {
    let dir = tempdir().unwrap();
    let broker = open(&dir.path().join("s.db")).await;
    let publication = to_queue(Task::new("due")).after(Duration::from_millis(1));
    accepted(&broker, publication).await;
    crate::support::until("it is due", async || {
        counts(&broker).await == (1, Some(0), Some(0))
    })
    .await;
    let mut browser = browse(&broker).await;
    assert_eq!(text(&browser.next().await.unwrap()), "due");
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_ends_early_and_is_no_longer_live_when_the_store_is_closed() {
    let dir = tempdir().unwrap();
    let broker = open(&dir.path().join("s.db")).await;
    submit(&broker, "x").await;
    let mut browser = browse(&broker).await;
    assert!(browser.is_live());
    broker.close().await;
    crate::support::until("the reader has ended", async || {
        broker.admin().queue(&queue()).await.is_err()
    })
    .await;
    assert!(browser.next().await.is_none());
    assert!(!browser.is_live());
}
