//! Tasks from a file of JSON lines.
//!
//! Shape of a line: `{"payload": any JSON, "kind": "image.resize", "id": "…", "queue": "…",
//! "headers": {"k": "v"}, "delay": "30s", "priority": 5, "expires": "1h", "timeout": "30s",
//! "attempts": 3}`; instead of `payload`, `"text": "…"` carries a text; instead of `delay`,
//! `"at": "2026-12-24T18:00"` names a time. Every key but the payload is optional.

use crate::{
    start::{self, Start},
    submit::{CONTENT_TYPE_JSON, CONTENT_TYPE_TEXT, Request},
};
use pumasi_common::{
    Diagnostic, ErrorCode, QueueName, Retryability, TaskId, TaskKind, field::duration,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::{collections::BTreeMap, num::NonZeroU32};

/// The longest line that is read, in bytes.
pub const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A line that is not a task.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} is not a task: {problem}")]
pub struct LineError {
    /// Its number, from 1.
    pub line: u64,
    /// What is wrong; never its content.
    pub problem: String,
}

impl Diagnostic for LineError {
    fn code(&self) -> ErrorCode {
        ErrorCode::InputMalformed
    }
    fn retryability(&self) -> Retryability {
        Retryability::Permanent
    }
    fn help(&self) -> Option<String> {
        Some("each line is one JSON object like {\"payload\": {\"n\": 1}, \"kind\": \"resize\"}; `--on-error skip` goes on".to_owned())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
    text: Option<String>,
    kind: Option<TaskKind>,
    id: Option<TaskId>,
    queue: Option<QueueName>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    delay: Option<String>,
    at: Option<String>,
    priority: Option<u8>,
    expires: Option<String>,
    timeout: Option<String>,
    attempts: Option<NonZeroU32>,
}

/// Reads one line: the request and the queue it names itself, if it does.
///
/// # Errors
/// [`LineError`] with the line's number.
pub fn read_line(number: u64, line: &[u8]) -> Result<(Request, Option<QueueName>), LineError> {
    let refuse = |problem: String| LineError {
        line: number,
        problem,
    };
    let line: Line<'_> =
        serde_json::from_slice(line).map_err(|error| refuse(without_values(&error.to_string())))?;
    let time = |text: Option<String>| text.map(|text| duration::parse(&text)).transpose();
    let (payload, content_type) = match (line.payload, line.text) {
        (Some(payload), None) => (payload.get().as_bytes().to_vec(), CONTENT_TYPE_JSON),
        (None, Some(text)) => (text.into_bytes(), CONTENT_TYPE_TEXT),
        (None, None) => return Err(refuse("it has neither `payload` nor `text`".to_owned())),
        (Some(_), Some(_)) => return Err(refuse("it has both `payload` and `text`".to_owned())),
    };
    let request = Request {
        payload: payload.into(),
        content_type: Some(content_type.to_owned()),
        kind: line.kind,
        id: line.id,
        start: Start::of_texts(line.delay.as_deref(), line.at.as_deref(), start::local)
            .map_err(refuse)?,
        priority: line.priority,
        expires: time(line.expires).map_err(refuse)?,
        timeout: time(line.timeout).map_err(refuse)?,
        attempts_max: line.attempts,
        headers: line.headers.into_iter().collect(),
    };
    Ok((request, line.queue))
}

/// The parser's text names the place and the key; the value that it may quote is left out.
fn without_values(text: &str) -> String {
    let text = match text.rsplit_once(", expected ") {
        Some((before, expected)) if before.starts_with("invalid ") => {
            let mut words = before.splitn(4, ' ');
            let what: Vec<&str> = words.by_ref().take(3).collect();
            format!("{}, expected {expected}", what.join(" "))
        }
        _ => text.to_owned(),
    };
    text.chars().take(160).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_becomes_a_request_and_its_payload_keeps_its_bytes() {
        let (request, queue) = read_line(
            1,
            br#"{"payload":{"b":1,  "a":2.50},"kind":"k","queue":"q","timeout":"3s","delay":"9s"}"#,
        )
        .unwrap();
        assert_eq!(&request.payload[..], br#"{"b":1,  "a":2.50}"#);
        assert_eq!(queue.unwrap().as_str(), "q");
        assert_eq!(request.timeout.unwrap().as_secs(), 3);
        let delay = std::time::Duration::from_secs(9);
        assert_eq!(request.start, Some(Start::After(delay)));
    }

    #[test]
    fn a_line_of_the_wrong_types_is_refused_without_its_values() {
        for (line, problem) in [
            (
                r#"{"payload":1,"priority":"hunter2, expected"}"#,
                "invalid type: string",
            ),
            (r#"{"payload":1,"priority":300}"#, "invalid value: integer"),
            (r#"{"payload":1,"kind":7}"#, "invalid type: integer"),
            (r#"{"payload":1,"attempts":0}"#, "invalid value: integer"),
            (
                r#"{"payload":1,"headers":["hunter2"]}"#,
                "invalid type: sequence",
            ),
            (r#"{"text":{"hunter2":1}}"#, "invalid type: map"),
            (r#"{"payload":1,"payload":2}"#, "duplicate field `payload`"),
            (
                r#"{"payload":1,"colour":"hunter2"}"#,
                "unknown field `colour`",
            ),
            (r#""hunter2""#, "invalid type: string"),
            (r#"{"payload":1} {"payload":2}"#, "trailing characters"),
        ] {
            let error = read_line(1, line.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(problem), "{line}: {error}");
            assert!(!error.contains("hunter2"), "{line}: {error}");
        }
    }

    #[test]
    fn a_malformed_line_is_named_by_its_number() {
        for line in [
            &b"{"[..],
            b"{}",
            b"[]",
            br#"{"payload":1,"colour":2}"#,
            br#"{"payload":1,"text":"x"}"#,
            br#"{"payload":1,"kind":"a b"}"#,
            br#"{"payload":1,"timeout":"soon"}"#,
            br#"{"payload":1,"delay":"soon"}"#,
            br#"{"payload":1,"at":"soon"}"#,
            br#"{"payload":1,"delay":"1s","at":"2026-12-24T18:00"}"#,
            b"\xff",
        ] {
            let error = read_line(7, line).unwrap_err();
            assert!(
                error.to_string().starts_with("line 7 is not a task: "),
                "{error}"
            );
        }
    }
}
