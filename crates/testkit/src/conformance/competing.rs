//! Several consumers of one queue.

use super::{LIMIT, Subject, consume, next, publish, until_ready, with_queue};
use futures_util::StreamExt;
use pumasi_common::{QueueName, Settlement, Task};
use std::{collections::HashSet, num::NonZeroU16};

pub(super) async fn no_consumer_holds_more_than_its_prefetch(subject: Subject) {
    let queue = with_queue(&subject).await;
    for number in 0..10 {
        publish(&subject, &queue, Task::new(number.to_string())).await;
    }
    let mut consumer = consume(&subject, &queue, 3).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(next(&mut consumer).await);
    }
    until_ready(&subject, &queue, 7).await;
    assert!(futures_util::poll!(consumer.next()).is_pending());
    held.pop().unwrap().settle(Settlement::Ack).unwrap();
    held.push(next(&mut consumer).await);
    until_ready(&subject, &queue, 6).await;
    drop(held);
    consumer.close().await;
}

pub(super) async fn idle_consumers_take_turns(subject: Subject) {
    let queue = with_queue(&subject).await;
    let mut one = consume(&subject, &queue, 1).await;
    let mut two = consume(&subject, &queue, 1).await;
    let mut taken = [0, 0];
    for number in 0..6 {
        publish(&subject, &queue, Task::new(number.to_string())).await;
        let (index, delivery) = tokio::time::timeout(LIMIT, async {
            tokio::select! {
                delivery = one.next() => (0, delivery),
                delivery = two.next() => (1, delivery),
            }
        })
        .await
        .expect("no delivery came in time");
        taken[index] += 1;
        delivery
            .expect("the consumer ended")
            .settle(Settlement::Ack)
            .unwrap();
        until_ready(&subject, &queue, 0).await;
    }
    assert_eq!(taken, [3, 3]);
    one.close().await;
    two.close().await;
}

fn of(prefetch: u16) -> NonZeroU16 {
    NonZeroU16::new(prefetch).unwrap()
}

pub(super) async fn a_prefetch_is_changed_while_tasks_are_held(subject: Subject) {
    const ALL: u64 = 40;
    let queue = with_queue(&subject).await;
    for number in 0..ALL {
        publish(&subject, &queue, Task::new(number.to_string())).await;
    }
    let mut consumer = consume(&subject, &queue, 2).await;
    let mut held = vec![next(&mut consumer).await, next(&mut consumer).await];
    until_ready(&subject, &queue, ALL - 2).await;

    // More: at least as many, and what was held before may come on top.
    consumer.set_prefetch(of(8));
    while held.len() < 8 {
        held.push(next(&mut consumer).await);
    }
    while ready(&subject, &queue).await + (held.len() as u64) < ALL {
        held.push(next(&mut consumer).await);
    }
    assert!(held.len() <= 10, "{}", held.len());

    // Fewer: nothing comes until fewer are held, and then one for each.
    consumer.set_prefetch(of(3));
    let mut acked = 0;
    while held.len() > 3 {
        held.remove(0).settle(Settlement::Ack).unwrap();
        acked += 1;
        assert!(futures_util::poll!(consumer.next()).is_pending());
    }
    for _ in 0..5 {
        until_ready(&subject, &queue, ALL - acked - 3).await;
        assert!(futures_util::poll!(consumer.next()).is_pending());
        held.remove(0).settle(Settlement::Ack).unwrap();
        acked += 1;
        held.push(next(&mut consumer).await);
    }

    // And more again; each task has come once.
    consumer.set_prefetch(of(20));
    for delivery in held {
        delivery.settle(Settlement::Ack).unwrap();
        acked += 1;
    }
    while acked < ALL {
        let delivery = next(&mut consumer).await;
        assert!(!delivery.redelivered());
        delivery.settle(Settlement::Ack).unwrap();
        acked += 1;
    }
    consumer.close().await;
    until_ready(&subject, &queue, 0).await;
}

async fn ready(subject: &Subject, queue: &QueueName) -> u64 {
    subject.admin().queue(queue).await.unwrap().ready
}

pub(super) async fn what_a_smaller_prefetch_has_given_back_is_not_counted(subject: Subject) {
    if subject.capabilities().counts_releases {
        return;
    }
    let queue = with_queue(&subject).await;
    for number in 0..10 {
        publish(&subject, &queue, Task::new(number.to_string())).await;
    }
    let mut consumer = consume(&subject, &queue, 10).await;
    for _ in 0..5 {
        let first = next(&mut consumer).await;
        until_ready(&subject, &queue, 0).await;
        consumer.set_prefetch(of(1));
        for _ in 1..10 {
            let more = next(&mut consumer).await;
            assert_eq!(more.delivery_count(), 0);
            drop(more);
        }
        // None of them comes back while one is held.
        until_ready(&subject, &queue, 9).await;
        assert!(futures_util::poll!(consumer.next()).is_pending());
        consumer.set_prefetch(of(10));
        drop(first);
    }
    let mut all = HashSet::new();
    while all.len() < 10 {
        let delivery = next(&mut consumer).await;
        assert_eq!(delivery.delivery_count(), 0);
        assert!(all.insert(delivery.task().id.clone()), "delivered twice");
        delivery.settle(Settlement::Ack).unwrap();
    }
    consumer.close().await;
    until_ready(&subject, &queue, 0).await;
}
