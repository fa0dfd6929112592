//! What comes in and how it is settled.

use super::*;
use pumasi_common::{
    DeadLetter, Settlement,
    broker::{ConsumeError, Health},
    settlement::DeadReason,
    wire,
};
use std::collections::HashSet;

#[test]
fn tasks_are_delivered_acknowledged_released_and_moved_aside() {
    each(|node| async move {
        let broker = open(&node.new_vhost_url()).await;
        declare(&broker, "work", QueueKind::Quorum).await;
        for text in ["done", "again", "dead"] {
            publish(&broker, "work", text).await;
        }
        let mut consumer = consume(&broker, "work", 10).await;
        assert!(consumer.is_live());
        let mut released = false;
        for _ in 0..4 {
            let delivery = next(&mut consumer).await;
            let settlement = match payload(&delivery).as_str() {
                "again" if !released => {
                    released = true;
                    Settlement::Release
                }
                "dead" => Settlement::DeadLetter(Box::new(DeadLetter::new(
                    DeadReason::Rejected,
                    "no",
                    "test",
                ))),
                _ => Settlement::Ack,
            };
            delivery.settle(settlement).unwrap();
        }
        consumer.close().await;
        until_ready(&broker, "work", 0).await;
        let mut dead = consume(&broker, "work.dead", 1).await;
        let letter = next(&mut dead).await;
        assert_eq!(payload(&letter), "dead");
        assert_eq!(
            letter
                .task()
                .headers
                .get(wire::DEAD_REASON)
                .unwrap()
                .as_text(),
            Some("rejected")
        );
        letter.settle(Settlement::Ack).unwrap();
        dead.close().await;
        until_ready(&broker, "work.dead", 0).await;
        broker.close().await;
    });
}

#[test]
fn a_thousand_tasks_settled_out_of_order_are_all_gone() {
    each(|node| async move {
        let broker = open(&node.new_vhost_url()).await;
        declare(&broker, "work", QueueKind::Classic).await;
        let outcomes =
            futures_util::future::join_all((0..1000).map(|_| publish(&broker, "work", "x")));
        outcomes.await;
        let mut consumer = consume(&broker, "work", 50).await;
        let mut open = Vec::new();
        for number in 0..1000_usize {
            open.push(next(&mut consumer).await);
            if open.len() == 20 || number == 999 {
                while !open.is_empty() {
                    let at = (number * 7) % open.len();
                    open.remove(at).settle(Settlement::Ack).unwrap();
                }
            }
        }
        consumer.close().await;
        until_ready(&broker, "work", 0).await;
        broker.close().await;
    });
}

#[test]
fn a_stopped_consumer_hands_out_what_had_arrived_and_ends() {
    each(|node| async move {
        let broker = open(&node.new_vhost_url()).await;
        declare(&broker, "work", QueueKind::Classic).await;
        for _ in 0..5 {
            publish(&broker, "work", "x").await;
        }
        let mut consumer = consume(&broker, "work", 5).await;
        let first = next(&mut consumer).await;
        consumer.stop();
        first.settle(Settlement::Ack).unwrap();
        let mut more = 0;
        while let Some(delivery) = timeout(LIMIT, consumer.next()).await.unwrap() {
            more += 1;
            drop(delivery);
        }
        consumer.close().await;
        until_ready(&broker, "work", 4).await;
        assert!(more <= 4);
        broker.close().await;
    });
}

#[test]
fn a_missing_queue_is_named() {
    each(|node| async move {
        let broker = open(&node.new_vhost_url()).await;
        let options = ConsumeOptions {
            queue: name("nowhere"),
            prefetch: NonZeroU16::MIN,
            consumer: "test".to_owned(),
            ack_timeout: None,
        };
        let error = broker.consume(options).await.err().unwrap();
        assert!(
            matches!(error, ConsumeError::QueueMissing { .. }),
            "{error}"
        );
        broker.close().await;
    });
}

#[test]
fn a_broker_whose_consumer_lost_its_queue_is_not_healthy_until_the_queue_is_back() {
    each(|node| async move {
        let vhost = node.new_vhost();
        let owner = open(&node.url_of(&vhost)).await;
        let guest = open(&node.url_of(&vhost)).await;
        declare(&owner, "work", QueueKind::Classic).await;
        let mut consumer = consume(&guest, "work", 1).await;
        let received = tokio::spawn(async move { payload(&next(&mut consumer).await) });
        assert_eq!(guest.health(), Health::Up);
        node.ctl(&["delete_queue", "-p", &vhost, "work"]);
        until("a sick broker", || {
            matches!(guest.health(), Health::Down(_))
        })
        .await;
        declare(&owner, "work", QueueKind::Classic).await;
        until("a healthy broker", || guest.health() == Health::Up).await;
        publish(&owner, "work", "late").await;
        assert_eq!(received.await.unwrap(), "late");
        guest.close().await;
        owner.close().await;
    });
}

#[test]
fn a_queue_that_was_declared_here_and_deleted_is_declared_again() {
    each(|node| async move {
        let vhost = node.new_vhost();
        let broker = open(&node.url_of(&vhost)).await;
        declare(&broker, "work", QueueKind::Classic).await;
        let mut consumer = consume(&broker, "work", 1).await;
        let received = tokio::spawn(async move { payload(&next(&mut consumer).await) });
        node.ctl(&["delete_queue", "-p", &vhost, "work"]);
        until("a sick broker", || broker.health() != Health::Up).await;
        until("a healthy broker", || broker.health() == Health::Up).await;
        publish(&broker, "work", "again").await;
        assert_eq!(received.await.unwrap(), "again");
        broker.close().await;
    });
}

#[test]
fn a_killed_broker_loses_nothing_and_both_sides_come_back() {
    for version in Version::ALL {
        if let Err(reason) = version.available() {
            println!("skipped: {reason}");
            continue;
        }
        println!("on {version:?}");
        let node = RabbitMq::start(version);
        runtime().block_on(async {
            let mut settings = ConnectionSettings::of_url(&node.url());
            settings.publish_timeout = Duration::from_secs(90);
            let broker = open_with(settings).await.unwrap();
            declare(&broker, "work", QueueKind::Quorum).await;
            node.sync_directory();
            publish(&broker, "work", "before").await;
            let mut consumer = consume(&broker, "work", 1).await;
            let old = next(&mut consumer).await;
            tokio::task::block_in_place(|| node.kill9());
            let publishing = tokio::spawn({
                let broker = broker.clone();
                async move { publish(&broker, "work", "during").await }
            });
            tokio::task::block_in_place(|| node.restart());
            publishing.await.unwrap();
            let mut seen = HashSet::new();
            while seen.len() < 2 {
                let delivery = timeout(Duration::from_secs(60), consumer.next());
                let delivery = delivery.await.unwrap().unwrap();
                seen.insert(payload(&delivery));
                delivery.settle(Settlement::Ack).unwrap();
            }
            assert!(!old.is_current());
            assert!(old.settle(Settlement::Ack).is_err());
            consumer.close().await;
            until_ready(&broker, "work", 0).await;
            broker.close().await;
        });
    }
}
