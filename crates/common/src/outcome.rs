//! Outcome messages: what whoever submitted a task with a `reply_to` hears of it.
//!
//! Shape: a message to the `reply_to`, with the task's `correlation_id` (its id where it has none)
//! and headers `pumasi-outcome*`; the body is the handler's result. News come before the outcome,
//! and only where the task asks for them, so that a requester that knows nothing of us takes the
//! first message for the answer, and is right.

use crate::{
    broker::{Destination, Publication},
    settlement::{DeadReason, ERROR_BYTES_MAX, cut},
    task::{HeaderValue, Task, TaskId},
    wire,
};
use bytes::Bytes;
use std::time::Duration;

/// The largest result that travels in an outcome, in bytes; a longer one is cut.
pub const RESULT_BYTES_MAX: usize = 64 * 1024;
/// The largest text of a piece of news, in bytes; a longer one is cut.
pub const NEWS_BYTES_MAX: usize = 1024;

/// What a handler gives back: bytes and their media type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Any bytes.
    pub payload: Bytes,
    /// Their media type.
    pub content_type: Option<String>,
}

impl From<()> for Output {
    fn from((): ()) -> Self {
        Self::default()
    }
}

impl From<Bytes> for Output {
    fn from(payload: Bytes) -> Self {
        Self {
            payload,
            content_type: None,
        }
    }
}

impl From<Vec<u8>> for Output {
    fn from(payload: Vec<u8>) -> Self {
        Bytes::from(payload).into()
    }
}

impl From<String> for Output {
    fn from(text: String) -> Self {
        Self {
            payload: Bytes::from(text),
            content_type: Some("text/plain".to_owned()),
        }
    }
}

/// One message about a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// News: an attempt began.
    Started,
    /// News: the handler reports how far it is.
    Progress(String),
    /// News: an attempt failed and another follows.
    Retry {
        /// What happened.
        error: String,
        /// When the next one begins at the earliest, from now.
        delay: Duration,
    },
    /// The task is done; what the handler gave back.
    Done(Output),
    /// It is a dead letter.
    Dead {
        /// Why, from the closed list; `None` where the message names none that is known.
        reason: Option<DeadReason>,
        /// What happened.
        error: String,
    },
    /// It was cancelled.
    Cancelled,
}

impl Outcome {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Progress(_) => "progress",
            Self::Retry { .. } => "retry",
            Self::Done(_) => "done",
            Self::Dead { .. } => "dead",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing more follows.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            Self::Started | Self::Progress(_) | Self::Retry { .. } => false,
            Self::Done(_) | Self::Dead { .. } | Self::Cancelled => true,
        }
    }

    /// The message for whoever wants to hear it; `None` where nobody does.
    #[must_use]
    pub fn message(self, task: &Task) -> Option<Publication> {
        let to = task.reply_to.clone()?;
        if !self.is_final() && !task.wants_progress {
            return None;
        }
        let word = self.as_str();
        let mut reply = Task::new(Bytes::new());
        reply.correlation_id = Some(
            task.correlation_id
                .clone()
                .unwrap_or_else(|| task.id.as_str().to_owned()),
        );
        let mut set = |name, value: &str| reply.headers.set(name, value.into());
        set(wire::OUTCOME, word);
        set(wire::OUTCOME_TASK, task.id.as_str());
        match self {
            Self::Started | Self::Cancelled => {}
            Self::Progress(text) => {
                reply.payload = Bytes::from(cut(&text, NEWS_BYTES_MAX).to_owned());
            }
            Self::Retry { error, delay } => {
                set(wire::OUTCOME_ERROR, cut(&error, ERROR_BYTES_MAX));
                let ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
                let text = humantime::format_duration(Duration::from_millis(ms)).to_string();
                reply.payload = Bytes::from(text);
            }
            Self::Done(output) => {
                reply.content_type = output.content_type;
                reply.payload = output.payload;
                reply.payload.truncate(RESULT_BYTES_MAX);
            }
            Self::Dead { reason, error } => {
                if let Some(reason) = reason {
                    set(wire::OUTCOME_REASON, reason.as_str());
                }
                set(wire::OUTCOME_ERROR, cut(&error, ERROR_BYTES_MAX));
            }
        }
        Some(Publication::new(Destination::Reply(to), reply))
    }

    /// Reads a message: which task it is about, and what it says. `None` where it is no outcome.
    #[must_use]
    pub fn read(message: &Task) -> Option<(TaskId, Self)> {
        let text = |name| message.headers.get(name).and_then(HeaderValue::as_text);
        let body = || String::from_utf8_lossy(&message.payload).into_owned();
        let id = TaskId::new(text(wire::OUTCOME_TASK)?).ok()?;
        let error = || text(wire::OUTCOME_ERROR).unwrap_or_default().to_owned();
        let outcome = match text(wire::OUTCOME)? {
            "started" => Self::Started,
            "progress" => Self::Progress(body()),
            "retry" => Self::Retry {
                error: error(),
                delay: humantime::parse_duration(&body()).unwrap_or_default(),
            },
            "done" => Self::Done(Output {
                payload: message.payload.clone(),
                content_type: message.content_type.clone(),
            }),
            "dead" => Self::Dead {
                reason: text(wire::OUTCOME_REASON).and_then(|reason| reason.parse().ok()),
                error: error(),
            },
            "cancelled" => Self::Cancelled,
            _ => return None,
        };
        Some((id, outcome))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> [Outcome; 6] {
        [
            Outcome::Started,
            Outcome::Progress("3 of 10".to_owned()),
            Outcome::Retry {
                error: "no route".to_owned(),
                delay: Duration::from_millis(2_500),
            },
            Outcome::Done(Output {
                payload: Bytes::from_static(b"\xff result"),
                content_type: Some("image/png".to_owned()),
            }),
            Outcome::Dead {
                reason: Some(DeadReason::Rejected),
                error: "no such customer".to_owned(),
            },
            Outcome::Cancelled,
        ]
    }

    #[test]
    fn every_outcome_survives_the_way_to_whoever_asked() {
        let mut task = Task::new("x");
        task.reply_to = Some("amq.gen-answers".to_owned());
        task.wants_progress = true;
        for outcome in all() {
            let message = outcome.clone().message(&task).unwrap();
            assert_eq!(
                message.destination,
                Destination::Reply("amq.gen-answers".to_owned())
            );
            assert_eq!(
                message.task.correlation_id.as_deref(),
                Some(task.id.as_str())
            );
            let read = Outcome::read(&message.task).unwrap();
            assert_eq!(read, (task.id.clone(), outcome));
        }
    }

    #[test]
    fn who_did_not_ask_for_news_gets_only_the_end_and_who_did_not_ask_gets_nothing() {
        let mut task = Task::new("x");
        task.correlation_id = Some("call 7".to_owned());
        assert!(all().into_iter().all(|it| it.message(&task).is_none()));
        task.reply_to = Some("answers".to_owned());
        for outcome in all() {
            let is_final = outcome.is_final();
            let message = outcome.message(&task);
            assert_eq!(message.is_some(), is_final);
            if let Some(message) = message {
                assert_eq!(message.task.correlation_id.as_deref(), Some("call 7"));
            }
        }
    }

    #[test]
    fn what_is_no_outcome_is_not_read_as_one() {
        assert_eq!(Outcome::read(&Task::new("x")), None);
        let mut strange = Task::new("x");
        strange.headers.set(wire::OUTCOME, "exploded".into());
        strange.headers.set(wire::OUTCOME_TASK, "7".into());
        assert_eq!(Outcome::read(&strange), None);
    }
}
