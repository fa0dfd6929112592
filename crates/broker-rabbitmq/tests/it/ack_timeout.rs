//! A task that stays with a worker for longer than the broker allows.

use super::*;
use pumasi_common::{Settlement, broker::AckTimeout};
use std::time::Instant;

/// How long a delivery may stay unsettled.
const ALLOWED: Duration = Duration::from_secs(2);

/// The same for all channels of a node, and how often these look; it takes new ones only.
const SHORT: &str = "application:set_env(rabbit, consumer_timeout, 2000), \
                     application:set_env(rabbit, channel_tick_interval, 500).";

#[test]
fn a_consumer_that_kept_a_task_too_long_is_live_again_and_gets_it_again() {
    for version in Version::ALL {
        if let Err(reason) = version.available() {
            println!("skipped: {reason}");
            continue;
        }
        let own;
        let node = match version {
            Version::V3_10 => {
                own = RabbitMq::start(version);
                own.ctl(&["eval", SHORT]);
                &own
            }
            Version::V4_3 => RabbitMq::shared(version),
        };
        runtime().block_on(overrun(node));
    }
}

async fn overrun(node: &RabbitMq) {
    let settings = ConnectionSettings {
        ack_timeout: ALLOWED,
        ..ConnectionSettings::of_url(&node.new_vhost_url())
    };
    let broker = open_with(settings).await.unwrap();
    let expected = match node.version() {
        Version::V3_10 => AckTimeout::OfBroker(ALLOWED),
        Version::V4_3 => AckTimeout::OfConsumer,
    };
    assert_eq!(broker.capabilities().ack_timeout, expected);
    declare(&broker, "work", QueueKind::Quorum).await;
    publish(&broker, "work", "slow").await;
    let mut consumer = consume_within(&broker, "work", ALLOWED).await;
    let slow = next(&mut consumer).await;
    let since = Instant::now();
    let again = next(&mut consumer).await;
    let took = since.elapsed();
    println!("{:?}: delivered again after {took:?}", node.version());
    assert!(took >= ALLOWED, "{took:?}");
    // By itself the broker allows half an hour.
    assert!(took <= ALLOWED + Duration::from_secs(60), "{took:?}");
    assert!(consumer.is_live());
    // What came on the channel that ended is no longer ours, and settling it harms nobody.
    assert!(!slow.is_current());
    assert!(slow.settle(Settlement::Ack).is_err());
    assert!(again.is_current());
    assert_eq!(payload(&again), "slow");
    again.settle(Settlement::Ack).unwrap();
    publish(&broker, "work", "quick").await;
    let quick = next(&mut consumer).await;
    assert_eq!(payload(&quick), "quick");
    quick.settle(Settlement::Ack).unwrap();
    consumer.close().await;
    until_ready(&broker, "work", 0).await;
    broker.close().await;
}

async fn consume_within(
    broker: &RabbitMqBroker,
    queue: &str,
    ack_timeout: Duration,
) -> Box<dyn Consumer> {
    let options = ConsumeOptions {
        queue: name(queue),
        prefetch: NonZeroU16::MIN,
        consumer: "test".to_owned(),
        ack_timeout: Some(ack_timeout),
    };
    broker.consume(options).await.unwrap()
}

#[test]
fn a_queue_that_takes_no_timeout_is_consumed_without() {
    each(|node| async move {
        let broker = open(&node.new_vhost_url()).await;
        declare(&broker, "work", QueueKind::Classic).await;
        publish(&broker, "work", "x").await;
        let mut consumer = consume_within(&broker, "work", ALLOWED).await;
        next(&mut consumer).await.settle(Settlement::Ack).unwrap();
        consumer.close().await;
        until_ready(&broker, "work", 0).await;
        broker.close().await;
    });
}
