//! The operator's side of a broker: looking at queues and emptying them.

use super::BoxFuture;
use crate::{
    error::{Cause, Diagnostic, ErrorCode, Retryability},
    queue::{QueueKind, QueueName},
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
            Self::Failed { .. } => ErrorCode::ConnectionLost,
        }
    }
    fn retryability(&self) -> Retryability {
        match self {
            Self::QueueMissing { .. } | Self::NotPermitted { .. } => Retryability::Permanent,
            Self::Failed { .. } => Retryability::Transient,
        }
    }
    fn help(&self) -> Option<String> {
        match self {
            Self::QueueMissing { .. } => {
                Some("see which exist with `pumasi queue list`".to_owned())
            }
            Self::NotPermitted { .. } | Self::Failed { .. } => None,
        }
    }
}
