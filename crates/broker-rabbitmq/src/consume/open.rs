//! One channel of a consumer: opened, bounded by its prefetch, and subscribed.

use super::{Generation, Source};
use crate::{
    connection::{Unfinished, answered},
    error::{self, ACCESS_REFUSED, NOT_FOUND, PRECONDITION_FAILED},
    settle::{ChannelSettler, Queues},
};
use lapin::{
    Channel,
    options::{BasicConsumeOptions, BasicQosOptions},
    types::{AMQPValue, FieldTable},
};
use pumasi_common::{
    QueueName,
    broker::{ConsumeError, ConsumeOptions},
    error::Cause,
    settlement::cut,
};
use std::{sync::Arc, time::Duration};

/// How long a consumer may keep a delivery, in milliseconds: RabbitMQ 4.3 and newer.
const TIMEOUT: &str = "x-consumer-timeout";
/// The longest consumer tag: RabbitMQ takes 255 bytes.
const TAG_BYTES_MAX: usize = 200;

pub(super) async fn open(
    source: &Source,
    options: &ConsumeOptions,
    queue: &Arc<QueueName>,
) -> Result<Box<Generation>, ConsumeError> {
    let connection = source
        .link
        .connection()
        .await
        .map_err(|error| failed(queue, &error.to_string(), Some(Box::new(error))))?;
    let is_timed = source.link.server().times_consumers();
    let mut arguments = arguments(options.ack_timeout.filter(|_| is_timed));
    let (channel, consumer) = loop {
        let channel = answered(&connection, connection.create_channel())
            .await
            .map_err(|error| explain(queue, error))?;
        let unfinished = Unfinished::new(&channel);
        let subscribed = subscribe(&channel, options, arguments.clone());
        match answered(&connection, subscribed).await {
            Ok(consumer) => {
                unfinished.finish();
                break (channel, consumer);
            }
            // A classic queue takes no time-out, and it needs none: it takes nothing back.
            Err(error) if is_refused_timeout(&error) && !arguments.inner().is_empty() => {
                arguments = FieldTable::default();
            }
            Err(error) => return Err(explain(queue, error)),
        }
    };
    let queues = Queues {
        work: queue.clone(),
        dead: source.dead_letters_of(queue),
        worker: options.consumer.clone(),
    };
    let settler = ChannelSettler::start(channel.clone(), queues, source.publisher.clone());
    let stay = source.link.stay(&connection).await;
    Ok(Box::new(Generation {
        left: Box::pin(stay.cancelled_owned()),
        consumer,
        channel,
        settler,
    }))
}

async fn subscribe(
    channel: &Channel,
    options: &ConsumeOptions,
    arguments: FieldTable,
) -> lapin::Result<lapin::Consumer> {
    let prefetch = options.prefetch.get();
    channel
        .basic_qos(prefetch, BasicQosOptions { global: false })
        .await?;
    let queue = options.queue.as_str().into();
    // It shows the worker's name; each channel has one consumer.
    let tag = cut(&options.consumer, TAG_BYTES_MAX).into();
    channel
        .basic_consume(queue, tag, BasicConsumeOptions::default(), arguments)
        .await
}

fn arguments(ack_timeout: Option<Duration>) -> FieldTable {
    let mut arguments = FieldTable::default();
    if let Some(limit) = ack_timeout {
        let ms = i64::try_from(limit.as_millis()).unwrap_or(i64::MAX);
        arguments.insert(TIMEOUT.into(), AMQPValue::LongLongInt(ms));
    }
    arguments
}

fn is_refused_timeout(error: &lapin::Error) -> bool {
    matches!(error::reply(error), Some((PRECONDITION_FAILED, text)) if text.contains(TIMEOUT))
}

fn explain(queue: &QueueName, error: lapin::Error) -> ConsumeError {
    let queue = queue.clone();
    match error::reply(&error) {
        Some((NOT_FOUND, _)) => ConsumeError::QueueMissing { queue },
        Some((ACCESS_REFUSED, reply)) => ConsumeError::NotPermitted { queue, reply },
        Some((_, text)) => failed(&queue, &text, error::cause(error)),
        None => failed(&queue, &error.to_string(), error::cause(error)),
    }
}

pub(super) fn failed(queue: &QueueName, problem: &str, source: Option<Cause>) -> ConsumeError {
    ConsumeError::Failed {
        queue: queue.clone(),
        problem: problem.to_owned(),
        source,
    }
}
