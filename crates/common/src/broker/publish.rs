//! Publishing one task and what can come of it.

use crate::{
    error::{Diagnostic, ErrorCode, Retryability},
    queue::{QueueName, TopicName},
    task::{Task, TaskId},
};
use std::{fmt, time::Duration};

/// Where a task is published to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Destination {
    /// Point to point: one queue, through the default exchange.
    Queue(QueueName),
    /// Publish-subscribe: every subscription of the topic.
    Topic(TopicName),
    /// The outcome of a task, to whoever asked for it: the `reply_to` that came with the task,
    /// whatever its name. RabbitMQ's direct reply-to is one.
    Reply(String),
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queue(name) => write!(f, "queue `{name}`"),
            Self::Topic(name) => write!(f, "topic `{name}`"),
            Self::Reply(name) => write!(f, "reply queue `{}`", name.escape_debug()),
        }
    }
}

/// A task on its way to a destination.
#[derive(Clone, Debug, PartialEq)]
pub struct Publication {
    /// Where to.
    pub destination: Destination,
    /// What.
    pub task: Task,
    /// How long from now it is kept back before it is ready; zero for not at all. Rounded up to
    /// [`Capabilities::delay_resolution`](super::Capabilities). To a queue only.
    pub delay: Duration,
    /// Whether the caller chose the id, so that a second publish of it within the duplicate
    /// window is the same task: accepted, and stored once where the broker can know.
    pub once: bool,
}

impl Publication {
    /// A task on its way to a destination, ready at once.
    #[must_use]
    pub fn new(destination: Destination, task: Task) -> Self {
        Self {
            destination,
            task,
            delay: Duration::ZERO,
            once: false,
        }
    }

    /// The same, ready after a delay.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }
}

/// What became of a publish. Never a false failure: whatever may exist is `Unknown`.
#[derive(Debug)]
pub enum PublishOutcome {
    /// The broker has confirmed it.
    Accepted(TaskId),
    /// It was not stored and will not be.
    Refused(TaskId, Refusal),
    /// It was sent and not confirmed before the deadline: it may exist. Submitting it again with
    /// the same id is safe.
    Unknown(TaskId, Uncertainty),
}

impl PublishOutcome {
    /// The id of the task.
    #[must_use]
    pub fn id(&self) -> &TaskId {
        match self {
            Self::Accepted(id) | Self::Refused(id, _) | Self::Unknown(id, _) => id,
        }
    }
}

/// Why a task was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No queue behind the destination.
    #[error("{destination} does not exist or leads to no queue")]
    Unroutable {
        /// Where it should have gone.
        destination: Destination,
    },
    /// The broker said no: the queue is at its limit.
    #[error("{destination} is full: the broker refused the task")]
    Full {
        /// Where it should have gone.
        destination: Destination,
    },
    /// The payload is over the limit.
    #[error("the payload has {bytes} bytes, more than the limit of {bytes_max}")]
    PayloadTooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// The headers are over the limit.
    #[error("the headers have {bytes} bytes, more than the limit of {bytes_max}")]
    HeadersTooLarge {
        /// Their size as encoded.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// A property cannot be carried.
    #[error("{property} cannot be carried: {problem}")]
    Property {
        /// Which property.
        property: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// This broker has not what the task asks for.
    #[error("{what} cannot be had of {product}: {problem}")]
    Unsupported {
        /// What was asked: `priority 7`.
        what: String,
        /// The broker's product and version.
        product: String,
        /// Why not.
        problem: String,
        /// What to do instead.
        instead: &'static str,
    },
    /// The user may not publish there.
    #[error("publishing to {destination} is not permitted: {reply}")]
    NotPermitted {
        /// Where it should have gone.
        destination: Destination,
        /// The broker's words.
        reply: String,
    },
    /// It could not be sent before the deadline; nothing was stored.
    #[error("the broker could not take the task in time: {problem}")]
    Unavailable {
        /// Why not.
        problem: String,
    },
    /// The disk under the store is full; nothing was stored.
    #[error("the disk is full: {problem}")]
    StorageFull {
        /// The store's words.
        problem: String,
    },
}

impl Diagnostic for Refusal {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Unroutable { .. } => ErrorCode::Unroutable,
            Self::Full { .. } => ErrorCode::QueueFull,
            Self::PayloadTooLarge { .. } | Self::HeadersTooLarge { .. } => ErrorCode::TaskTooLarge,
            Self::Property { .. } => ErrorCode::TaskInvalid,
            Self::Unsupported { .. } => ErrorCode::Unsupported,
            Self::NotPermitted { .. } => ErrorCode::PermissionRefused,
            Self::Unavailable { .. } => ErrorCode::SubmitUnavailable,
            Self::StorageFull { .. } => ErrorCode::StoreFull,
        }
    }
    fn retryability(&self) -> Retryability {
        match self {
            Self::Full { .. } | Self::Unavailable { .. } | Self::StorageFull { .. } => {
                Retryability::Transient
            }
            Self::Unroutable { .. }
            | Self::PayloadTooLarge { .. }
            | Self::HeadersTooLarge { .. }
            | Self::Property { .. }
            | Self::Unsupported { .. }
            | Self::NotPermitted { .. } => Retryability::Permanent,
        }
    }
    fn help(&self) -> Option<String> {
        Some(match self {
            Self::Unroutable {
                destination: Destination::Queue(name),
            } => {
                format!("create it with `pumasi queue declare {name}`, or start a worker for it")
            }
            Self::Unroutable {
                destination: Destination::Topic(_),
            } => "give the topic a subscription in the configuration, then `pumasi topology apply`"
                .to_owned(),
            Self::Unroutable {
                destination: Destination::Reply(_),
            } => return None,
            Self::Full { .. } => "wait until workers have made room, or raise the limit".to_owned(),
            Self::PayloadTooLarge { .. } | Self::HeadersTooLarge { .. } => {
                "store large data elsewhere and submit a reference to it".to_owned()
            }
            Self::Unsupported { instead, .. } => (*instead).to_owned(),
            Self::NotPermitted { .. } => "grant the user the permission that is named".to_owned(),
            Self::StorageFull { .. } => "make room on the disk and submit again".to_owned(),
            Self::Unavailable { .. } => "submit again with the same id".to_owned(),
            Self::Property { .. } => return None,
        })
    }
}

/// Why the outcome of a publish is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the task was sent and its confirm did not come: {problem}")]
pub struct Uncertainty {
    /// What happened instead.
    pub problem: String,
}

impl Diagnostic for Uncertainty {
    fn code(&self) -> ErrorCode {
        ErrorCode::SubmitUnknown
    }
    fn retryability(&self) -> Retryability {
        Retryability::Transient
    }
    fn help(&self) -> Option<String> {
        Some("it may have been stored; submit it again with the same id".to_owned())
    }
}
