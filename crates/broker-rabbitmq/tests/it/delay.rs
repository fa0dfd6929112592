//! Tasks that are kept back: when they come, what else can become of them, and what they cost.

use super::*;
use futures_util::{StreamExt, stream};
use pumasi_common::{Refusal, Settlement, broker::AdminError};
use std::time::Instant;

/// A task that is ready after this many seconds; its payload is the number.
fn after(queue: &str, seconds: u64) -> Publication {
    publication(queue, &seconds.to_string()).after(Duration::from_secs(seconds))
}

async fn accepted(broker: &RabbitMqBroker, publication: Publication) {
    let outcome = broker.publish(publication).await;
    assert!(
        matches!(outcome, PublishOutcome::Accepted(_)),
        "{outcome:?}"
    );
}

/// Publishes tasks of 1 to 8 s, a few of each, and says how late each came, sorted.
async fn lateness(broker: &RabbitMqBroker, queue: &str) -> Vec<Duration> {
    const OF_EACH: u64 = 12;
    // The first one makes the ladder: that takes its time, and none of the others'.
    accepted(broker, after(queue, 1)).await;
    let mut consumer = consume(broker, queue, 100).await;
    next(&mut consumer).await.settle(Settlement::Ack).unwrap();
    let start = Instant::now();
    let all = (0..8 * OF_EACH).map(|number| after(queue, 1 + number % 8));
    let publishing = stream::iter(all).for_each_concurrent(None, |publication| async {
        accepted(broker, publication).await;
    });
    publishing.await;
    let published = start.elapsed();
    let mut late = Vec::new();
    for _ in 0..8 * OF_EACH {
        let delivery = next(&mut consumer).await;
        let seconds: u64 = payload(&delivery).parse().unwrap();
        let due = Duration::from_secs(seconds);
        let came = start.elapsed();
        assert!(came >= due, "{came:?} is early for {due:?}");
        late.push(came - due);
        assert!(delivery.task().headers.is_empty(), "{delivery:?}");
        delivery.settle(Settlement::Ack).unwrap();
    }
    consumer.close().await;
    late.sort();
    let (median, last) = (late[late.len() / 2], late[late.len() - 1]);
    println!("published in {published:?}; late: median {median:?}, most {last:?}");
    late
}

#[test]
fn tasks_of_one_to_eight_seconds_come_in_time_and_never_early() {
    together(|node| async move {
        let broker = open(&node.new_vhost_url()).await;
        declare(&broker, "work", QueueKind::Quorum).await;
        let late = lateness(&broker, "work").await;
        println!("on {:?}: {late:?}", node.version());
        let p99 = late[late.len() * 99 / 100];
        assert!(p99 <= Duration::from_secs(2), "{p99:?}");
        broker.close().await;
    });
}

#[test]
fn a_queue_that_does_not_exist_is_refused_and_one_deleted_later_loses_nothing() {
    each(|node| async move {
        let vhost = node.new_vhost();
        let broker = open(&node.url_of(&vhost)).await;
        let outcome = broker.publish(after("nowhere", 1)).await;
        assert!(
            matches!(
                outcome,
                PublishOutcome::Refused(_, Refusal::Unroutable { .. })
            ),
            "{outcome:?}"
        );
        declare(&broker, "work", QueueKind::Classic).await;
        for seconds in [1, 2] {
            accepted(&broker, after("work", seconds)).await;
        }
        delete(&foreign(node, &vhost).await, "work").await;
        until_ready(&broker, "pumasi.delay.lost", 2).await;
        // Made again, it is bound again.
        declare(&broker, "work", QueueKind::Classic).await;
        accepted(&broker, after("work", 1)).await;
        until_ready(&broker, "work", 1).await;
        broker.close().await;
    });
}

#[test]
fn a_queue_that_was_made_anew_gets_what_others_keep_back_for_it() {
    together(|node| async move {
        let vhost = node.new_vhost();
        let url = node.url_of(&vhost);
        let (broker, other) = (open(&url).await, open(&url).await);
        declare(&broker, "work", QueueKind::Quorum).await;
        accepted(&other, after("work", 1)).await;
        until_ready(&broker, "work", 1).await;
        delete(&foreign(node, &vhost).await, "work").await;
        declare(&broker, "work", QueueKind::Quorum).await;
        // It was not told that the queue is another one.
        accepted(&other, after("work", 1)).await;
        until_ready(&broker, "work", 1).await;
        other.close().await;
        broker.close().await;
    });
}

#[test]
fn a_ladder_that_somebody_removed_is_made_again() {
    each(|node| async move {
        let vhost = node.new_vhost();
        let broker = open(&node.url_of(&vhost)).await;
        declare(&broker, "work", QueueKind::Classic).await;
        accepted(&broker, after("work", 1)).await;
        until_ready(&broker, "work", 1).await;
        delete(&foreign(node, &vhost).await, "pumasi.delay.01").await;
        // 2 s go in there: it comes back and goes again.
        accepted(&broker, after("work", 2)).await;
        until_ready(&broker, "work", 2).await;
        broker.close().await;
    });
}

#[test]
fn whoever_may_not_make_the_ladder_is_told_and_whoever_finds_it_needs_not_make_it() {
    each(|node| async move {
        let url = node.new_vhost_url();
        let owner = open(&url).await;
        declare(&owner, "work", QueueKind::Classic).await;
        let guest = open(&node.new_user_url(&url, ["", ".*", ".*"])).await;
        let outcome = guest.publish(after("work", 1)).await;
        let PublishOutcome::Refused(_, Refusal::NotPermitted { reply, .. }) = outcome else {
            panic!("{outcome:?}");
        };
        assert!(reply.contains("pumasi.delay."), "{reply}");
        accepted(&owner, after("work", 1)).await;
        accepted(&guest, after("work", 1)).await;
        until_ready(&owner, "work", 2).await;
        guest.close().await;
        owner.close().await;
    });
}

#[test]
fn a_publish_without_a_delay_makes_no_ladder() {
    each(|node| async move {
        let broker = open(&node.new_vhost_url()).await;
        declare(&broker, "work", QueueKind::Classic).await;
        publish(&broker, "work", "x").await;
        let looked = broker.admin().queue(&name("pumasi.delay.00")).await;
        assert!(
            matches!(looked, Err(AdminError::QueueMissing { .. })),
            "{looked:?}"
        );
        broker.close().await;
    });
}

#[test]
fn a_task_that_is_tried_again_twelve_times_is_no_longer_than_before() {
    together(|node| async move {
        let vhost = node.new_vhost();
        let broker = open(&node.url_of(&vhost)).await;
        declare(&broker, "work", QueueKind::Quorum).await;
        accepted(&broker, after("work", 1)).await;
        let mut consumer = consume(&broker, "work", 1).await;
        for _ in 0..12 {
            let delivery = next(&mut consumer).await;
            let copy = Task {
                attempt: delivery.task().attempt.checked_add(1).unwrap(),
                ..delivery.task().as_ref().clone()
            };
            let copy = Publication::new(Destination::Queue(name("work")), copy);
            let copy = copy.after(Duration::from_millis(900));
            delivery.settle(Settlement::Retry(Box::new(copy))).unwrap();
        }
        consumer.close().await;
        until_ready(&broker, "work", 1).await;
        // What is really in the queue, before anything is taken off.
        let channel = foreign(node, &vhost).await;
        let get = channel.basic_get("work".into(), lapin::options::BasicGetOptions::default());
        let message = get.await.unwrap().unwrap();
        let headers = message.properties.headers().clone().unwrap();
        let lapin::types::AMQPValue::FieldArray(deaths) = &headers.inner()["x-death"] else {
            panic!("{headers:?}");
        };
        // One entry, which counts this wait alone.
        let [lapin::types::AMQPValue::FieldTable(death)] = deaths.as_slice() else {
            panic!("{deaths:?}");
        };
        let count = &death.inner()["count"];
        assert_eq!(*count, lapin::types::AMQPValue::LongLongInt(1), "{death:?}");
        assert_eq!(message.routing_key.as_str().matches("work").count(), 1);
        assert!(message.routing_key.as_str().len() < 64);
        let names: Vec<&str> = headers.inner().keys().map(|name| name.as_str()).collect();
        let own = names.iter().filter(|name| !name.starts_with("x-"));
        assert_eq!(own.collect::<Vec<_>>(), [&"pumasi-attempt"], "{names:?}");
        broker.close().await;
    });
}

/// As the first test, while others wait in every level that holds for a minute or longer. Making
/// them takes the whole machine for half a minute: `cargo xtask test` runs it after all others.
#[test]
#[ignore = "takes the whole machine; cargo xtask test runs it last"]
fn a_hundred_thousand_tasks_in_the_ladder_hold_nothing_up() {
    const OTHERS: u64 = 100_000;
    together(|node| async move {
        let broker = open(&node.new_vhost_url()).await;
        declare(&broker, "work", QueueKind::Quorum).await;
        accepted(&broker, after("work", 3600)).await;
        let start = Instant::now();
        // Spread over a minute to a year, the same in each run.
        let mut seed = 7_u64;
        let delays = std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            64 << ((seed >> 33) % 19)
        });
        let others = (0..OTHERS).zip(delays);
        stream::iter(others)
            .for_each_concurrent(1000, |(number, most)| {
                let broker = &broker;
                async move { accepted(broker, after("work", most + number % most)).await }
            })
            .await;
        let took = start.elapsed();
        let late = lateness(&broker, "work").await;
        let p99 = late[late.len() * 99 / 100];
        println!(
            "{:?}: {OTHERS} kept back in {took:?}; p99 {p99:?}",
            node.version()
        );
        assert!(p99 <= Duration::from_secs(2), "{p99:?}");
        broker.close().await;
    });
}
