//! The loops that a user of lapin would write.

use super::place::QUEUE;
use futures_util::StreamExt;
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties, PublisherConfirm,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
        ConfirmSelectOptions, QueueDeleteOptions,
    },
    types::FieldTable,
};
use pumasi_testkit::bench::{Measured, Order, Watch};
use std::collections::VecDeque;

/// Where its dead letters would be.
const DEAD: &str = "bench.dead";

async fn connect(order: &Order) -> Channel {
    let connection = Connection::connect(&order.at, ConnectionProperties::default())
        .await
        .unwrap();
    connection.create_channel().await.unwrap()
}

/// Deletes the queues: what is left in them would weigh on the next measurement, and on the disk.
pub async fn clear(order: &Order) {
    let channel = connect(order).await;
    for queue in [QUEUE, DEAD] {
        channel
            .queue_delete(queue.into(), QueueDeleteOptions::default())
            .await
            .unwrap();
    }
}

/// With confirms: publish, and wait for the oldest confirm when the window is full.
pub async fn publish(order: &Order) -> Measured {
    let channel = connect(order).await;
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
    watch.stop(order.count)
}

async fn confirmed(confirm: PublisherConfirm) {
    assert!(confirm.await.unwrap().is_ack());
}

/// Acks each delivery before it takes the next.
pub async fn consume(order: &Order) -> Measured {
    let channel = connect(order).await;
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
    watch.stop(order.count)
}
