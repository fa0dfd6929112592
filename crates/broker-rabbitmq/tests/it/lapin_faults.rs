//! What lapin does wrong by itself, so that we notice when it is repaired, and that nobody who
//! uses our broker meets it.

use super::*;
use futures_util::future::{join, join_all};
use lapin::{
    BasicProperties, Channel, Confirmation,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions,
        QueueDeclareOptions,
    },
    types::{AMQPValue, FieldTable},
};
use pumasi_common::{Settlement, broker::Refusal};
use pumasi_testkit::proxy::{Cut, Latency, Pace, Proxy, Spot, Trap, Way};
use std::time::Instant;

/// Enough for a busy machine, and far less than what a call without an answer takes.
const AT_ONCE: Duration = Duration::from_secs(60);

/// Settings under which a call that gets no answer is waited for long enough to be noticed.
fn patient(url: &str) -> ConnectionSettings {
    ConnectionSettings {
        connect_timeout: AT_ONCE * 2,
        ..ConnectionSettings::of_url(url)
    }
}

/// A proxy before a node, and the URL that leads through it.
fn proxied(node: &RabbitMq, vhost: &str) -> (Proxy, String) {
    let proxy = Proxy::to(node.port());
    let (from, to) = (node.port(), proxy.port());
    let url = node.url_of(vhost);
    let through = url.replace(&format!(":{from}/"), &format!(":{to}/"));
    assert_ne!(url, through);
    (proxy, through)
}

/// A call of lapin's that meets the end of its connection stays without an answer now and then:
/// six times in five hundred resets. There is no saying when, so this only shows our side.
#[test]
fn a_call_that_meets_the_end_of_its_connection_gets_an_answer() {
    together(|node| async move {
        let (proxy, url) = proxied(node, &node.new_vhost());
        let broker = open_with(patient(&url)).await.unwrap();
        let queues = (0..30).map(|number| {
            let queue = name(&format!("work{number}"));
            QueueSpec::new(queue).with_kind(QueueKind::Classic)
        });
        let topology = Topology {
            queues: queues.collect(),
            topics: vec![],
        };
        for round in 0..60_u64 {
            let declaring = async {
                let begun = Instant::now();
                // They may have been cut, or not.
                join_all((0..8).map(|_| broker.ensure_topology(&topology))).await;
                begun.elapsed()
            };
            let cutting = async {
                tokio::time::sleep(Duration::from_millis(30 + 7 * (round % 11))).await;
                tokio::task::block_in_place(|| proxy.cut(Cut::Reset));
            };
            let (took, ()) = join(declaring, cutting).await;
            assert!(took < AT_ONCE, "{round}: {took:?}");
        }
        broker.ensure_topology(&topology).await.unwrap();
        broker.close().await;
    });
}

#[test]
fn a_greeting_that_is_cut_anywhere_is_an_error_at_once() {
    together(|node| async move {
        let (proxy, url) = proxied(node, &node.new_vhost());
        for way in Way::BOTH {
            let before = proxy.carried(way);
            open(&url).await.close().await;
            let greeting = proxy.carried(way) - before;
            let mut refused = 0;
            for (number, byte) in (0..greeting).step_by(9).enumerate() {
                let how = [Cut::Finish, Cut::Reset][number % 2];
                let spot = Spot::OfConnection(byte);
                proxy.trap(Trap { way, spot, how });
                let begun = Instant::now();
                let opened = open_with(patient(&url)).await;
                let took = begun.elapsed();
                let problem = opened.as_ref().err().map(ToString::to_string);
                assert!(
                    took < AT_ONCE,
                    "{way:?} {how:?} at {byte}: {took:?} {problem:?} {}",
                    proxy.sprung()
                );
                match opened {
                    // Cut when it was greeted already.
                    Ok(broker) => drop(timeout(AT_ONCE, broker.close()).await),
                    Err(_) => refused += 1,
                }
                proxy.heal();
            }
            println!("{way:?}: {greeting} bytes, {refused} refused");
            assert!(refused > 10);
        }
    });
}

/// A channel of lapin's that takes confirms.
async fn confirming(node: &RabbitMq, vhost: &str) -> Channel {
    let channel = foreign(node, vhost).await;
    let options = ConfirmSelectOptions::default();
    channel.confirm_select(options).await.unwrap();
    channel
}

/// Publishes with lapin what must reach a queue, and gives what lapin makes of the confirm.
async fn publish_raw(channel: &Channel, queue: &str, id: &str) -> Confirmation {
    let options = BasicPublishOptions {
        mandatory: true,
        ..BasicPublishOptions::default()
    };
    let properties = BasicProperties::default().with_message_id(id.into());
    let sent = channel.basic_publish("".into(), queue.into(), options, b"x", properties);
    sent.await.unwrap().await.unwrap()
}

/// The stream of a consumer of lapin's.
async fn consume_raw(channel: &Channel, queue: &str, arguments: FieldTable) -> lapin::Consumer {
    let options = BasicConsumeOptions::default();
    let consuming = channel.basic_consume(queue.into(), "raw".into(), options, arguments);
    consuming.await.unwrap()
}

/// The messages of a queue that are with a consumer.
fn unsettled(node: &RabbitMq, vhost: &str, queue: &str) -> usize {
    let command = [
        "list_queues",
        "-p",
        vhost,
        "name",
        "messages_unacknowledged",
    ];
    let said = tokio::task::block_in_place(|| node.ctl(&command));
    let mut lines = said.lines().filter_map(|line| line.split_once('\t'));
    let line = lines.find(|(name, _)| *name == queue);
    line.map_or(0, |(_, count)| count.trim().parse().unwrap())
}

#[test]
fn what_lapin_takes_for_acknowledged_and_reached_no_queue_is_refused_here() {
    each(|node| async move {
        let vhost = node.new_vhost();
        let channel = confirming(node, &vhost).await;
        let confirmation = publish_raw(&channel, "nowhere", "lost").await;
        assert!(confirmation.is_ack());
        assert!(confirmation.take_message().is_some());
        let broker = open(&node.url_of(&vhost)).await;
        let outcome = broker.publish(publication("nowhere", "x")).await;
        let is_refused = matches!(
            outcome,
            PublishOutcome::Refused(_, Refusal::Unroutable { .. })
        );
        assert!(is_refused, "{outcome:?}");
        broker.close().await;
    });
}

#[test]
fn what_lapin_pins_on_another_publish_is_told_of_the_right_one_here() {
    each(|node| async move {
        let vhost = node.new_vhost();
        let broker = open(&node.url_of(&vhost)).await;
        declare(&broker, "work", QueueKind::Classic).await;
        let channel = confirming(node, &vhost).await;
        let to = |number: usize| {
            if number.is_multiple_of(3) {
                "nowhere"
            } else {
                "work"
            }
        };
        let mut wrong = 0;
        for _ in 0..30 {
            let all = (0..300).map(|number| {
                let channel = &channel;
                async move {
                    let id = number.to_string();
                    let confirmation = publish_raw(channel, to(number), &id).await;
                    let message = confirmation.take_message();
                    let told = message.and_then(|it| it.delivery.properties.message_id().clone());
                    told.is_some_and(|told| told.as_str() != id)
                }
            });
            wrong += join_all(all).await.into_iter().filter(|it| *it).count();
            if wrong > 0 {
                break;
            }
        }
        println!("{wrong} returns on another publish");
        assert!(wrong > 0, "lapin pins returns on their own publishes now");
        for _ in 0..30 {
            let all = (0..300).map(|number| broker.publish(publication(to(number), "x")));
            for (number, outcome) in join_all(all).await.into_iter().enumerate() {
                let is_refused = matches!(outcome, PublishOutcome::Refused(..));
                assert_eq!(is_refused, to(number) == "nowhere", "{number}: {outcome:?}");
            }
        }
        broker.close().await;
    });
}

#[test]
fn a_consumer_that_is_given_up_takes_deliveries_of_lapin_and_none_of_ours() {
    each(|node| async move {
        let vhost = node.new_vhost();
        let (proxy, url) = proxied(node, &vhost);
        let broker = open(&node.url_of(&vhost)).await;
        declare(&broker, "work", QueueKind::Classic).await;
        declare(&broker, "other", QueueKind::Classic).await;
        publish(&broker, "work", "one").await;
        let late = Latency {
            delay: Duration::from_millis(1_500),
            jitter: Duration::ZERO,
            lost_percent: 0,
            seed: 1,
        };
        let theirs = foreign_at(&url).await;
        proxy.pace(Way::ToClient, Pace::Late(late));
        let given_up = consume_raw(&theirs, "work", FieldTable::default());
        assert!(timeout(Duration::ZERO, given_up).await.is_err());
        proxy.heal();
        until("a delivery for nobody", || {
            unsettled(node, &vhost, "work") == 1
        })
        .await;
        theirs.close(200, "over".into()).await.unwrap();

        let hasty = ConnectionSettings {
            connect_timeout: Duration::from_secs(2),
            ..ConnectionSettings::of_url(&url)
        };
        // A busy machine may need more than that for a connection.
        let hasty = timeout(LIMIT, async {
            loop {
                if let Ok(opened) = open_with(hasty.clone()).await {
                    break opened;
                }
            }
        });
        let hasty = hasty.await.unwrap();
        // The connection is there by now; a channel and its consumer take three round trips.
        let other = consume(&hasty, "other", 1).await;
        proxy.pace(Way::ToClient, Pace::Late(late));
        let given_up = hasty.consume(options("work", 1)).await;
        assert!(given_up.is_err(), "the broker was fast enough");
        proxy.heal();
        let mut ours = consume(&broker, "work", 1).await;
        let delivery = next(&mut ours).await;
        delivery.settle(Settlement::Ack).unwrap();
        ours.close().await;
        other.close().await;
        hasty.close().await;
        broker.close().await;
    });
}

#[test]
fn a_cancel_of_the_broker_ends_lapins_stream_without_a_word_and_ours_comes_back() {
    each(|node| async move {
        let vhost = node.new_vhost();
        let broker = open(&node.url_of(&vhost)).await;
        declare(&broker, "work", QueueKind::Classic).await;
        let other = foreign(node, &vhost).await;
        let mut theirs = consume_raw(&other, "work", FieldTable::default()).await;
        let mut ours = consume(&broker, "work", 1).await;
        delete(&foreign(node, &vhost).await, "work").await;
        let end = timeout(LIMIT, theirs.next()).await.unwrap();
        assert!(end.is_none(), "{end:?}");
        // Nothing says so: it looks as healthy as before.
        assert!(other.status().connected());
        declare(&broker, "work", QueueKind::Classic).await;
        publish(&broker, "work", "again").await;
        let delivery = next(&mut ours).await;
        assert_eq!(payload(&delivery), "again");
        delivery.settle(Settlement::Ack).unwrap();
        ours.close().await;
        broker.close().await;
    });
}

#[test]
fn a_consumer_time_out_ends_lapins_stream_without_a_word_and_ours_comes_back() {
    let version = Version::V4_3;
    if let Err(reason) = version.available() {
        println!("skipped: {reason}");
        return;
    }
    let node = RabbitMq::shared(version);
    runtime().block_on(async {
        let vhost = node.new_vhost();
        let allowed = Duration::from_secs(2);
        let settings = ConnectionSettings {
            ack_timeout: allowed,
            ..ConnectionSettings::of_url(&node.url_of(&vhost))
        };
        let broker = open_with(settings).await.unwrap();
        for queue in ["theirs", "ours"] {
            declare(&broker, queue, QueueKind::Quorum).await;
            publish(&broker, queue, "slow").await;
        }
        let other = foreign(node, &vhost).await;
        let mut arguments = FieldTable::default();
        arguments.insert("x-consumer-timeout".into(), AMQPValue::LongLongInt(2_000));
        let mut theirs = consume_raw(&other, "theirs", arguments).await;
        let slow = timeout(LIMIT, theirs.next()).await.unwrap();
        assert!(slow.is_some_and(|slow| slow.is_ok()));
        let end = timeout(LIMIT, theirs.next()).await.unwrap();
        assert!(end.is_none(), "{end:?}");
        // Nothing says so: it looks as healthy as before.
        assert!(other.status().connected());

        let options = ConsumeOptions {
            queue: name("ours"),
            prefetch: NonZeroU16::MIN,
            consumer: "test".to_owned(),
            ack_timeout: Some(allowed),
        };
        let mut ours = broker.consume(options).await.unwrap();
        let slow = next(&mut ours).await;
        let again = next(&mut ours).await;
        assert!(slow.settle(Settlement::Ack).is_err());
        again.settle(Settlement::Ack).unwrap();
        publish(&broker, "ours", "next").await;
        let delivery = next(&mut ours).await;
        assert_eq!(payload(&delivery), "next");
        delivery.settle(Settlement::Ack).unwrap();
        ours.close().await;
        broker.close().await;
    });
}

#[test]
fn on_a_blocked_connection_lapin_acknowledges_nothing_and_we_do_on_another() {
    apart(blocked);
}

async fn blocked(node: &RabbitMq) {
    let vhost = node.new_vhost();
    let broker = open(&node.url_of(&vhost)).await;
    for queue in ["theirs", "ours"] {
        declare(&broker, queue, QueueKind::Classic).await;
        publish(&broker, queue, "x").await;
    }
    let other = confirming(node, &vhost).await;
    let mut theirs = consume_raw(&other, "theirs", FieldTable::default()).await;
    let their = timeout(LIMIT, theirs.next()).await.unwrap();
    let their = their.unwrap().unwrap();
    let mut ours = consume(&broker, "ours", 1).await;
    let our = next(&mut ours).await;
    let alarm = "vm_memory_monitor:set_vm_memory_high_watermark({absolute, 1}).";
    tokio::task::block_in_place(|| node.ctl(&["eval", alarm]));
    until("the alarm", || {
        let alarms = ["eval", "rabbit_alarm:get_alarms()."];
        tokio::task::block_in_place(|| node.ctl(&alarms)).contains("memory")
    })
    .await;
    // Who publishes is blocked from then on.
    let publishing = tokio::spawn({
        let other = other.clone();
        async move { publish_raw(&other, "theirs", "kept back").await }
    });
    let mine = publication("ours", "kept back");
    let submitting = tokio::spawn({
        let broker = broker.clone();
        async move { broker.publish(mine).await }
    });
    let settled = Duration::from_secs(2);
    let looking = async {
        let options = || QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let none = FieldTable::default;
        while timeout(
            settled,
            other.queue_declare("theirs".into(), options(), none()),
        )
        .await
        .is_ok()
        {}
    };
    timeout(LIMIT, looking).await.expect("nothing is written");
    let acked = other.basic_ack(their.delivery_tag, BasicAckOptions::default());
    assert!(timeout(settled, acked).await.is_err());
    our.settle(Settlement::Ack).unwrap();
    until("our acknowledgement", || {
        unsettled(node, &vhost, "ours") == 0
    })
    .await;
    assert_eq!(unsettled(node, &vhost, "theirs"), 1);
    publishing.abort();
    submitting.abort();
}
