//! Submit: shapes and checks a task before it is published.

use bytes::Bytes;
use pumasi_common::{
    Destination, Diagnostic, ErrorCode, QueueName, Retryability, Task, TaskId, TaskKind,
    broker::Publication, task::HeaderValue,
};
use std::{
    num::NonZeroU32,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The media type of words.
pub const CONTENT_TYPE_TEXT: &str = "text/plain";
/// The media type of JSON payloads.
pub const CONTENT_TYPE_JSON: &str = "application/json";

/// A task as a caller asks for it.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The payload.
    pub payload: Bytes,
    /// The media type of the payload.
    pub content_type: Option<String>,
    /// Selects the handler.
    pub kind: Option<TaskKind>,
    /// The caller's id; makes the submit safe to repeat.
    pub id: Option<TaskId>,
    /// 0 to 255.
    pub priority: Option<u8>,
    /// How long it may wait before it is started.
    pub expires: Option<Duration>,
    /// Longest run of one attempt.
    pub timeout: Option<Duration>,
    /// Most attempts.
    pub attempts_max: Option<NonZeroU32>,
    /// Headers of the caller's own.
    pub headers: Vec<(String, String)>,
}

/// A request that cannot become a task.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// A header name is empty, too long or one of ours.
    #[error("invalid header name `{}`: {problem}", .name.escape_debug())]
    HeaderName {
        /// The name, cut to 64 characters.
        name: String,
        /// What is wrong.
        problem: &'static str,
    },
}

impl Diagnostic for SubmitError {
    fn code(&self) -> ErrorCode {
        ErrorCode::TaskInvalid
    }
    fn retryability(&self) -> Retryability {
        Retryability::Permanent
    }
    fn help(&self) -> Option<String> {
        Some("use a name of 1 to 128 bytes that does not begin with `pumasi-` or `x-`".to_owned())
    }
}

impl Request {
    /// A request with this payload and nothing else set.
    #[must_use]
    pub fn new(payload: impl Into<Bytes>) -> Self {
        Self {
            payload: payload.into(),
            ..Self::default()
        }
    }

    /// The task, with an id, the time and who submits it.
    ///
    /// # Errors
    /// When a header name is not allowed.
    pub fn into_task(self) -> Result<Task, SubmitError> {
        let mut task = Task::with_id(self.id.unwrap_or_else(TaskId::generate), self.payload);
        task.kind = self.kind;
        task.content_type = self.content_type;
        task.priority = self.priority;
        task.expires_after = self.expires;
        task.timeout = self.timeout;
        task.attempts_max = self.attempts_max;
        task.submitted_at = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .ok()
            .map(|d| d.as_secs());
        for (name, value) in self.headers {
            check_header(&name)?;
            task.headers.set(name, HeaderValue::Text(value));
        }
        Ok(task)
    }

    /// The task on its way to a queue.
    ///
    /// # Errors
    /// As [`Request::into_task`].
    pub fn to_queue(self, queue: &QueueName) -> Result<Publication, SubmitError> {
        let destination = Destination::Queue(queue.clone());
        Ok(Publication {
            destination,
            task: self.into_task()?,
        })
    }
}

fn check_header(name: &str) -> Result<(), SubmitError> {
    let refuse = |problem| {
        Err(SubmitError::HeaderName {
            name: name.chars().take(64).collect(),
            problem,
        })
    };
    if name.is_empty() || name.len() > 128 {
        refuse("it is empty or longer than 128 bytes")
    } else if name.starts_with("pumasi-") || name.starts_with("x-") {
        refuse("names that begin with `pumasi-` or `x-` are reserved")
    } else if name.chars().any(char::is_control) {
        refuse("it holds a control character")
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_header_names_are_refused() {
        for name in ["", "pumasi-attempt", "x-death", "a\nb"] {
            let request = Request {
                headers: vec![(name.into(), "v".into())],
                ..Request::default()
            };
            assert!(request.into_task().is_err(), "{name}");
        }
    }
}
