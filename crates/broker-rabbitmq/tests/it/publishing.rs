//! What becomes of a publish.

use super::*;
use futures_util::{StreamExt, stream::FuturesUnordered};
use pumasi_common::{Diagnostic, ErrorCode, Refusal, Settlement, TopicName};
use std::collections::HashSet;

#[test]
fn an_unroutable_task_among_a_thousand_good_ones_is_the_only_one_refused() {
    each(|node| async move {
        let broker = open(&node.new_vhost_url()).await;
        declare(&broker, "good", QueueKind::Classic).await;
        for round in 0..20 {
            let mut wave = FuturesUnordered::new();
            let mut lost = HashSet::new();
            for number in 0..1001 {
                let bad = number == (round * 53) % 1001;
                let queue = if bad { "nowhere" } else { "good" };
                let publication = publication(queue, "x");
                if bad {
                    lost.insert(publication.task.id.clone());
                }
                wave.push(broker.publish(publication));
            }
            while let Some(outcome) = wave.next().await {
                let refused = matches!(
                    &outcome,
                    PublishOutcome::Refused(_, Refusal::Unroutable { .. })
                );
                assert_eq!(refused, lost.contains(outcome.id()), "{outcome:?}");
                assert!(refused || matches!(outcome, PublishOutcome::Accepted(_)));
            }
        }
        until_ready(&broker, "good", 20_000).await;
        broker.close().await;
    });
}

#[test]
fn many_unroutable_tasks_among_good_ones_are_told_apart() {
    each(|node| async move {
        let broker = open(&node.new_vhost_url()).await;
        declare(&broker, "good", QueueKind::Quorum).await;
        let mut wave = FuturesUnordered::new();
        let mut lost = HashSet::new();
        for number in 0..3000_u32 {
            let bad = number % 3 == 1;
            let publication = publication(if bad { "nowhere" } else { "good" }, "x");
            if bad {
                lost.insert(publication.task.id.clone());
            }
            wave.push(broker.publish(publication));
        }
        while let Some(outcome) = wave.next().await {
            let accepted = matches!(outcome, PublishOutcome::Accepted(_));
            assert_eq!(!accepted, lost.contains(outcome.id()), "{outcome:?}");
        }
        broker.close().await;
    });
}

#[test]
fn a_missing_topic_costs_its_neighbours_nothing() {
    each(|node| async move {
        let broker = open(&node.new_vhost_url()).await;
        declare(&broker, "good", QueueKind::Classic).await;
        let mut wave = FuturesUnordered::new();
        for number in 0..200 {
            let mut publication = publication("good", "x");
            if number == 100 {
                publication.destination = Destination::Topic(TopicName::new("missing").unwrap());
            }
            wave.push(broker.publish(publication));
        }
        let mut refused = 0;
        while let Some(outcome) = wave.next().await {
            match outcome {
                PublishOutcome::Accepted(_) => {}
                PublishOutcome::Refused(_, Refusal::Unroutable { destination }) => {
                    assert!(matches!(destination, Destination::Topic(_)));
                    refused += 1;
                }
                other @ (PublishOutcome::Refused(..) | PublishOutcome::Unknown(..)) => {
                    panic!("{other:?}")
                }
            }
        }
        assert_eq!(refused, 1);
        broker.close().await;
    });
}

#[test]
fn a_full_queue_refuses() {
    each(|node| async move {
        let broker = open(&node.new_vhost_url()).await;
        let mut spec = QueueSpec::new(name("small")).with_kind(QueueKind::Classic);
        spec.length_max = std::num::NonZeroU64::new(2);
        let topology = Topology {
            queues: vec![spec],
            topics: vec![],
        };
        broker.ensure_topology(&topology).await.unwrap();
        let mut full = 0;
        for _ in 0..6 {
            let outcome = broker.publish(publication("small", "x")).await;
            if matches!(outcome, PublishOutcome::Refused(_, Refusal::Full { .. })) {
                full += 1;
            }
        }
        assert!(full >= 3, "{full}");
        broker.close().await;
    });
}

#[test]
fn a_payload_over_the_brokers_own_limit_costs_its_neighbours_nothing() {
    each(|node| async move {
        // RabbitMQ 4 takes 16 MiB, 3.10 takes 128 MiB.
        let takes_it = node.version() == Version::V3_10;
        let settings = ConnectionSettings {
            payload_bytes_max: 17 * 1024 * 1024,
            publish_window_bytes: 32 * 1024 * 1024,
            ..ConnectionSettings::of_url(&node.new_vhost_url())
        };
        let broker = open_with(settings).await.unwrap();
        declare(&broker, "work", QueueKind::Classic).await;
        let big = "x".repeat(17 * 1024 * 1024);
        let (before, outcome, after) = tokio::join!(
            broker.publish(publication("work", "before")),
            broker.publish(publication("work", &big)),
            broker.publish(publication("work", "after")),
        );
        for neighbour in [before, after] {
            assert!(
                matches!(neighbour, PublishOutcome::Accepted(_)),
                "{neighbour:?}"
            );
        }
        match outcome {
            PublishOutcome::Accepted(_) => assert!(takes_it),
            PublishOutcome::Refused(_, refusal) => {
                assert!(!takes_it, "{refusal}");
                assert_eq!(refusal.code(), ErrorCode::TaskTooLarge, "{refusal}");
                assert_eq!(
                    refusal.to_string(),
                    "the payload has 17825792 bytes, more than the limit of 16777216"
                );
            }
            PublishOutcome::Unknown(_, why) => panic!("{why}"),
        }
        until_ready(&broker, "work", if takes_it { 3 } else { 2 }).await;
        broker.close().await;
    });
}

#[test]
fn tasks_that_wait_for_room_leave_in_their_order() {
    together(|node| async move {
        let broker = open_with(ConnectionSettings {
            publish_window_bytes: 8 * 1024,
            ..ConnectionSettings::of_url(&node.new_vhost_url())
        });
        let broker = broker.await.unwrap();
        declare(&broker, "work", QueueKind::Quorum).await;
        // Of different sizes: the small ones would find room before the large.
        let texts: Vec<String> = (0..2_000)
            .map(|number: usize| format!("{number} {}", "x".repeat(number * 997 % 4_000)))
            .collect();
        let all = texts.iter().map(|text| publish(&broker, "work", text));
        futures_util::future::join_all(all).await;
        let mut consumer = consume(&broker, "work", 100).await;
        for expected in &texts {
            let delivery = next(&mut consumer).await;
            let came = payload(&delivery);
            assert!(
                came == *expected,
                "{:?} came in place of {:?}",
                came.get(..5),
                expected.get(..5)
            );
            delivery.settle(Settlement::Ack).unwrap();
        }
        consumer.close().await;
        broker.close().await;
    });
}

/// A few at a time, so that what is in doubt is soon sent alone.
const AT_ONCE: usize = 3;
/// How many connections are closed, at least.
const CLOSED: u32 = 20;

#[test]
fn connections_that_are_closed_again_and_again_refuse_nothing() {
    each(|node| async move {
        let vhost = node.new_vhost();
        let broker = open(&node.url_of(&vhost)).await;
        declare(&broker, "work", QueueKind::Quorum).await;
        let closing = tokio::task::spawn_blocking(move || close_often(node, &vhost));
        let mut accepted = 0;
        let mut wave = FuturesUnordered::new();
        while !closing.is_finished() || !wave.is_empty() {
            while wave.len() < AT_ONCE && !closing.is_finished() {
                wave.push(broker.publish(publication("work", "x")));
            }
            let Some(outcome) = wave.next().await else {
                break;
            };
            let is_refused = matches!(outcome, PublishOutcome::Refused(..));
            assert!(!is_refused, "{outcome:?}");
            accepted += usize::from(matches!(outcome, PublishOutcome::Accepted(_)));
        }
        assert!(
            closing.await.unwrap() >= CLOSED,
            "hardly anything was closed"
        );
        assert!(accepted > 0, "nothing was accepted");
        broker.close().await;
    });
}

/// Closes the connections of a virtual host again and again, more often than they are made anew,
/// until it has closed enough; gives how many.
fn close_often(node: &RabbitMq, vhost: &str) -> u32 {
    let close = format!(
        "Close = fun() -> length([catch rabbit_networking:close_connection(P, \"test\") || \
           P <- rabbit_networking:connections(), \
           (catch rabbit_networking:connection_info(P, [vhost])) =:= [{{vhost, <<\"{vhost}\">>}}]]) end, \
         Often = fun Often(_, Closed) when Closed >= {CLOSED} -> Closed; \
           Often(0, Closed) -> Closed; \
           Often(Rounds, Closed) -> timer:sleep(15), Often(Rounds - 1, Closed + Close()) end, \
         Often(2000, 0)."
    );
    let said = node.ctl(&["eval", &close]);
    said.trim().parse().unwrap()
}
