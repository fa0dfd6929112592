//! Tasks from a file of JSON lines. See [`crate::envelope`] for the shape of a line; a time without
//! an offset is of the time zone of this machine.

use crate::{
    envelope::{self, Malformed},
    start,
    submit::Request,
};
use bytes::Bytes;
use pumasi_common::{Diagnostic, ErrorCode, QueueName, Retryability};

/// The longest line that is read, in bytes.
pub const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What some editors begin a file with.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

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

/// Reads one line: the request and the queue it names itself, if it does.
///
/// # Errors
/// [`LineError`] with the line's number.
pub fn read_line(number: u64, line: &[u8]) -> Result<(Request, Option<QueueName>), LineError> {
    // The payload is copied, so that whoever reads the file can use its buffer again.
    envelope::read(unmarked(number, line), Bytes::copy_from_slice, start::local).map_err(
        |Malformed { problem, .. }| LineError {
            line: number,
            problem,
        },
    )
}

/// The line without the mark that a file may begin with.
#[must_use]
pub fn unmarked(number: u64, line: &[u8]) -> &[u8] {
    match line.strip_prefix(BYTE_ORDER_MARK) {
        Some(rest) if number == 1 => rest,
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_becomes_a_request_and_its_queue() {
        let line = b"\xef\xbb\xbf{\"payload\":{\"b\":1,  \"a\":2.50},\"queue\":\"q\"}";
        let (request, queue) = read_line(1, line).unwrap();
        assert_eq!(&request.payload[..], br#"{"b":1,  "a":2.50}"#);
        assert_eq!(queue.unwrap().as_str(), "q");
        assert!(
            read_line(2, line).is_err(),
            "the mark is of a file, not of a line"
        );
        let local = br#"{"payload":1,"at":"2026-12-24T18:00"}"#;
        assert!(read_line(1, local).unwrap().0.start.is_some());
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
