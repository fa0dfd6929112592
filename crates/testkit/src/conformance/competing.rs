//! Several consumers of one queue.

use super::{LIMIT, Subject, consume, next, publish, until_ready, with_queue};
use futures_util::StreamExt;
use pumasi_common::{Settlement, Task};

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
