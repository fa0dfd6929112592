//! How outcomes and news are told.

use crate::{
    commands::one_line,
    say::{note, note_json},
};
use pumasi_common::{DeadReason, TaskId, outcome::Outcome};
use serde_json::{Value, json};
use std::time::Duration;

/// How many ids a person is told.
const IDS_SHOWN: usize = 20;
/// The exit status where nobody knows yet how it ends (`EX_TEMPFAIL`).
const NOT_YET: u8 = 75;
/// The exit status after Ctrl-C, as shells give it.
pub(in crate::commands::submit) const INTERRUPTED: u8 = 130;

/// An outcome or news for a machine. A result that is no text is a list of its bytes.
pub(in crate::commands::submit) fn line(id: &TaskId, outcome: &Outcome) -> Value {
    let mut line = json!({ "id": id, "outcome": outcome.as_str() });
    let more = match outcome {
        Outcome::Started | Outcome::Cancelled => json!({}),
        Outcome::Progress(text) => json!({ "progress": text }),
        Outcome::Retry { error, delay } => {
            json!({ "error": error, "delay_seconds": delay.as_secs_f64() })
        }
        Outcome::Done(output) => match std::str::from_utf8(&output.payload) {
            Ok(text) => json!({ "result": text, "content_type": output.content_type }),
            Err(_) => json!({
                "result_bytes": output.payload.as_ref(),
                "content_type": output.content_type,
            }),
        },
        Outcome::Dead { reason, error } => {
            json!({ "reason": reason.map(DeadReason::as_str), "error": error })
        }
    };
    if let (Some(line), Value::Object(more)) = (line.as_object_mut(), more) {
        line.extend(more);
    }
    line
}

/// News for a person, on one line.
pub(in crate::commands::submit) fn news(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Progress(text) => format!("progress {}", one_line(text)),
        Outcome::Retry { error, delay } => {
            let delay = humantime::format_duration(*delay);
            format!("retry in {delay}: {}", one_line(error))
        }
        Outcome::Started | Outcome::Done(_) | Outcome::Dead { .. } | Outcome::Cancelled => {
            outcome.as_str().to_owned()
        }
    }
}

/// How a task failed, for a person: what its handler has said, with its lines.
pub(in crate::commands::submit) fn failure(id: &TaskId, outcome: &Outcome) -> String {
    let Outcome::Dead { reason, error } = outcome else {
        return format!("{} {id}", outcome.as_str());
    };
    let lines: Vec<String> = error.lines().map(one_line).collect();
    let reason = reason.map_or("dead", DeadReason::as_str);
    format!("dead {id}: {reason}: {}", lines.join("\n"))
}

/// What has not ended, for whoever wants to look for it later.
pub(in crate::commands::submit) fn still_open(ids: &[TaskId], json: bool) {
    if ids.is_empty() {
        return;
    }
    if json {
        return note_json(&json!({ "open": ids }));
    }
    for id in ids.iter().take(IDS_SHOWN) {
        note(format_args!("still open: {id}"));
    }
    if let Some(more) = ids.len().checked_sub(IDS_SHOWN).filter(|more| *more > 0) {
        note(format_args!("still open: {more} more"));
    }
}

/// The wait is over and the task is not.
pub(in crate::commands::submit) fn too_long(limit: Duration) -> u8 {
    let limit = humantime::format_duration(limit);
    note(format_args!(
        "no outcome within {limit}; what is open goes on without us"
    ));
    NOT_YET
}

/// No outcome can be heard any more.
pub(in crate::commands::submit) fn lost() -> u8 {
    note("the broker is away for good; what is open goes on without us");
    NOT_YET
}

#[cfg(test)]
mod tests {
    use super::*;
    use pumasi_common::outcome::Output;

    fn id() -> TaskId {
        TaskId::new("order-7").unwrap()
    }

    #[test]
    fn every_outcome_is_an_object_with_what_it_says() {
        let done = |payload: &'static [u8]| {
            Outcome::Done(Output {
                payload: payload.into(),
                content_type: Some("text/plain".to_owned()),
            })
        };
        for (outcome, expected) in [
            (Outcome::Started, json!({"outcome": "started"})),
            (Outcome::Cancelled, json!({"outcome": "cancelled"})),
            (
                Outcome::Progress("3 of 10".to_owned()),
                json!({"outcome": "progress", "progress": "3 of 10"}),
            ),
            (
                Outcome::Retry {
                    error: "no route".to_owned(),
                    delay: Duration::from_millis(1500),
                },
                json!({"outcome": "retry", "error": "no route", "delay_seconds": 1.5}),
            ),
            (
                done(b"42"),
                json!({"outcome": "done", "result": "42", "content_type": "text/plain"}),
            ),
            (
                done(b"\xff\x00"),
                json!({"outcome": "done", "result_bytes": [255, 0], "content_type": "text/plain"}),
            ),
            (
                Outcome::Dead {
                    reason: Some(DeadReason::Rejected),
                    error: "no customer".to_owned(),
                },
                json!({"outcome": "dead", "reason": "rejected", "error": "no customer"}),
            ),
        ] {
            let mut expected = expected;
            expected["id"] = "order-7".into();
            assert_eq!(line(&id(), &outcome), expected);
        }
    }

    #[test]
    fn a_failure_keeps_its_lines_and_moves_no_cursor() {
        let dead = Outcome::Dead {
            reason: Some(DeadReason::AttemptsSpent),
            error: "exit status 1\n  no \u{1b}[2Jroute".to_owned(),
        };
        assert_eq!(
            failure(&id(), &dead),
            "dead order-7: attempts-spent: exit status 1\nno \\u{1b}[2Jroute"
        );
        assert_eq!(failure(&id(), &Outcome::Cancelled), "cancelled order-7");
    }
}
