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
