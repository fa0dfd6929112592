//! The queues of the plain clients.

use super::link::Outcome;
use lapin::{
    Channel,
    options::QueueDeclareOptions,
    types::{AMQPValue, FieldTable, LongString},
};
use pumasi_testkit::faults::plain::{Plain, WorkerBug};

/// Where the dead letters of a queue are.
pub(crate) fn dead(queue: &str) -> String {
    format!("{queue}.dead")
}

/// Declares the queue and its dead letters, both durable and replicated.
pub(crate) async fn declare(channel: &Channel, queue: &str, plain: Plain) -> Outcome {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), text("quorum"));
    let durable = QueueDeclareOptions::durable();
    channel
        .queue_declare(dead(queue).into(), durable, arguments.clone())
        .await?;
    if let Some(room) = plain.room {
        arguments.insert("x-max-length".into(), i64::from(room).into());
        if plain.worker != Some(WorkerBug::DropHead) {
            arguments.insert("x-overflow".into(), text("reject-publish"));
        }
    }
    if plain.worker == Some(WorkerBug::DeadLettersToNowhere) {
        arguments.insert("x-dead-letter-exchange".into(), text("graveyard"));
    }
    channel
        .queue_declare(queue.into(), durable, arguments)
        .await?;
    Ok(())
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(LongString::from(text))
}
