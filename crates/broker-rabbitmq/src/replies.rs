//! A queue for outcomes: made for one requester, gone when it closes it or some time after it died.

use crate::{
    consume::{RabbitMqConsumer, Source},
    error::ACCESS_REFUSED,
    topology::object::{self, Failure, Object},
};
use futures_util::{FutureExt, Stream, StreamExt};
use lapin::options::QueueDeleteOptions;
use pumasi_common::{
    Consumer, Delivery, QueueName,
    broker::{BoxFuture, ConsumeError, ConsumeOptions, Replies},
    topology::Argument,
};
use std::{
    num::NonZeroU16,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::time::timeout;

/// What the names of all reply queues begin with.
pub(crate) const PREFIX: &str = "pumasi.reply.";
/// How long the queue of a requester that died is kept, in milliseconds; and one that does not
/// reach the broker for that long finds it gone.
const UNUSED_MS_MAX: i64 = 3600 * 1000;
/// Outcomes held at once.
const PREFETCH: NonZeroU16 = const { NonZeroU16::new(100).unwrap() };

/// Makes a queue with a name of its own and consumes it.
pub(crate) async fn open(source: Source) -> Result<Replies, ConsumeError> {
    let queue = QueueName::fresh_reply();
    let limit = source.settings.connect_timeout.saturating_mul(2);
    let late = |_| ConsumeError::Failed {
        queue: queue.clone(),
        problem: "the broker did not answer in time".to_owned(),
        source: None,
    };
    let declared = timeout(limit, declaration(&queue).declare(&source.link)).await;
    declared
        .map_err(late)?
        .map_err(|failure| explain(&queue, failure))?;
    let options = ConsumeOptions {
        queue: queue.clone(),
        prefetch: PREFETCH,
        consumer: queue.as_str().to_owned(),
        ack_timeout: None,
    };
    let inner = RabbitMqConsumer::start(source.clone(), options).await?;
    Ok(Replies {
        to: queue.as_str().to_owned(),
        consumer: Box::new(ReplyConsumer {
            inner: Box::new(inner),
            source,
            queue,
        }),
    })
}

/// It outlives the broker's restarts, since outcomes come whenever they come; nothing is counted
/// out of it, since a requester may lose its connection often.
fn declaration(queue: &QueueName) -> Object {
    let text = |text: &str| Argument::Text(text.to_owned());
    Object::Queue {
        name: queue.as_str().to_owned(),
        durable: true,
        arguments: vec![
            ("x-delivery-limit", Argument::Number(i32::MAX.into())),
            ("x-expires", Argument::Number(UNUSED_MS_MAX)),
            ("x-overflow", text("reject-publish")),
            ("x-queue-type", text("quorum")),
        ],
    }
}

fn explain(queue: &QueueName, failure: Failure) -> ConsumeError {
    let queue = queue.clone();
    match failure {
        Failure::Reply(ACCESS_REFUSED, reply) => ConsumeError::NotPermitted { queue, reply },
        Failure::Reply(_, problem) => ConsumeError::Failed {
            queue,
            problem,
            source: None,
        },
        Failure::Other { problem, source } => ConsumeError::Failed {
            queue,
            problem,
            source,
        },
    }
}

/// The consumer of a queue that goes with it.
struct ReplyConsumer {
    inner: Box<RabbitMqConsumer>,
    source: Source,
    queue: QueueName,
}

impl Stream for ReplyConsumer {
    type Item = Delivery;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Delivery>> {
        self.inner.poll_next_unpin(cx)
    }
}

impl Consumer for ReplyConsumer {
    fn stop(&mut self) {
        self.inner.stop();
    }

    fn is_live(&self) -> bool {
        self.inner.is_live()
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        async move {
            let limit = self.source.settings.close_timeout;
            self.inner.close().await;
            let deleted = timeout(limit, delete(&self.source, &self.queue)).await;
            if !matches!(deleted, Ok(Ok(()))) {
                tracing::debug!(queue = %self.queue, "a reply queue is left to its time limit");
            }
        }
        .boxed()
    }
}

async fn delete(source: &Source, queue: &QueueName) -> Result<(), Failure> {
    let channel = object::channel(&source.link).await?;
    let options = QueueDeleteOptions::default();
    channel.queue_delete(queue.as_str().into(), options).await?;
    Ok(())
}
