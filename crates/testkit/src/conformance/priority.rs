//! Priorities.

use super::{Subject, consume, next, publish, until_ready, with_queue};
use pumasi_common::{Settlement, Task, broker::Priorities};
use std::time::Instant;

pub(super) async fn tasks_of_higher_priority_come_first_and_equal_ones_in_order(subject: Subject) {
    if subject.capabilities().priorities != Priorities::Ten {
        return;
    }
    let queue = with_queue(&subject).await;
    for (priority, text) in [
        (Some(0), "g"),
        (Some(4), "d"),
        (Some(9), "a"),
        (Some(3), "f"),
        (None, "e"),
        (Some(9), "b"),
        (Some(8), "c"),
    ] {
        let mut task = Task::new(text);
        task.priority = priority;
        publish(&subject, &queue, task).await;
    }
    until_ready(&subject, &queue, 7).await;
    let mut consumer = consume(&subject, &queue, 1).await;
    let mut order = String::new();
    for _ in 0..7 {
        let delivery = next(&mut consumer).await;
        order.push_str(&String::from_utf8_lossy(&delivery.task().payload));
        delivery.settle(Settlement::Ack).unwrap();
    }
    assert_eq!(order, "abcdefg");
    consumer.close().await;
}

/// Measures starvation: strict priorities have it, and whoever uses them is to know.
pub(super) async fn a_low_priority_waits_for_as_long_as_higher_ones_come(subject: Subject) {
    const LOAD: u32 = 300;
    if subject.capabilities().priorities != Priorities::Ten {
        return;
    }
    let queue = with_queue(&subject).await;
    let of = |priority, text: &'static str| {
        let mut task = Task::new(text);
        task.priority = Some(priority);
        task
    };
    // Always one ahead, so that a higher one is ready whenever there is room.
    for _ in 0..2 {
        publish(&subject, &queue, of(9, "high")).await;
    }
    publish(&subject, &queue, of(0, "low")).await;
    let begun = Instant::now();
    let mut consumer = consume(&subject, &queue, 1).await;
    for done in 0..LOAD {
        let delivery = next(&mut consumer).await;
        assert_eq!(delivery.task().payload, "high", "after {done} of {LOAD}");
        if done + 2 < LOAD {
            publish(&subject, &queue, of(9, "high")).await;
        }
        delivery.settle(Settlement::Ack).unwrap();
    }
    let delivery = next(&mut consumer).await;
    assert_eq!(delivery.task().payload, "low");
    println!(
        "{}: priority 0 waited {:?}, for all {LOAD} of priority 9",
        subject.capabilities().product,
        begun.elapsed()
    );
    delivery.settle(Settlement::Ack).unwrap();
    consumer.close().await;
}
