//! A prefetch that changes: several subscriptions of one channel that look like one.

use super::*;
use futures_util::FutureExt;
use pumasi_common::Settlement;

fn of(prefetch: u16) -> NonZeroU16 {
    NonZeroU16::new(prefetch).unwrap()
}

async fn filled(node: &RabbitMq, vhost: &str, kind: QueueKind) -> Arc<RabbitMqBroker> {
    let broker = open(&node.url_of(vhost)).await;
    declare(&broker, "work", kind).await;
    let tasks = (0..100)
        .map(|number| number.to_string())
        .collect::<Vec<_>>();
    futures_util::future::join_all(tasks.iter().map(|text| publish(&broker, "work", text))).await;
    broker
}

/// Takes deliveries until the queue has this many ready tasks.
async fn take(
    broker: &RabbitMqBroker,
    consumer: &mut Box<dyn Consumer>,
    ready: usize,
) -> Vec<Delivery> {
    let mut held = Vec::new();
    while held.len() + ready < 100 {
        held.push(next(consumer).await);
    }
    until_ready(broker, "work", ready as u64).await;
    held
}

#[test]
fn a_changed_prefetch_outlives_its_channel() {
    each(|node| async move {
        let vhost = node.new_vhost();
        let broker = filled(node, &vhost, QueueKind::Classic).await;
        let mut consumer = consume(&broker, "work", 2).await;
        drop(take(&broker, &mut consumer, 98).await);
        consumer.set_prefetch(of(7));
        cut_connections(node, &vhost);
        // What comes before the cut is seen goes back with it.
        let held = timeout(LIMIT, async {
            let mut held = Vec::new();
            loop {
                held.push(next(&mut consumer).await);
                held.retain(Delivery::is_current);
                if held.len() == 7 && broker.admin().queue(&name("work")).await.unwrap().ready == 93
                {
                    return held;
                }
            }
        });
        let held = held.await.expect("seven of them");
        assert!(futures_util::poll!(consumer.next()).is_pending());
        drop(held);
        consumer.close().await;
        until_ready(&broker, "work", 100).await;
        broker.close().await;
    });
}

#[test]
fn one_subscription_is_left_when_the_prefetch_was_raised() {
    each(|node| async move {
        let vhost = node.new_vhost();
        let broker = filled(node, &vhost, QueueKind::Quorum).await;
        let mut consumer = consume(&broker, "work", 1).await;
        let mut rest = Vec::new();
        for prefetch in [4, 16, 3, 60] {
            consumer.set_prefetch(of(prefetch));
            for _ in 0..20 {
                next(&mut consumer).await.settle(Settlement::Ack).unwrap();
            }
        }
        let one = timeout(LIMIT, async {
            while broker.admin().queue(&name("work")).await.unwrap().consumers != 1 {
                rest.extend(consumer.next().now_or_never().flatten());
            }
        });
        one.await.expect("one subscription in time");
        while rest.len() < 20 {
            rest.push(next(&mut consumer).await);
        }
        for delivery in rest {
            assert_eq!(delivery.delivery_count(), 0);
            delivery.settle(Settlement::Ack).unwrap();
        }
        consumer.close().await;
        until_ready(&broker, "work", 0).await;
        broker.close().await;
    });
}

#[test]
fn a_consumer_that_is_stopped_while_its_prefetch_changes_ends() {
    each(|node| async move {
        let vhost = node.new_vhost();
        let broker = filled(node, &vhost, QueueKind::Quorum).await;
        for prefetch in [1, 2, 50] {
            let mut consumer = consume(&broker, "work", 2).await;
            let first = next(&mut consumer).await;
            consumer.set_prefetch(of(prefetch));
            assert!(!matches!(
                futures_util::poll!(consumer.next()),
                std::task::Poll::Ready(None)
            ));
            consumer.stop();
            while let Some(delivery) = timeout(LIMIT, consumer.next()).await.unwrap() {
                drop(delivery);
            }
            first.settle(Settlement::Release).unwrap();
            consumer.close().await;
            until_ready(&broker, "work", 100).await;
        }
        broker.close().await;
    });
}
