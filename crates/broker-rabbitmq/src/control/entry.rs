//! One entry of the control stream: a small JSON message. Pure.
//!
//! `{"ask":"cancel","id":"…","at_ms":…}`, `{"ask":"look","queue":"…"}`,
//! `{"ask":"drain","worker":"…"}`, `{"ask":"begin","listener":"…"}`. What is none of these is passed over: a newer version may ask
//! for more.

use pumasi_common::{Destination, Publication, QueueName, Task, TaskId};
use serde::{Deserialize, Serialize};
use std::time::{SystemTime, UNIX_EPOCH};

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "lowercase")]
pub(super) enum Entry {
    /// Not to start a task, or to end it.
    Cancel { id: TaskId, at_ms: u64 },
    /// To look whether a queue is paused: the entry does not say it, since it may be forgotten.
    Look { queue: QueueName },
    /// To end.
    Drain { worker: String },
    /// Nothing: a listener marks where it began.
    Begin { listener: TaskId },
}

impl Entry {
    pub(super) fn cancel(id: &TaskId) -> Self {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self::Cancel {
            id: id.clone(),
            at_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// As it is published.
    pub(super) fn publication(&self) -> Publication {
        let mut task = Task::new(serde_json::to_vec(self).unwrap_or_default());
        task.content_type = Some("application/json".to_owned());
        Publication::new(Destination::Queue(QueueName::control()), task)
    }

    pub(super) fn parse(payload: &[u8]) -> Option<Self> {
        serde_json::from_slice(payload).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_survive_the_way_out_and_back_and_others_are_passed_over() {
        for (entry, text) in [
            (
                Entry::Cancel {
                    id: TaskId::new("a").unwrap(),
                    at_ms: 7,
                },
                r#"{"ask":"cancel","id":"a","at_ms":7}"#,
            ),
            (
                Entry::Look {
                    queue: QueueName::new("work").unwrap(),
                },
                r#"{"ask":"look","queue":"work"}"#,
            ),
            (
                Entry::Drain {
                    worker: "w".to_owned(),
                },
                r#"{"ask":"drain","worker":"w"}"#,
            ),
            (
                Entry::Begin {
                    listener: TaskId::new("l").unwrap(),
                },
                r#"{"ask":"begin","listener":"l"}"#,
            ),
        ] {
            let payload = entry.publication().task.payload;
            assert_eq!(payload, text);
            assert_eq!(Entry::parse(&payload), Some(entry));
        }
        for other in [
            "",
            "{}",
            "[]",
            r#"{"ask":"dance"}"#,
            r#"{"ask":"cancel","id":"","at_ms":7}"#,
            r#"{"ask":"look","queue":"amq.x"}"#,
        ] {
            assert_eq!(Entry::parse(other.as_bytes()), None, "{other}");
        }
    }
}
