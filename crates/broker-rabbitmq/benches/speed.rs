//! Publishing and consuming, beside the loop that a user of lapin would write.
#![allow(clippy::unwrap_used, clippy::panic, reason = "development only")]

use futures_util::StreamExt;
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
        ConfirmSelectOptions,
    },
    types::FieldTable,
};
use pumasi_broker_rabbitmq::RabbitMqBroker;
use pumasi_common::{Broker, ConnectionSettings, QueueName, Topology, connection::BrokerAddress};
use pumasi_testkit::bench::{Order, Watch, drain, fill};
use std::{collections::VecDeque, sync::Arc};

const QUEUE: &str = "bench";

#[tokio::main]
async fn main() {
    let Some(order) = Order::or_explain() else {
        return;
    };
    let broker = open(&order).await;
    let plain = connect(&order).await;
    let topology = Topology::of_queues([queue()]);
    broker.ensure_topology(&topology).await.unwrap();
    match (order.work.as_str(), order.contender.as_str()) {
        ("publish", "plain") => publish_plain(&plain, &order).await,
        ("publish", "pumasi") => publish(&*broker, &order).await,
        ("fill", _) => return fill(&*broker, &queue(), &order).await,
        ("consume", "plain") => {
            fill(&*broker, &queue(), &order).await;
            consume_plain(&plain, &order).await;
        }
        ("consume", "pumasi") => {
            fill(&*broker, &queue(), &order).await;
            consume(&*broker, &order).await;
        }
        other => panic!("unknown: {other:?}"),
    }
    // What is left would weigh on the next measurement.
    broker.admin().purge(&queue()).await.unwrap();
    broker.close().await;
}

fn queue() -> QueueName {
    QueueName::new(QUEUE).unwrap()
}

async fn open(order: &Order) -> Arc<RabbitMqBroker> {
    let mut settings = ConnectionSettings::of_url(&order.at);
    settings.publish_window = order.window;
    let BrokerAddress::Amqp(address) = settings.address().unwrap() else {
        panic!("not AMQP");
    };
    RabbitMqBroker::open(&settings, &address).await.unwrap()
}

async fn connect(order: &Order) -> Channel {
    let connection = Connection::connect(&order.at, ConnectionProperties::default())
        .await
        .unwrap();
    connection.create_channel().await.unwrap()
}

/// A loop with confirms: publish, and wait for the oldest confirm when the window is full.
async fn publish_plain(channel: &Channel, order: &Order) {
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await
        .unwrap();
    let payload = order.payload();
    let persistent = BasicProperties::default().with_delivery_mode(2);
    let mut unconfirmed = VecDeque::new();
    let watch = Watch::start();
    for _ in 0..order.count {
        if unconfirmed.len() == usize::from(order.window)
            && let Some(oldest) = unconfirmed.pop_front()
        {
            confirmed(oldest).await;
        }
        let confirm = channel
            .basic_publish(
                "".into(),
                QUEUE.into(),
                BasicPublishOptions::default(),
                &payload,
                persistent.clone(),
            )
            .await
            .unwrap();
        unconfirmed.push_back(confirm);
    }
    for confirm in unconfirmed {
        confirmed(confirm).await;
    }
    watch.stop();
}

async fn confirmed(confirm: lapin::PublisherConfirm) {
    assert!(confirm.await.unwrap().is_ack());
}

async fn publish(broker: &dyn Broker, order: &Order) {
    let watch = Watch::start();
    fill(broker, &queue(), order).await;
    watch.stop();
}

/// A loop that acks each delivery before it takes the next.
async fn consume_plain(channel: &Channel, order: &Order) {
    let options = BasicQosOptions { global: false };
    channel.basic_qos(order.window, options).await.unwrap();
    let watch = Watch::start();
    let mut consumer = channel
        .basic_consume(
            QUEUE.into(),
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        )
        .await
        .unwrap();
    for _ in 0..order.count {
        let delivery = consumer.next().await.unwrap().unwrap();
        delivery.ack(BasicAckOptions::default()).await.unwrap();
    }
    watch.stop();
}

async fn consume(broker: &dyn Broker, order: &Order) {
    let watch = Watch::start();
    drain(broker, &queue(), order).await;
    watch.stop();
}
