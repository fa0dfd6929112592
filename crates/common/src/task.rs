//! A task: one unit of work whose id never changes.

pub mod headers;
pub mod id;

pub use headers::{HeaderValue, Headers};
pub use id::{TaskId, TaskKind};

use bytes::Bytes;
use std::{num::NonZeroU32, time::Duration};

/// One unit of work, as a producer describes it and as a handler receives it.
///
/// Every field but the id and the payload is optional: a message with no properties at all is a
/// valid task of the default kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// Names the task for ever; repeating a submit with the same id is safe.
    pub id: TaskId,
    /// Selects the handler; `None` selects the queue's default handler.
    pub kind: Option<TaskKind>,
    /// Any bytes.
    pub payload: Bytes,
    /// The media type of the payload, as the caller named it.
    pub content_type: Option<String>,
    /// When it was submitted, in seconds since 1970.
    pub submitted_at: Option<u64>,
    /// 0 (lowest) to 255; what a broker makes of it is its capability.
    pub priority: Option<u8>,
    /// How long it may wait before it is started.
    pub expires_after: Option<Duration>,
    /// Who submitted it.
    pub submitter: Option<String>,
    /// The queue the outcome goes to.
    pub reply_to: Option<String>,
    /// What the requester matches the outcome by.
    pub correlation_id: Option<String>,
    /// The attempt that comes next, from 1.
    pub attempt: NonZeroU32,
    /// Most attempts; `None` leaves it to the worker's policy.
    pub attempts_max: Option<NonZeroU32>,
    /// Longest run of one attempt; `None` leaves it to the worker.
    pub timeout: Option<Duration>,
    /// When it expires, in milliseconds since 1970, where the broker does not count the wait
    /// itself: the task was kept back.
    pub not_after_ms: Option<u64>,
    /// When its first failed attempt ended, in seconds since 1970.
    pub failed_since: Option<u64>,
    /// Whether whoever gets the outcome also wants to hear how it goes on.
    pub wants_progress: bool,
    /// The W3C context of its creation.
    pub trace: Option<TraceContext>,
    /// Headers of the caller's own, without those that have a field here.
    pub headers: Headers,
}

impl Task {
    /// A task of the default kind with a fresh id and nothing else set.
    #[must_use]
    pub fn new(payload: impl Into<Bytes>) -> Self {
        Self::with_id(TaskId::generate(), payload)
    }

    /// A task with the caller's id.
    #[must_use]
    pub fn with_id(id: TaskId, payload: impl Into<Bytes>) -> Self {
        Self {
            id,
            kind: None,
            payload: payload.into(),
            content_type: None,
            submitted_at: None,
            priority: None,
            expires_after: None,
            submitter: None,
            reply_to: None,
            correlation_id: None,
            attempt: NonZeroU32::MIN,
            attempts_max: None,
            timeout: None,
            not_after_ms: None,
            failed_since: None,
            wants_progress: false,
            trace: None,
            headers: Headers::default(),
        }
    }

    /// The same task with a kind.
    #[must_use]
    pub fn with_kind(mut self, kind: TaskKind) -> Self {
        self.kind = Some(kind);
        self
    }
}

/// The W3C trace context of a task's creation; never overwritten by a retry or a replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The `traceparent` header.
    pub traceparent: String,
    /// The `tracestate` header.
    pub tracestate: Option<String>,
}

/// The longest `tracestate` that is carried, in bytes.
const TRACESTATE_BYTES_MAX: usize = 1024;

impl TraceContext {
    /// The context of the two headers; `None` where the first is not one. A second that cannot be
    /// carried is left out.
    #[must_use]
    pub fn parse(traceparent: String, tracestate: Option<String>) -> Option<Self> {
        let mut parts = traceparent.split('-');
        let mut hex = |digits: usize| {
            parts.next().filter(|part| {
                part.len() == digits && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
            })
        };
        let (version, trace, span, _flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
        let is_zero = |part: &str| part.bytes().all(|b| b == b'0');
        // What a later version appends is not ours to carry.
        if version != "00" || is_zero(trace) || is_zero(span) || parts.next().is_some() {
            return None;
        }
        let tracestate = tracestate.filter(|state| {
            !state.is_empty() && state.len() <= TRACESTATE_BYTES_MAX && state.is_ascii()
        });
        Some(Self {
            traceparent,
            tracestate,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_well_formed_context_is_one() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let parse = |text: &str| TraceContext::parse(text.to_owned(), Some("a=b".to_owned()));
        let context = parse(good).unwrap();
        assert_eq!(context.traceparent, good);
        assert_eq!(context.tracestate.as_deref(), Some("a=b"));
        for bad in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        let long = Some("a".repeat(TRACESTATE_BYTES_MAX + 1));
        let context = TraceContext::parse(good.to_owned(), long).unwrap();
        assert_eq!(context.tracestate, None);
    }
}
