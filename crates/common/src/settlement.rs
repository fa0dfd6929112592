//! What is told to the broker about a delivery, exactly once.

use crate::{broker::Publication, queue::QueueName};
use std::fmt;

/// The longest error text that travels with a dead letter or an outcome, in bytes.
pub const ERROR_BYTES_MAX: usize = 2048;

/// The text up to this many bytes, cut at a character border.
#[must_use]
pub fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// What is told to the broker about a delivery.
#[derive(Clone, Debug, PartialEq)]
pub enum Settlement {
    /// Done; the broker forgets the task.
    Ack,
    /// Replaced by a copy that is ready later, or elsewhere: the copy is published and confirmed,
    /// then the original is acknowledged. A crash in between leaves both, never none.
    Retry(Box<Publication>),
    /// Moved aside to the queue's dead letters, for a person to look at.
    DeadLetter(Box<DeadLetter>),
    /// Given back unprocessed; ready again for any worker, the attempt not counted.
    Release,
}

/// Why a task is moved aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The reason, from a closed list.
    pub reason: DeadReason,
    /// What happened, for a person; cut at 2,048 bytes.
    pub error: String,
    /// Which worker decided it.
    pub worker: String,
    /// The work queue it came from, where that is not the queue it was delivered from.
    pub queue: Option<QueueName>,
}

impl DeadLetter {
    /// A dead letter with its error cut to the limit at a character border.
    #[must_use]
    pub fn new(reason: DeadReason, error: &str, worker: &str) -> Self {
        Self {
            reason,
            error: cut(error, ERROR_BYTES_MAX).to_owned(),
            worker: worker.to_owned(),
            queue: None,
        }
    }
}

/// The closed list of reasons for a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeadReason {
    /// The handler failed and no attempt is left.
    AttemptsSpent,
    /// The handler said that no attempt can succeed.
    Rejected,
    /// The task cannot be read.
    Malformed,
    /// No handler for this kind.
    UnknownKind,
    /// The handler's process ended abruptly, it panicked, or its worker died with it.
    Crashed,
    /// It was not started in time.
    Expired,
}

impl DeadReason {
    /// The word used on the wire, in logs and in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AttemptsSpent => "attempts-spent",
            Self::Rejected => "rejected",
            Self::Malformed => "malformed",
            Self::UnknownKind => "unknown-kind",
            Self::Crashed => "crashed",
            Self::Expired => "expired",
        }
    }
}

impl DeadReason {
    /// Every reason.
    pub const ALL: [Self; 6] = [
        Self::AttemptsSpent,
        Self::Rejected,
        Self::Malformed,
        Self::UnknownKind,
        Self::Crashed,
        Self::Expired,
    ];
}

impl std::str::FromStr for DeadReason {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|reason| reason.as_str() == text);
        known.ok_or_else(|| {
            let words = Self::ALL.map(Self::as_str).join(", ");
            format!(
                "`{}` is not a reason: expected one of {words}",
                text.escape_debug()
            )
        })
    }
}

impl fmt::Display for DeadReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
