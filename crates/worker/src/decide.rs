//! Decide: from what a handler did to what the broker is told. Pure: the time and the chance are
//! given.

use crate::config::Unknown;
use pumasi_common::{
    DeadLetter, DeadReason, Destination, Publication, QueueName, RetryPolicy, Settlement, Task,
    outcome::{self, Output},
};
use std::{num::NonZeroU32, time::Duration};

/// Everything that can come of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The handler finished.
    Done(Output),
    /// It failed; another attempt may succeed.
    Failed {
        /// What happened.
        error: String,
        /// When it wants to be tried again; `None` leaves it to the policy.
        retry_after: Option<RetryAfter>,
    },
    /// It said that no attempt can succeed.
    Rejected(String),
    /// It could not read the payload.
    Malformed(String),
    /// It panicked, or its process was ended by a signal.
    Crashed(String),
    /// It took its worker down with it too often.
    Deadly(String),
    /// It ran longer than allowed.
    TimedOut(Duration),
    /// There is no handler for this kind.
    UnknownKind(String),
    /// It was not started in time.
    Expired,
    /// It was cancelled.
    Cancelled,
    /// It was ended because the worker stops.
    Interrupted,
}

/// When a task that failed wants to be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// After this time, which counts instead of the policy's.
    Exactly(Duration),
    /// Not before this time. The policy's delay comes on top, so that tasks that were turned away
    /// together do not come back together.
    AtLeast(Duration),
}

impl Outcome {
    /// The outcome as one word, for telemetry.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Done(_) => "done",
            Self::Failed { .. } => "failed",
            Self::Rejected(_) => "rejected",
            Self::Malformed(_) => "malformed",
            Self::Crashed(_) | Self::Deadly(_) => "crashed",
            Self::TimedOut(_) => "timed-out",
            Self::UnknownKind(_) => "unknown-kind",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
        }
    }

    /// What happened, where it is a text of the handler's.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        match self {
            Self::Failed { error, .. }
            | Self::Rejected(error)
            | Self::Malformed(error)
            | Self::Crashed(error)
            | Self::Deadly(error) => Some(error),
            Self::Done(_)
            | Self::TimedOut(_)
            | Self::UnknownKind(_)
            | Self::Expired
            | Self::Cancelled
            | Self::Interrupted => None,
        }
    }

    /// Whether the task is over and well.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done(_))
    }
}

/// What a decision depends on besides the outcome.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// The task as it was delivered.
    pub task: &'a Task,
    /// Its work queue.
    pub queue: &'a QueueName,
    /// The worker that decides.
    pub worker: &'a str,
    /// When its failures are tried again.
    pub policy: RetryPolicy,
    /// What becomes of an unknown kind, and after how long it is offered again.
    pub unknown: (Unknown, Duration),
    /// The time, since 1970.
    pub now: Duration,
    /// Where in its range a delay lies: 0 for none, `u32::MAX` for the longest.
    pub chance: u32,
    /// The longest delay that the broker can keep.
    pub delay_max: Duration,
}

/// What to tell the broker, and whoever asked for the outcome.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// For the broker.
    pub settlement: Settlement,
    /// For whoever asked.
    pub reply: Option<Box<Publication>>,
}

/// What to tell about a task that this came of.
#[must_use]
pub fn decide(outcome: Outcome, on: &Circumstances<'_>) -> Decision {
    match outcome {
        Outcome::Done(output) => on.ack(outcome::Outcome::Done(output)),
        Outcome::Cancelled => on.ack(outcome::Outcome::Cancelled),
        Outcome::Interrupted => Decision {
            settlement: Settlement::Release,
            reply: None,
        },
        Outcome::Failed { error, retry_after } => {
            on.retry(DeadReason::AttemptsSpent, &error, retry_after)
        }
        Outcome::TimedOut(limit) => {
            let error = format!("timed out after {limit:?}");
            on.retry(DeadReason::AttemptsSpent, &error, None)
        }
        Outcome::Crashed(error) => on.retry(DeadReason::Crashed, &error, None),
        Outcome::Deadly(error) => on.dead(DeadReason::Crashed, &error),
        Outcome::Rejected(error) => on.dead(DeadReason::Rejected, &error),
        Outcome::Malformed(error) => on.dead(DeadReason::Malformed, &error),
        Outcome::Expired => on.dead(DeadReason::Expired, "it was not started in time"),
        Outcome::UnknownKind(kind) => match on.unknown {
            (Unknown::Dead, _) => on.dead(
                DeadReason::UnknownKind,
                &format!("no handler for kind `{}`", kind.escape_debug()),
            ),
            (Unknown::RequeueLater, delay) => on.postpone(delay),
        },
    }
}

/// What to tell about a task that has waited here for too long to be begun: it goes back as a
/// copy, since a release would be counted by some brokers, as if a worker had died with it.
#[must_use]
pub fn give_back(on: &Circumstances<'_>) -> Decision {
    on.postpone(Duration::ZERO)
}

/// What to tell about a task of which another copy is a dead letter: who asked hears that again.
#[must_use]
pub fn already_dead(on: &Circumstances<'_>) -> Decision {
    on.ack(outcome::Outcome::Dead {
        reason: None,
        error: "a task with this id is a dead letter already".to_owned(),
    })
}

/// A copy of a task that was perhaps not started yet: it expires when the original would.
pub(crate) fn unstarted(task: &Task, now: Duration) -> Task {
    let mut copy = task.clone();
    if let Some(wait) = copy.expires_after.take() {
        // Its wait in the queue so far is not known here: it counts from the submit, or anew.
        let submitted = copy.submitted_at.map(Duration::from_secs);
        let since = submitted.filter(|at| *at <= now).unwrap_or(now);
        let ms = since.saturating_add(wait).as_millis();
        copy.not_after_ms = Some(u64::try_from(ms).unwrap_or(u64::MAX));
    }
    copy
}

impl Circumstances<'_> {
    fn ack(&self, outcome: outcome::Outcome) -> Decision {
        Decision {
            settlement: Settlement::Ack,
            reply: outcome.message(self.task).map(Box::new),
        }
    }

    fn dead(&self, reason: DeadReason, error: &str) -> Decision {
        let mut letter = DeadLetter::new(reason, error, self.worker);
        letter.queue = Some(self.queue.clone());
        let reply = outcome::Outcome::Dead {
            reason: Some(reason),
            error: error.to_owned(),
        };
        Decision {
            settlement: Settlement::DeadLetter(Box::new(letter)),
            reply: reply.message(self.task).map(Box::new),
        }
    }

    /// Another attempt, or, where none is left, a dead letter for this reason.
    fn retry(&self, spent: DeadReason, error: &str, own: Option<RetryAfter>) -> Decision {
        let attempt = self.task.attempt;
        let attempts_max = self.task.attempts_max.unwrap_or(self.policy.attempts_max);
        if attempt >= attempts_max {
            return self.dead(spent, error);
        }
        let of_policy = self.policy.delay(attempt, self.chance);
        let delay = match own {
            None => of_policy,
            Some(RetryAfter::Exactly(own)) => own,
            Some(RetryAfter::AtLeast(least)) => least.saturating_add(of_policy),
        }
        .min(self.delay_max);
        let mut copy = self.task.clone();
        copy.attempt = attempt.checked_add(1).unwrap_or(NonZeroU32::MAX);
        copy.failed_since = copy.failed_since.or(Some(self.now.as_secs()));
        // It was started in time; what follows is not waited for in vain.
        copy.expires_after = None;
        copy.not_after_ms = None;
        let error = error.to_owned();
        let news = outcome::Outcome::Retry { error, delay };
        Decision {
            settlement: self.again(copy, delay),
            reply: news.message(self.task).map(Box::new),
        }
    }

    /// The same attempt later, perhaps by a worker that knows the kind.
    fn postpone(&self, delay: Duration) -> Decision {
        Decision {
            settlement: self.again(unstarted(self.task, self.now), delay.min(self.delay_max)),
            reply: None,
        }
    }

    fn again(&self, copy: Task, delay: Duration) -> Settlement {
        let destination = Destination::Queue(self.queue.clone());
        Settlement::Retry(Box::new(Publication::new(destination, copy).after(delay)))
    }
}

#[cfg(test)]
mod tests;
