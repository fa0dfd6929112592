//! Replies to clients that are not ours, and copies that cannot be made.

use super::*;
use lapin::{
    BasicProperties,
    options::{BasicConsumeOptions, BasicPublishOptions},
    types::FieldTable,
};
use pumasi_common::{Settlement, settlement::DeadReason, wire};

/// RabbitMQ's name for "answer on this channel".
const DIRECT: &str = "amq.rabbitmq.reply-to";

/// Submits a task as an RPC client of any language does, and gives its answers.
async fn ask(channel: &lapin::Channel, queue: &str) -> lapin::Consumer {
    let options = BasicConsumeOptions {
        no_ack: true,
        ..BasicConsumeOptions::default()
    };
    let answers = channel
        .basic_consume(DIRECT.into(), "".into(), options, FieldTable::default())
        .await
        .unwrap();
    let properties = BasicProperties::default()
        .with_reply_to(DIRECT.into())
        .with_correlation_id("question-1".into());
    let options = BasicPublishOptions::default();
    let published = channel.basic_publish("".into(), queue.into(), options, b"21", properties);
    published.await.unwrap();
    answers
}

/// The answer to a task, to wherever it asks for it.
fn answer(delivery: &Delivery, text: &str) -> Publication {
    let task = delivery.task();
    let to = task.reply_to.clone().unwrap();
    assert!(to.starts_with(DIRECT) && to.len() > DIRECT.len(), "{to}");
    let mut answer = Task::new(text.to_owned());
    answer.correlation_id.clone_from(&task.correlation_id);
    Publication::new(Destination::Reply(to), answer)
}

#[test]
fn an_rpc_client_that_waits_on_its_own_channel_gets_the_answer() {
    each(|node| async move {
        let vhost = node.new_vhost();
        let broker = open(&node.url_of(&vhost)).await;
        declare(&broker, "work", QueueKind::Quorum).await;
        let mut consumer = consume(&broker, "work", 1).await;

        let client = foreign(node, &vhost).await;
        let mut answers = ask(&client, "work").await;
        let delivery = next(&mut consumer).await;
        // It arrives, so it must not be told to be unroutable.
        let outcome = broker.publish(answer(&delivery, "soon")).await;
        assert!(
            matches!(outcome, PublishOutcome::Accepted(_)),
            "{outcome:?}"
        );
        let reply = Box::new(answer(&delivery, "42"));
        delivery.settle_with(Settlement::Ack, Some(reply)).unwrap();
        for expected in [&b"soon"[..], b"42"] {
            let answer = timeout(LIMIT, answers.next()).await.unwrap();
            let answer = answer.unwrap().unwrap();
            assert_eq!(answer.data, expected);
            let id = answer.properties.correlation_id().clone().unwrap();
            assert_eq!(id.as_str(), "question-1");
        }

        // One that does not wait for it holds nothing up.
        let impatient = foreign(node, &vhost).await;
        ask(&impatient, "work").await;
        let delivery = next(&mut consumer).await;
        impatient.close(200, "gone".into()).await.unwrap();
        let reply = Box::new(answer(&delivery, "42"));
        delivery.settle_with(Settlement::Ack, Some(reply)).unwrap();
        consumer.close().await;
        until_ready(&broker, "work", 0).await;
        broker.close().await;
    });
}

#[test]
fn a_copy_that_cannot_be_carried_is_a_dead_letter_and_does_not_come_back() {
    each(|node| async move {
        let broker = open(&node.new_vhost_url()).await;
        declare(&broker, "work", QueueKind::Classic).await;
        publish(&broker, "work", "payload").await;
        let mut consumer = consume(&broker, "work", 1).await;
        let delivery = next(&mut consumer).await;
        let mut copy = publication("work", "payload");
        copy.task.correlation_id = Some("x".repeat(256));
        let retry = Settlement::Retry(Box::new(copy));
        delivery.settle(retry).unwrap();
        let mut dead = consume(&broker, "work.dead", 1).await;
        let letter = next(&mut dead).await;
        let text = |name| letter.task().headers.get(name).unwrap().as_text().unwrap();
        assert_eq!(payload(&letter), "payload");
        assert_eq!(text(wire::DEAD_REASON), DeadReason::Malformed.as_str());
        assert_eq!(text(wire::DEAD_WORKER), "test");
        assert_eq!(text(wire::DEAD_QUEUE), "work");
        assert!(text(wire::DEAD_ERROR).contains("longer than 255"));
        letter.settle(Settlement::Ack).unwrap();
        dead.close().await;
        consumer.close().await;
        until_ready(&broker, "work", 0).await;
        broker.close().await;
    });
}

#[test]
fn a_copy_that_is_not_taken_gives_the_task_back() {
    each(|node| async move {
        let broker = open(&node.new_vhost_url()).await;
        declare(&broker, "work", QueueKind::Classic).await;
        publish(&broker, "work", "payload").await;
        let mut consumer = consume(&broker, "work", 1).await;
        let copy = Box::new(publication("nowhere", "payload"));
        let first = next(&mut consumer).await;
        let id = first.task().id.clone();
        first.settle(Settlement::Retry(copy)).unwrap();
        let again = next(&mut consumer).await;
        assert!(again.redelivered());
        assert_eq!(again.task().id, id);
        again.settle(Settlement::Ack).unwrap();
        consumer.close().await;
        broker.close().await;
    });
}

#[test]
fn a_broker_that_takes_no_publishes_does_not_hold_up_a_settlement() {
    let version = Version::V3_10;
    if let Err(reason) = version.available() {
        println!("skipped: {reason}");
        return;
    }
    let node = RabbitMq::start(version);
    runtime().block_on(async {
        let vhost = node.new_vhost();
        let broker = open(&node.url_of(&vhost)).await;
        declare(&broker, "work", QueueKind::Classic).await;
        publish(&broker, "work", "x").await;
        let mut consumer = consume(&broker, "work", 1).await;
        let delivery = next(&mut consumer).await;
        node.ctl(&[
            "eval",
            "rabbit_alarm:set_alarm({{resource_limit, memory, node()}, []}).",
        ]);
        let task = Task::new("42");
        let reply = Publication::new(Destination::Reply("answers".to_owned()), task);
        let reply = Some(Box::new(reply));
        delivery.settle_with(Settlement::Ack, reply).unwrap();
        consumer.close().await;
        // Neither ready nor with anybody.
        let list = ["list_queues", "-p", &vhost, "name", "messages"];
        let counts = node.ctl(&list);
        let work = counts.lines().find(|line| line.starts_with("work\t"));
        assert_eq!(work, Some("work\t0"), "{counts}");
        broker.close().await;
    });
}
