//! The worker as a first tutorial writes it: declare, consume with automatic acknowledgement, and
//! work through what comes.

use super::{Outcome, Worker, run::work};
use futures_util::StreamExt;
use lapin::{
    Connection, ConnectionProperties,
    options::{BasicConsumeOptions, QueueDeclareOptions},
    types::FieldTable,
};

/// Works until the consumer ends or the first error.
pub(super) async fn run(worker: &Worker) -> Outcome {
    let properties = ConnectionProperties::default();
    let connection = Connection::connect(&worker.orders.url, properties).await?;
    let channel = connection.create_channel().await?;
    let queue = worker.orders.queue.as_str();
    let durable = QueueDeclareOptions::durable();
    channel
        .queue_declare(queue.into(), durable, FieldTable::default())
        .await?;
    let options = BasicConsumeOptions {
        no_ack: true,
        ..BasicConsumeOptions::default()
    };
    let mut consumer = channel
        .basic_consume(queue.into(), "".into(), options, FieldTable::default())
        .await?;
    eprintln!("worker started");
    while let Some(delivery) = consumer.next().await {
        work(worker, &delivery?, 1).await?;
    }
    Ok(())
}
