//! What a service's answer makes of its task.

use super::reason;
use crate::{
    decide::RetryAfter,
    handler::{HandlerError, HandlerResult},
};
use bytes::{Bytes, BytesMut};
use pumasi_common::outcome::{Output, RESULT_BYTES_MAX};
use reqwest::{
    Response, StatusCode,
    header::{CONTENT_TYPE, DATE, HeaderMap, HeaderName, RETRY_AFTER},
};
use std::time::{Duration, SystemTime};

/// The longest `Retry-After` that is believed.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

/// How much of the text of a refusal is kept with the task, in characters.
const TEXT_MAX: usize = 1024;

/// What becomes of the task, by the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Done,
    Rejected,
    Failed,
}

fn verdict(status: StatusCode) -> Verdict {
    match status {
        _ if status.is_success() => Verdict::Done,
        // What lies in the time, not in the task.
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
            Verdict::Failed
        }
        _ if status.is_client_error() => Verdict::Rejected,
        _ => Verdict::Failed,
    }
}

/// Reads an answer to its end, at most [`RESULT_BYTES_MAX`] of it.
pub(super) async fn read(mut answer: Response) -> HandlerResult<Output> {
    let status = answer.status();
    let headers = std::mem::take(answer.headers_mut());
    let (body, broken) = body(&mut answer).await;
    match verdict(status) {
        Verdict::Done => match broken {
            None => Ok(output(body, &headers)),
            Some(error) => Err(HandlerError::fail(format!(
                "the service's answer broke off: {}",
                reason(&error)
            ))),
        },
        Verdict::Rejected => Err(HandlerError::reject(shown(status, &body))),
        Verdict::Failed => Err(HandlerError::Fail {
            error: shown(status, &body),
            retry_after: retry_after(&headers, SystemTime::now()).map(RetryAfter::AtLeast),
        }),
    }
}

/// The first bytes of the body, and what it broke off with. What is beyond the limit is not read;
/// the connection ends then.
async fn body(answer: &mut Response) -> (Bytes, Option<reqwest::Error>) {
    let mut kept = BytesMut::new();
    loop {
        match answer.chunk().await {
            Ok(None) => return (kept.freeze(), None),
            Err(error) => return (kept.freeze(), Some(error)),
            Ok(Some(piece)) => {
                let room = RESULT_BYTES_MAX - kept.len();
                kept.extend_from_slice(piece.get(..room).unwrap_or(&piece));
                if piece.len() > room {
                    return (kept.freeze(), None);
                }
            }
        }
    }
}

fn output(payload: Bytes, headers: &HeaderMap) -> Output {
    Output {
        payload,
        content_type: text(headers, &CONTENT_TYPE).map(str::to_owned),
    }
}

/// The status and what the service says about it, in one line.
fn shown(status: StatusCode, body: &[u8]) -> String {
    let mut text = format!("the service answered {status}");
    if status.is_redirection() {
        text.push_str(", which is not followed: configure the URL that it leads to");
    }
    let said = String::from_utf8_lossy(body);
    let words = said.split(|c: char| c.is_whitespace() || c.is_control());
    let mut separator = ": ";
    for word in words.filter(|word| !word.is_empty()) {
        if text.len() + word.len() >= TEXT_MAX {
            text.push('…');
            break;
        }
        text.push_str(separator);
        text.push_str(word);
        separator = " ";
    }
    text
}

/// When the service wants to be asked again: seconds, or a time, which is seen from the service's
/// own clock where it tells it.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = text(headers, &RETRY_AFTER)?;
    let date = |text: &str| httpdate::parse_http_date(text).ok();
    let delay = if value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More than fits is more than is believed.
        Duration::from_secs(value.parse().unwrap_or(u64::MAX))
    } else {
        let now = text(headers, &DATE).and_then(date).unwrap_or(now);
        date(value)?.duration_since(now).unwrap_or_default()
    };
    Some(delay.min(RETRY_AFTER_MAX))
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let value = headers.get(name)?.to_str().ok()?.trim();
    (!value.is_empty()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(784_111_777);

    fn delay(headers: &[(&HeaderName, &str)]) -> Option<Duration> {
        let headers = headers.iter().map(|(name, value)| {
            let value = value.parse().unwrap();
            (HeaderName::clone(name), value)
        });
        retry_after(&headers.collect(), SystemTime::UNIX_EPOCH + NOW)
    }

    #[test]
    fn every_class_of_answer_has_its_verdict() {
        for (statuses, expected) in [
            (&[200, 201, 202, 204, 299][..], Verdict::Done),
            (
                &[400, 401, 403, 404, 409, 410, 413, 422, 499],
                Verdict::Rejected,
            ),
            (&[408, 425, 429], Verdict::Failed),
            (&[500, 502, 503, 504, 599], Verdict::Failed),
            (&[300, 301, 302, 304, 307, 308], Verdict::Failed),
            (&[600, 999], Verdict::Failed),
        ] {
            for status in statuses {
                let status = StatusCode::from_u16(*status).unwrap();
                assert_eq!(verdict(status), expected, "{status}");
            }
        }
    }

    #[test]
    fn a_retry_after_is_read_as_seconds_and_as_a_time() {
        let minute = Some(Duration::from_secs(60));
        let later = "Sun, 06 Nov 1994 08:50:37 GMT";
        for (value, expected) in [
            ("60", minute),
            ("0", Some(Duration::ZERO)),
            (later, minute),
            ("Sunday, 06-Nov-94 08:50:37 GMT", minute),
            ("Sun Nov  6 08:50:37 1994", minute),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(Duration::ZERO)),
            ("99999999", Some(RETRY_AFTER_MAX)),
            ("99999999999999999999999", Some(RETRY_AFTER_MAX)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(RETRY_AFTER_MAX)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
        ] {
            assert_eq!(delay(&[(&RETRY_AFTER, value)]), expected, "{value}");
        }
        let fast = "Sun, 06 Nov 1994 08:50:27 GMT";
        let seen = delay(&[(&RETRY_AFTER, later), (&DATE, fast)]);
        assert_eq!(
            seen,
            Some(Duration::from_secs(10)),
            "by the service's clock"
        );
        assert_eq!(delay(&[]), None);
    }

    #[test]
    fn a_refusal_is_told_in_one_short_line() {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        assert_eq!(
            shown(status, b""),
            "the service answered 422 Unprocessable Entity"
        );
        let said = shown(status, b"width\r\n\x1b[31m must be\t positive\n");
        assert_eq!(
            said,
            "the service answered 422 Unprocessable Entity: width [31m must be positive"
        );
        let long = shown(status, "x ".repeat(5000).as_bytes());
        assert!(long.len() <= TEXT_MAX + 3, "{}", long.len());
        assert!(long.ends_with('…'), "{long}");
        let one = shown(status, "é".repeat(5000).as_bytes());
        assert!(one.ends_with('…') && one.len() < 100, "{one}");
        assert!(shown(StatusCode::FOUND, b"").contains("not followed"));
    }
}
