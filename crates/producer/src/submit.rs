//! Submit: shapes and checks a task before it is published.

use crate::start::{DELAY_MAX, Start};
use bytes::Bytes;
use pumasi_common::{
    Destination, Diagnostic, ErrorCode, QueueName, Retryability, Task, TaskId, TaskKind, TopicName,
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

/// The highest priority.
pub const PRIORITY_MAX: u8 = 9;

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
    /// When it becomes ready; `None` for at once.
    pub start: Option<Start>,
    /// 0 to 9; absent is 4. Refused by a [`Client`](crate::Client) of a broker where none counts.
    pub priority: Option<u8>,
    /// How long it may wait before it is started, counted from when it is ready.
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
        /// Which: `timeout`, `expiry`, `delay`, `priority`, `most attempts`.
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
    fn into_task(self) -> Result<Task, SubmitError> {
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
        if let Some(Start::After(delay)) = self.start
            && !(millisecond..=DELAY_MAX).contains(&delay)
        {
            return refuse("delay", shown(delay), DELAY_EXPECTED);
        }
        if let Some(priority) = self.priority
            && priority > PRIORITY_MAX
        {
            return refuse("priority", priority.to_string(), "0 to 9");
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
    /// When a header name is not allowed, or a time or count is outside of its range.
    pub fn to_queue(self, queue: &QueueName) -> Result<Publication, SubmitError> {
        let (start, once) = (self.start, self.id.is_some());
        let mut task = self.into_task()?;
        let now = SystemTime::now();
        let delay = start.map_or(Duration::ZERO, |start| start.delay(now));
        if delay > DELAY_MAX {
            return Err(SubmitError::Limit {
                what: "delay",
                value: humantime::format_duration(whole_seconds(delay)).to_string(),
                expected: DELAY_EXPECTED,
            });
        }
        if !delay.is_zero() {
            // Counted from when it is ready, and whoever keeps it back counts nothing.
            let wait = task.expires_after.take();
            task.not_after_ms = wait.and_then(|wait| ms_since_1970(now + delay + wait));
        }
        Ok(Publication {
            once,
            ..Publication::new(Destination::Queue(queue.clone()), task).after(delay)
        })
    }

    /// The task on its way to every subscription of a topic, ready at once.
    ///
    /// # Errors
    /// As [`Request::to_queue`].
    pub fn to_topic(self, topic: &TopicName) -> Result<Publication, SubmitError> {
        let once = self.id.is_some();
        let destination = Destination::Topic(topic.clone());
        Ok(Publication {
            once,
            ..Publication::new(destination, self.into_task()?)
        })
    }
}

/// What is expected of a delay.
const DELAY_EXPECTED: &str = "1ms to 8.5 years";

/// Sub-second parts of years are nothing for a person.
fn whole_seconds(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs())
}

fn ms_since_1970(time: SystemTime) -> Option<u64> {
    let since = time.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since.as_millis()).ok()
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

    fn queue() -> QueueName {
        QueueName::new("q").unwrap()
    }

    #[test]
    fn what_the_other_side_would_ignore_is_refused() {
        let day = Duration::from_secs(24 * 3600);
        let text = |request: Request| {
            request
                .to_queue(&queue())
                .map(drop)
                .map_err(|e| e.to_string())
        };
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
        for delay in [Duration::ZERO, Duration::from_micros(999), 3107 * day] {
            for start in [Start::After(delay), Start::At(SystemTime::now() + delay)] {
                let request = Request {
                    start: Some(start),
                    ..Request::default()
                };
                let has_passed = start != Start::After(delay) && delay < day;
                match text(request) {
                    Ok(()) => assert!(has_passed, "{start:?}"),
                    Err(problem) => assert!(problem.starts_with("invalid delay "), "{problem}"),
                }
            }
        }
        let request = Request {
            priority: Some(10),
            ..Request::default()
        };
        let refused = text(request).unwrap_err();
        assert_eq!(refused, "invalid priority 10: expected 0 to 9");
        let request = Request {
            start: Some(Start::After(3106 * day)),
            priority: Some(9),
            timeout: Some(366 * day),
            expires: Some(49 * day),
            attempts_max: NonZeroU32::new(1_000_000),
            ..Request::default()
        };
        assert_eq!(text(request), Ok(()));
    }

    #[test]
    fn what_is_kept_back_expires_counted_from_when_it_is_ready() {
        let request = |start| Request {
            start,
            expires: Some(Duration::from_secs(60)),
            ..Request::default()
        };
        let at_once = request(None).to_queue(&queue()).unwrap();
        assert_eq!(at_once.task.expires_after, Some(Duration::from_secs(60)));
        assert_eq!((at_once.task.not_after_ms, at_once.once), (None, false));
        let hour = Duration::from_secs(3600);
        let later = request(Some(Start::After(hour)))
            .to_queue(&queue())
            .unwrap();
        assert_eq!((later.delay, later.task.expires_after), (hour, None));
        let expected = ms_since_1970(SystemTime::now() + hour).unwrap() + 60_000;
        let off = expected.abs_diff(later.task.not_after_ms.unwrap());
        assert!(off < 60_000, "{off} ms off");
    }

    #[test]
    fn an_id_of_the_callers_own_asks_for_a_single_task() {
        let request = Request {
            id: Some(TaskId::new("order-7").unwrap()),
            ..Request::default()
        };
        assert!(request.clone().to_queue(&queue()).unwrap().once);
        assert!(
            request
                .to_topic(&TopicName::new("t").unwrap())
                .unwrap()
                .once
        );
    }

    #[test]
    fn reserved_header_names_are_refused() {
        for name in ["", "pumasi-attempt", "x-death", "a\nb"] {
            let request = Request {
                headers: vec![(name.into(), "v".into())],
                ..Request::default()
            };
            assert!(request.to_queue(&queue()).is_err(), "{name}");
        }
    }
}
