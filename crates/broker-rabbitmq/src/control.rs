//! Operators reach running workers: pauses are marks, cancellations and drains entries of a stream.
//!
//! The stream `pumasi.control` is one for each virtual host and is made by the first who asks or
//! listens. Every worker reads all of it, from its beginning when it starts: so a cancelled task
//! that comes later is still known to be cancelled. What bounds that memory is the stream's own
//! retention, 64 MiB, some hundred thousand entries; the oldest are forgotten first.
//!
//! `entry` (what is asked), `pause` (the marks), `listener` (how a worker hears of both).

mod entry;
mod listener;
mod pause;

use crate::{
    connection::Link,
    error::{ACCESS_REFUSED, INTERNAL_ERROR, NOT_IMPLEMENTED, PRECONDITION_FAILED},
    publish::Publisher,
    topology::object::{Failure, Object},
};
use entry::Entry;
pub(crate) use listener::listen;
pub(crate) use pause::is_paused;
use pumasi_common::{
    PublishOutcome, QueueName, Refusal, TaskId,
    broker::{AdminError, Cancelled, Pause},
    topology::Argument,
};

/// What the stream keeps.
const BYTES_MAX: i64 = 64 * 1024 * 1024;
/// What it forgets at a time.
const SEGMENT_BYTES: i64 = 4 * 1024 * 1024;

/// The way to ask.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asking<'a> {
    pub(crate) link: &'a Link,
    pub(crate) publisher: &'a Publisher,
}

impl Asking<'_> {
    /// Has workers stop or go on consuming a queue.
    pub(crate) async fn pause(self, queue: &QueueName, pause: Pause) -> Result<(), AdminError> {
        crate::admin::queue(self.link, queue).await?;
        pause::mark(self.link, queue, pause)
            .await
            .map_err(explain)?;
        let queue = queue.clone();
        match self.publish(&Entry::Look { queue }).await {
            // Workers look by themselves where there is no stream.
            Err(AdminError::Unsupported { .. }) => Ok(()),
            asked => asked,
        }
    }

    /// Has workers not start a task, or end it. Whether it waits somewhere cannot be known.
    pub(crate) async fn cancel(self, id: &TaskId) -> Result<Cancelled, AdminError> {
        self.publish(&Entry::cancel(id)).await?;
        Ok(Cancelled::Requested)
    }

    /// Has one worker end.
    pub(crate) async fn drain(self, worker: &str) -> Result<(), AdminError> {
        let worker = worker.to_owned();
        self.publish(&Entry::Drain { worker }).await
    }

    /// Publishes an entry, and makes the stream where there is none yet.
    async fn publish(self, entry: &Entry) -> Result<(), AdminError> {
        let sent = self.publisher.publish(entry.publication()).await;
        let unroutable = matches!(
            &sent,
            PublishOutcome::Refused(_, Refusal::Unroutable { .. })
        );
        if !unroutable {
            return conclude(sent);
        }
        stream().declare(self.link).await.map_err(explain)?;
        conclude(self.publisher.publish(entry.publication()).await)
    }
}

fn conclude(outcome: PublishOutcome) -> Result<(), AdminError> {
    match outcome {
        PublishOutcome::Accepted(_) => Ok(()),
        PublishOutcome::Refused(_, Refusal::NotPermitted { reply, .. }) => {
            Err(AdminError::NotPermitted { reply })
        }
        PublishOutcome::Refused(_, refusal) => Err(AdminError::Failed {
            problem: refusal.to_string(),
            source: Some(Box::new(refusal)),
        }),
        PublishOutcome::Unknown(_, why) => Err(AdminError::Failed {
            problem: why.to_string(),
            source: Some(Box::new(why)),
        }),
    }
}

fn explain(failure: Failure) -> AdminError {
    match failure {
        Failure::Reply(ACCESS_REFUSED, reply) => AdminError::NotPermitted { reply },
        failure if is_without_streams(&failure) => AdminError::Unsupported {
            problem: format!("it has no streams: {}", failure.text()),
        },
        Failure::Reply(_, problem) => AdminError::Failed {
            problem,
            source: None,
        },
        Failure::Other { problem, source } => AdminError::Failed { problem, source },
    }
}

/// Whether that is how a broker refuses a stream: by a feature that is off, or a type that is.
fn is_without_streams(failure: &Failure) -> bool {
    matches!(
        failure,
        Failure::Reply(PRECONDITION_FAILED | NOT_IMPLEMENTED | INTERNAL_ERROR, _)
    )
}

fn stream() -> Object {
    Object::Queue {
        name: QueueName::control().as_str().to_owned(),
        durable: true,
        arguments: vec![
            ("x-max-length-bytes", Argument::Number(BYTES_MAX)),
            ("x-queue-type", Argument::Text("stream".to_owned())),
            (
                "x-stream-max-segment-size-bytes",
                Argument::Number(SEGMENT_BYTES),
            ),
        ],
    }
}
