//! Priorities.

use crate::support::{accepted, consume, next, open, queue, submit, text, to_queue};
use pumasi_broker_sqlite::SqliteBroker;
use pumasi_common::{Broker, Settlement, Task};
use tempfile::tempdir;

async fn submit_at(broker: &SqliteBroker, priority: u8, text: &str) {
    let mut task = Task::new(text.to_owned());
    task.priority = Some(priority);
    accepted(broker, to_queue(task)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_wave_of_many_priorities_comes_in_order_and_none_is_as_four() {
    let dir = tempdir().unwrap();
    let broker = open(&dir.path().join("s.db")).await;
    for (priority, name) in [(0, "g"), (9, "a"), (4, "d"), (250, "b"), (5, "c"), (4, "e")] {
        submit_at(&broker, priority, name).await;
    }
    submit(&broker, "f").await;
    let mut consumer = consume(&broker, &queue(), 7).await;
    let mut order = String::new();
    for _ in 0..7 {
        let delivery = next(&mut consumer).await;
        order.push_str(&text(&delivery));
        delivery.settle(Settlement::Ack).unwrap();
    }
    assert_eq!(order, "abcdefg");
    consumer.close().await;
    let status = broker.admin().queue(&queue()).await.unwrap();
    assert_eq!((status.ready, status.in_flight), (0, Some(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_released_task_keeps_its_priority() {
    let dir = tempdir().unwrap();
    let broker = open(&dir.path().join("s.db")).await;
    submit_at(&broker, 9, "high").await;
    let mut consumer = consume(&broker, &queue(), 1).await;
    let high = next(&mut consumer).await;
    submit_at(&broker, 8, "less").await;
    high.settle(Settlement::Release).unwrap();
    assert_eq!(text(&next(&mut consumer).await), "high");
}
