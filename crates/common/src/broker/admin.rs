//! The operator's side of a broker: looking at queues and emptying them.

use super::{BoxFuture, Consumer};
use crate::{
    error::{Cause, Diagnostic, ErrorCode, Retryability},
    queue::{QueueKind, QueueName},
    task::TaskId,
};
use serde::Serialize;

/// What an operator can ask of a broker.
pub trait BrokerAdmin: Send + Sync {
    /// All work queues the broker knows. `known` are those of our own configuration, for a
    /// broker that cannot list.
    fn queues<'a>(
        &'a self,
        known: &'a [QueueName],
    ) -> BoxFuture<'a, Result<Vec<QueueStatus>, AdminError>>;

    /// One queue.
    fn queue<'a>(&'a self, name: &'a QueueName) -> BoxFuture<'a, Result<QueueStatus, AdminError>>;

    /// Deletes all ready tasks of a queue for ever and says how many.
    fn purge<'a>(&'a self, name: &'a QueueName) -> BoxFuture<'a, Result<u64, AdminError>>;

    /// Goes once through the tasks that are ready now, in order, without consuming them: each is
    /// delivered once, what is not settled stays, and its place in the queue with it. The stream
    /// ends after the last; it ends early, and is no longer live, when the broker is lost.
    /// Only [`Settlement::Ack`](crate::Settlement) and `Release` are to be used on it.
    fn browse<'a>(
        &'a self,
        name: &'a QueueName,
    ) -> BoxFuture<'a, Result<Box<dyn Consumer>, AdminError>>;

    /// Has workers of every process stop (or, resumed, go on) consuming a queue. Tasks are
    /// submitted to it as before. Holds until it is resumed, whatever restarts meanwhile.
    fn pause<'a>(
        &'a self,
        name: &'a QueueName,
        pause: Pause,
    ) -> BoxFuture<'a, Result<(), AdminError>>;

    /// Cancels a task: one that waits is not started any more, one that runs is told so.
    fn cancel<'a>(&'a self, id: &'a TaskId) -> BoxFuture<'a, Result<Cancelled, AdminError>>;

    /// Asks the worker of this name to drain and end.
    fn drain<'a>(&'a self, worker: &'a str) -> BoxFuture<'a, Result<(), AdminError>>;
}

/// A queue as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct QueueStatus {
    /// Its name.
    pub name: QueueName,
    /// Its kind, where the broker tells.
    pub kind: Option<QueueKind>,
    /// Tasks waiting.
    pub ready: u64,
    /// Tasks with a worker, where the broker tells.
    pub in_flight: Option<u64>,
    /// Consumers now.
    pub consumers: u64,
    /// Tasks kept back until later, where the broker tells.
    pub delayed: Option<u64>,
    /// Whether workers are asked not to consume it.
    pub paused: bool,
}

/// Whether a queue is to be consumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// Not until it is resumed.
    On,
    /// As usual.
    Off,
}

/// What became of a cancellation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Cancelled {
    /// The task waited; it is gone.
    Done,
    /// Workers were told: it is not started, or ended where it runs, unless it is done first.
    Requested,
    /// There is no such task, or it has ended.
    Missing,
}

/// Why an operator's request failed.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The queue does not exist.
    #[error("queue `{queue}` does not exist")]
    QueueMissing {
        /// The queue.
        queue: QueueName,
    },
    /// The user may not.
    #[error("not permitted: {reply}")]
    NotPermitted {
        /// The broker's words.
        reply: String,
    },
    /// This broker cannot do it.
    #[error("this broker cannot do it: {problem}")]
    Unsupported {
        /// Why not.
        problem: String,
    },
    /// The broker could not be asked.
    #[error("the broker could not be asked: {problem}")]
    Failed {
        /// What happened.
        problem: String,
        /// The foreign error behind it.
        #[source]
        source: Option<Cause>,
    },
}

impl Diagnostic for AdminError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::QueueMissing { .. } => ErrorCode::QueueMissing,
            Self::NotPermitted { .. } => ErrorCode::PermissionRefused,
            Self::Unsupported { .. } => ErrorCode::Unsupported,
            Self::Failed { .. } => ErrorCode::ConnectionLost,
        }
    }
    fn retryability(&self) -> Retryability {
        match self {
            Self::QueueMissing { .. } | Self::NotPermitted { .. } | Self::Unsupported { .. } => {
                Retryability::Permanent
            }
            Self::Failed { .. } => Retryability::Transient,
        }
    }
    fn help(&self) -> Option<String> {
        match self {
            Self::QueueMissing { .. } => {
                Some("see which exist with `pumasi queue list`".to_owned())
            }
            Self::NotPermitted { .. } | Self::Unsupported { .. } | Self::Failed { .. } => None,
        }
    }
}
