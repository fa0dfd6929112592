//! Submit: shapes and checks a task before it is published.

use bytes::Bytes;
use pumasi_common::{
    Destination, Diagnostic, ErrorCode, QueueName, Retryability, Task, TaskId, TaskKind,
    broker::Publication, task::HeaderValue, wire,
};
use std::{
    num::NonZeroU32,
    sync::OnceLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The media type of words.
pub const CONTENT_TYPE_TEXT: &str = "text/plain";
/// The media type of JSON payloads.
pub const CONTENT_TYPE_JSON: &str = "application/json";

/// The longest time before a task expires: RabbitMQ counts it in 32 bits of milliseconds.
pub const EXPIRES_MAX: Duration = Duration::from_secs(49 * 24 * 3600);

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
    /// The media type is longer than a property may be, or holds a control character.
    #[error("content type cannot be carried: {problem}")]
    ContentType {
        /// What is wrong.
        problem: &'static str,
    },
    /// A time or count is outside of what a task can carry.
    #[error("invalid {what} {value}: expected {expected}")]
    Limit {
        /// Which: `timeout`, `expiry`, `most attempts`.
        what: &'static str,
        /// The value.
        value: String,
        /// What was expected.
        expected: &'static str,
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
        match self {
            Self::HeaderName { .. } => Some(
                "use a name of 1 to 128 bytes that does not begin with `pumasi-` or `x-`"
                    .to_owned(),
            ),
            Self::ContentType { .. } | Self::Limit { .. } => None,
        }
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
    /// When a header name is not allowed, or a time or count is outside of its range.
    pub fn into_task(self) -> Result<Task, SubmitError> {
        check_content_type(self.content_type.as_deref().unwrap_or_default())?;
        self.check_limits()?;
        let mut task = Task::with_id(self.id.unwrap_or_else(TaskId::generate), self.payload);
        task.kind = self.kind;
        task.content_type = self.content_type;
        task.priority = self.priority;
        task.expires_after = self.expires;
        task.timeout = self.timeout;
        task.attempts_max = self.attempts_max;
        task.submitter = program();
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

    /// What is outside of these limits would be ignored on the other side.
    fn check_limits(&self) -> Result<(), SubmitError> {
        let refuse = |what, value: String, expected| {
            Err(SubmitError::Limit {
                what,
                value,
                expected,
            })
        };
        let shown = |time: Duration| humantime::format_duration(time).to_string();
        let millisecond = Duration::from_millis(1);
        if let Some(time) = self.timeout
            && !(millisecond..=wire::TIMEOUT_BELIEVED_MAX).contains(&time)
        {
            return refuse("timeout", shown(time), "1ms to 366 days");
        }
        if let Some(time) = self.expires
            && !(millisecond..=EXPIRES_MAX).contains(&time)
        {
            return refuse("expiry", shown(time), "1ms to 49 days");
        }
        match self.attempts_max {
            Some(count) if count.get() > wire::ATTEMPT_BELIEVED_MAX => {
                refuse("most attempts", count.to_string(), "1 to 1000000")
            }
            _ => Ok(()),
        }
    }

    /// The task on its way to a queue.
    ///
    /// # Errors
    /// As [`Request::into_task`].
    pub fn to_queue(self, queue: &QueueName) -> Result<Publication, SubmitError> {
        let destination = Destination::Queue(queue.clone());
        Ok(Publication::new(destination, self.into_task()?))
    }
}

/// Who submits: the name of this program's file.
fn program() -> Option<String> {
    static NAME: OnceLock<Option<String>> = OnceLock::new();
    let name = || {
        let path = std::env::current_exe().ok()?;
        let name = path.file_name()?.to_str()?.to_owned();
        (name.len() <= 255).then_some(name)
    };
    NAME.get_or_init(name).clone()
}

fn check_content_type(text: &str) -> Result<(), SubmitError> {
    let refuse = |problem| Err(SubmitError::ContentType { problem });
    if text.len() > 255 {
        refuse("it is longer than 255 bytes")
    } else if text.chars().any(char::is_control) {
        refuse("it holds a control character")
    } else {
        Ok(())
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
    fn what_the_other_side_would_ignore_is_refused() {
        let day = Duration::from_secs(24 * 3600);
        let text = |request: Request| request.into_task().map(drop).map_err(|e| e.to_string());
        for timeout in [Duration::ZERO, Duration::from_micros(999), 367 * day] {
            let request = Request {
                timeout: Some(timeout),
                ..Request::default()
            };
            assert!(text(request).unwrap_err().starts_with("invalid timeout "));
        }
        for expires in [Duration::ZERO, 50 * day] {
            let request = Request {
                expires: Some(expires),
                ..Request::default()
            };
            assert!(text(request).unwrap_err().starts_with("invalid expiry "));
        }
        let request = Request {
            attempts_max: NonZeroU32::new(1_000_001),
            ..Request::default()
        };
        let refused = text(request).unwrap_err();
        assert_eq!(
            refused,
            "invalid most attempts 1000001: expected 1 to 1000000"
        );
        let request = Request {
            timeout: Some(366 * day),
            expires: Some(49 * day),
            attempts_max: NonZeroU32::new(1_000_000),
            ..Request::default()
        };
        assert_eq!(text(request), Ok(()));
    }

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
