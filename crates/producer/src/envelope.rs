//! A task as one JSON object: a line of a file, a body of the gateway, a line of a batch.
//!
//! Shape: `{"queue": "…", "kind": "image.resize", "id": "…", "payload": any JSON, "content_type":
//! "…", "headers": {"k": "v"}, "delay": "30s", "priority": 5, "expires": "1h", "timeout": "30s",
//! "attempts": 3}`. Instead of `payload`, `"text": "…"` carries a text and `"base64": "…"` any
//! bytes; instead of `delay`, `"at": "2026-12-24T18:00:00Z"` names a time. All but the payload may
//! be absent. Without `content_type` JSON is `application/json`, a text `text/plain`, and bytes
//! have none.

use crate::{
    start::Start,
    submit::{CONTENT_TYPE_JSON, CONTENT_TYPE_TEXT, Request},
};
use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::Bytes;
use pumasi_common::{
    Diagnostic, ErrorCode, QueueName, Retryability, TaskId, TaskKind, field::duration,
};
use serde::{Deserialize, Deserializer};
use serde_json::{error::Category, value::RawValue};
use std::{collections::BTreeMap, num::NonZeroU32, time::SystemTime};

/// The standard alphabet, with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Bytes that are not a task.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a task: {problem}")]
pub struct Malformed {
    /// What is wrong; never a value of the caller's, but for names and times.
    pub problem: String,
    /// Whether the bytes are JSON at all.
    pub is_json: bool,
}

impl Diagnostic for Malformed {
    fn code(&self) -> ErrorCode {
        ErrorCode::InputMalformed
    }
    fn retryability(&self) -> Retryability {
        Retryability::Permanent
    }
    fn help(&self) -> Option<String> {
        Some(
            "a task is one JSON object like {\"queue\": \"images\", \"kind\": \"resize\", \
             \"payload\": {\"n\": 1}}"
                .to_owned(),
        )
    }
}

impl From<String> for Malformed {
    fn from(problem: String) -> Self {
        Self {
            problem,
            is_json: true,
        }
    }
}

impl From<serde_json::Error> for Malformed {
    fn from(error: serde_json::Error) -> Self {
        Self {
            problem: without_values(&error.to_string()),
            is_json: error.classify() == Category::Data,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    payload: Option<&'a RawValue>,
    text: Option<String>,
    base64: Option<String>,
    content_type: Option<String>,
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

/// A value that is there is one, `null` too.
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    Deserialize::deserialize(from).map(Some)
}

/// Reads a task: the request, and the queue where it names one. `own` keeps the part of the bytes
/// that is a JSON payload, as it is; `time` reads a time.
///
/// # Errors
/// [`Malformed`] with what is wrong.
pub fn read(
    json: &[u8],
    own: impl FnOnce(&[u8]) -> Bytes,
    time: fn(&str) -> Result<SystemTime, String>,
) -> Result<(Request, Option<QueueName>), Malformed> {
    let task: Envelope<'_> = serde_json::from_slice(json)?;
    let lasting = |text: Option<String>| text.map(|text| duration::parse(&text)).transpose();
    let (payload, content_type) = match (task.payload, task.text, task.base64) {
        (Some(json), None, None) => (own(json.get().as_bytes()), Some(CONTENT_TYPE_JSON)),
        (None, Some(text), None) => (text.into(), Some(CONTENT_TYPE_TEXT)),
        (None, None, Some(text)) => (bytes_of(&text)?, None),
        (None, None, None) => {
            return Err("it has no `payload`, `text` or `base64`".to_owned().into());
        }
        _ => {
            return Err("it has more than one of `payload`, `text` and `base64`"
                .to_owned()
                .into());
        }
    };
    let request = Request {
        payload,
        content_type: task.content_type.or(content_type.map(str::to_owned)),
        kind: task.kind,
        id: task.id,
        start: Start::of_texts(task.delay.as_deref(), task.at.as_deref(), time)?,
        priority: task.priority,
        expires: lasting(task.expires)?,
        timeout: lasting(task.timeout)?,
        attempts_max: task.attempts,
        headers: task.headers.into_iter().collect(),
    };
    Ok((request, task.queue))
}

fn bytes_of(text: &str) -> Result<Bytes, String> {
    let bytes = BASE64
        .decode(text)
        .map_err(|_| "`base64` is not of the standard alphabet, or is cut off".to_owned())?;
    Ok(bytes.into())
}

/// The parser's text names the place and the key; the value that it may quote is left out.
pub(crate) fn without_values(text: &str) -> String {
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
    use crate::start;

    fn read_copied(json: &str) -> Result<(Request, Option<QueueName>), Malformed> {
        read(json.as_bytes(), Bytes::copy_from_slice, start::instant)
    }

    #[test]
    fn a_payload_is_json_a_text_or_bytes() {
        for (json, payload, content_type) in [
            (
                r#"{"payload":{"b":1,  "a":2.50}}"#,
                &br#"{"b":1,  "a":2.50}"#[..],
                Some("application/json"),
            ),
            (r#"{"payload":"x"}"#, b"\"x\"", Some("application/json")),
            (r#"{"payload":null}"#, b"null", Some("application/json")),
            (r#"{"text":"a\nb"}"#, b"a\nb", Some("text/plain")),
            (r#"{"base64":"AP8NCg=="}"#, b"\x00\xff\r\n", None),
            (r#"{"base64":"AP8NCg"}"#, b"\x00\xff\r\n", None),
            (
                r#"{"base64":"","content_type":"image/png"}"#,
                b"",
                Some("image/png"),
            ),
            (r#"{"payload":1,"content_type":"a/b"}"#, b"1", Some("a/b")),
        ] {
            let (request, queue) = read_copied(json).unwrap();
            assert_eq!(&request.payload[..], payload, "{json}");
            assert_eq!(request.content_type.as_deref(), content_type, "{json}");
            assert_eq!(queue, None);
        }
    }

    #[test]
    fn a_json_payload_need_not_be_copied() {
        let body = Bytes::from_static(br#"{"payload":[1,2]}"#);
        let own = |part: &[u8]| body.slice_ref(part);
        let (request, _) = read(&body, own, start::instant).unwrap();
        assert_eq!(request.payload.as_ptr(), body.slice(11..).as_ptr());
    }

    #[test]
    fn everything_that_can_be_said_is_read() {
        let (request, queue) = read_copied(
            r#"{"payload":1,"kind":"k","queue":"q","id":"i","headers":{"h":"v"},"delay":"9s",
                "priority":7,"expires":"1h","timeout":"3s","attempts":4}"#,
        )
        .unwrap();
        assert_eq!(queue.unwrap().as_str(), "q");
        let seconds = std::time::Duration::from_secs;
        let expected = Request {
            payload: Bytes::from_static(b"1"),
            content_type: Some("application/json".to_owned()),
            kind: Some(TaskKind::new("k").unwrap()),
            id: Some(TaskId::new("i").unwrap()),
            start: Some(Start::After(seconds(9))),
            priority: Some(7),
            expires: Some(seconds(3600)),
            timeout: Some(seconds(3)),
            attempts_max: NonZeroU32::new(4),
            headers: vec![("h".to_owned(), "v".to_owned())],
        };
        assert_eq!(format!("{request:?}"), format!("{expected:?}"));
        let (request, _) = read_copied(r#"{"text":"","at":"2026-12-24T18:00:00Z"}"#).unwrap();
        assert!(matches!(request.start, Some(Start::At(_))));
    }

    #[test]
    fn what_is_wrong_is_said_without_the_values() {
        for (json, problem) in [
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
            ("{}", "no `payload`, `text` or `base64`"),
            (r#"{"text":"hunter2","base64":""}"#, "more than one"),
            (r#"{"base64":"hunter2!"}"#, "standard alphabet"),
            (r#"{"text":"","at":"2026-12-24T18:00"}"#, "with its offset"),
            (
                r#"{"text":"","delay":"1s","at":"2026-12-24T18:00:00Z"}"#,
                "both",
            ),
        ] {
            let error = read_copied(json).unwrap_err();
            assert!(error.is_json, "{json}");
            assert!(error.problem.contains(problem), "{json}: {error}");
            assert!(!error.problem.contains("hunter2"), "{json}: {error}");
        }
        for json in ["", "{", r#"{"payload":1} {"payload":2}"#, "hunter2"] {
            let error = read_copied(json).unwrap_err();
            assert!(!error.is_json, "{json}: {error}");
            assert!(!error.problem.contains("hunter2"), "{json}: {error}");
        }
    }
}
