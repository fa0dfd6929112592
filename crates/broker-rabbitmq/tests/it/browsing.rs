//! Going through a queue without consuming it.

use super::*;
use pumasi_common::{Settlement, broker::AdminError};

/// More than what a map of the broker's keeps in order by chance.
const TASKS: usize = 1000;

async fn browse(broker: &RabbitMqBroker, queue: &str) -> Box<dyn Consumer> {
    broker.admin().browse(&name(queue)).await.unwrap()
}

/// Goes through the whole queue; drops what it sees.
async fn seen(browser: &mut Box<dyn Consumer>) -> Vec<String> {
    let mut seen = Vec::new();
    while let Some(delivery) = timeout(LIMIT, browser.next()).await.unwrap() {
        seen.push(payload(&delivery));
    }
    seen
}

/// Publishes all together, in order.
async fn publish_all(broker: &RabbitMqBroker, queue: &str, all: Vec<String>) {
    let publishing = all.iter().map(|payload| publish(broker, queue, payload));
    futures_util::future::join_all(publishing).await;
}

fn numbers(range: impl Iterator<Item = usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[test]
fn a_queue_that_is_gone_through_stays_as_it_was_but_for_what_is_taken_out() {
    together(|node| async move {
        let broker = open(&node.new_vhost_url()).await;
        for kind in [QueueKind::Quorum, QueueKind::Classic] {
            let queue = kind.to_string();
            declare(&broker, &queue, kind).await;
            publish_all(&broker, &queue, numbers(0..TASKS)).await;
            for _ in 0..3 {
                let mut browser = browse(&broker, &queue).await;
                assert_eq!(seen(&mut browser).await, numbers(0..TASKS), "{kind}");
                assert!(browser.is_live());
                browser.close().await;
                until_ready(&broker, &queue, TASKS as u64).await;
            }
            let mut browser = browse(&broker, &queue).await;
            for expected in 0..TASKS {
                let delivery = next(&mut browser).await;
                assert_eq!(payload(&delivery), expected.to_string(), "{kind}");
                if expected % 3 == 0 {
                    delivery.settle(Settlement::Ack).unwrap();
                }
            }
            assert!(browser.next().await.is_none());
            browser.close().await;
            let left = numbers((0..TASKS).filter(|number| number % 3 != 0));
            until_ready(&broker, &queue, left.len() as u64).await;
            let mut consumer = consume(&broker, &queue, 10).await;
            let mut counts = Vec::new();
            for expected in left {
                let delivery = next(&mut consumer).await;
                assert_eq!(payload(&delivery), expected, "{kind}");
                if node.version() == Version::V4_3 {
                    counts.push(delivery.delivery_count());
                }
                delivery.settle(Settlement::Ack).unwrap();
            }
            consumer.close().await;

            assert!(counts.iter().all(|count| *count == 0), "browsing counts");
        }
        broker.close().await;
    });
}

#[test]
fn a_queue_of_large_tasks_stays_in_order_too() {
    // More batches than the broker keeps in order by itself.
    const LARGE: usize = 700;
    together(|node| async move {
        let broker = open(&node.new_vhost_url()).await;
        declare(&broker, "work", QueueKind::Quorum).await;
        let body = "x".repeat(64 * 1024);
        let bodies = (0..LARGE).map(|number| format!("{number} {body}"));
        publish_all(&broker, "work", bodies.collect()).await;
        for round in 0..2 {
            until_ready(&broker, "work", LARGE as u64).await;
            let mut browser = browse(&broker, "work").await;
            let seen = seen(&mut browser).await;
            let seen: Vec<&str> = seen
                .iter()
                .map(|text| text.split(' ').next().unwrap())
                .collect();
            let expected = numbers(0..LARGE);
            let first = (0..LARGE).find(|at| seen[*at] != expected[*at]);
            assert_eq!(
                first,
                None,
                "out of order in round {round}, {:?}",
                node.version()
            );
            browser.close().await;
        }
        broker.close().await;
    });
}

#[test]
fn what_comes_while_a_queue_is_gone_through_is_not_waited_for() {
    together(|node| async move {
        let broker = open(&node.new_vhost_url()).await;
        declare(&broker, "work", QueueKind::Quorum).await;
        for number in 0..3 {
            publish(&broker, "work", &number.to_string()).await;
        }
        until_ready(&broker, "work", 3).await;
        let mut browser = browse(&broker, "work").await;
        publish(&broker, "work", "later").await;
        assert_eq!(seen(&mut browser).await, numbers(0..3));
        // Dropped and not closed, it gives everything back as well.
        drop(browser);
        until_ready(&broker, "work", 4).await;
        let missing = broker.admin().browse(&name("nowhere")).await;
        assert!(matches!(missing, Err(AdminError::QueueMissing { .. })));
        broker.close().await;
    });
}

#[test]
fn a_browser_whose_connection_is_lost_ends_and_says_so() {
    together(|node| async move {
        let vhost = node.new_vhost();
        let broker = open(&node.url_of(&vhost)).await;
        declare(&broker, "work", QueueKind::Quorum).await;
        publish_all(&broker, "work", numbers(0..TASKS)).await;
        let mut browser = browse(&broker, "work").await;
        let first = next(&mut browser).await;
        cut_connections(node, &vhost);
        let more = seen(&mut browser).await;
        assert!(more.len() < TASKS - 1, "{}", more.len());
        assert!(!browser.is_live());
        assert!(first.settle(Settlement::Ack).is_err());
        browser.close().await;
        until_ready(&broker, "work", TASKS as u64).await;
        broker.close().await;
    });
}
