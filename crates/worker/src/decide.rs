//! Decide: from what a handler did to what the broker is told. Pure.

use pumasi_common::{DeadLetter, DeadReason, Settlement};
use std::time::Duration;

/// Everything that can come of running a handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It finished.
    Done,
    /// It failed; another attempt may succeed.
    Failed(String),
    /// It said that no attempt can succeed.
    Rejected(String),
    /// It could not read the payload.
    Malformed(String),
    /// It panicked, or its process was ended by a signal.
    Crashed(String),
    /// It ran longer than allowed.
    TimedOut(Duration),
    /// There is no handler for this kind.
    UnknownKind(String),
    /// It was ended because the worker stops.
    Interrupted,
}

impl Outcome {
    /// The outcome as one word, for telemetry.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed(_) => "failed",
            Self::Rejected(_) => "rejected",
            Self::Malformed(_) => "malformed",
            Self::Crashed(_) => "crashed",
            Self::TimedOut(_) => "timed-out",
            Self::UnknownKind(_) => "unknown-kind",
            Self::Interrupted => "interrupted",
        }
    }
}

/// What to tell the broker.
#[must_use]
pub fn decide(outcome: Outcome, worker: &str) -> Settlement {
    let dead = |reason, error: &str| {
        Settlement::DeadLetter(Box::new(DeadLetter::new(reason, error, worker)))
    };
    match outcome {
        Outcome::Done => Settlement::Ack,
        Outcome::Interrupted => Settlement::Release,
        Outcome::Failed(error) => dead(DeadReason::AttemptsSpent, &error),
        Outcome::TimedOut(limit) => dead(
            DeadReason::AttemptsSpent,
            &format!("timed out after {limit:?}"),
        ),
        Outcome::Rejected(error) => dead(DeadReason::Rejected, &error),
        Outcome::Malformed(error) => dead(DeadReason::Malformed, &error),
        Outcome::Crashed(error) => dead(DeadReason::Crashed, &error),
        Outcome::UnknownKind(kind) => dead(
            DeadReason::UnknownKind,
            &format!("no handler for kind `{}`", kind.escape_debug()),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_one_settlement() {
        let reason = |outcome| match decide(outcome, "w") {
            Settlement::Ack => "ack",
            Settlement::Release => "release",
            Settlement::Retry(_) => "retry",
            Settlement::DeadLetter(letter) => letter.reason.as_str(),
        };
        let text = || "e".to_owned();
        for (outcome, expected) in [
            (Outcome::Done, "ack"),
            (Outcome::Interrupted, "release"),
            (Outcome::Failed(text()), "attempts-spent"),
            (Outcome::TimedOut(Duration::from_secs(1)), "attempts-spent"),
            (Outcome::Rejected(text()), "rejected"),
            (Outcome::Malformed(text()), "malformed"),
            (Outcome::Crashed(text()), "crashed"),
            (Outcome::UnknownKind(text()), "unknown-kind"),
        ] {
            assert_eq!(reason(outcome), expected);
        }
    }
}
