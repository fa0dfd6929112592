//! The producer as a first tutorial writes it: declare, publish, print "sent".

use super::{Outcome, Producer};
use lapin::{
    BasicProperties, Connection, ConnectionProperties,
    options::{BasicPublishOptions, QueueDeclareOptions},
    types::FieldTable,
};
use pumasi_testkit::faults::ledger::Event;
use std::time::Duration;

/// Publishes until it is told to stop, or until the first error. Started again, it goes on with
/// the next task: it knows of no answer that it could miss.
pub(super) async fn run(producer: &Producer) -> Outcome {
    let orders = &producer.orders;
    let connection = Connection::connect(&orders.url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    let durable = QueueDeclareOptions::durable();
    channel
        .queue_declare(orders.queue.as_str().into(), durable, FieldTable::default())
        .await?;
    let (_, mut next) = producer.before()?;
    while next < orders.count || !orders.stop.exists() {
        for number in next..next + orders.burst {
            let id = format!("t{number}");
            producer.ledger.write(Event::Invoke { id: id.clone() })?;
            channel
                .basic_publish(
                    "".into(),
                    orders.queue.as_str().into(),
                    BasicPublishOptions::default(),
                    orders.payload(number).as_bytes(),
                    BasicProperties::default().with_message_id(id.clone().into()),
                )
                .await?;
            producer.ledger.write(Event::Accepted { id })?;
        }
        next += orders.burst;
        tokio::time::sleep(Duration::from_millis(orders.pause_ms)).await;
    }
    Ok(())
}
