//! Priorities.

use super::{Subject, consume, next, publish, until_ready, with_queue};
use pumasi_common::{Settlement, Task, broker::Priorities};

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
