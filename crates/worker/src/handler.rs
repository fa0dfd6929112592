//! What user code sees: [`Handler`], [`Context`], [`HandlerError`].

pub mod builtin;
pub mod exec;
pub mod http;

use crate::{
    decide::{Outcome, RetryAfter},
    news::News,
};
use pumasi_common::{
    QueueName, RetryRules, Task, TaskKind, broker::BoxFuture, outcome::Output, task::TraceContext,
};
use serde::de::DeserializeOwned;
use std::{
    collections::HashMap,
    fmt,
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// What a handler returns: nothing, or a result for whoever asked for it.
pub type HandlerResult<T = ()> = Result<T, HandlerError>;

/// User code for one kind of task. Implemented by every `async` closure that takes a [`Context`]
/// and gives nothing, a text or bytes.
pub trait Handler: Send + Sync + 'static {
    /// Does what the task asks for.
    fn handle(&self, context: Context) -> BoxFuture<'_, HandlerResult<Output>>;
}

impl<F, R, T> Handler for F
where
    F: Fn(Context) -> R + Send + Sync + 'static,
    R: Future<Output = HandlerResult<T>> + Send + 'static,
    T: Into<Output>,
{
    fn handle(&self, context: Context) -> BoxFuture<'_, HandlerResult<Output>> {
        let run = self(context);
        Box::pin(async { run.await.map(Into::into) })
    }
}

/// A CPU-bound handler: runs on a thread of its own.
pub(crate) struct Blocking<F>(pub(crate) Arc<F>);

impl<F, T> Handler for Blocking<F>
where
    F: Fn(Context) -> HandlerResult<T> + Send + Sync + 'static,
    T: Into<Output>,
{
    fn handle(&self, context: Context) -> BoxFuture<'_, HandlerResult<Output>> {
        let work = Arc::clone(&self.0);
        Box::pin(async move {
            match tokio::task::spawn_blocking(move || work(context).map(Into::into)).await {
                Ok(result) => result,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(_) => Err(HandlerError::fail("the worker is stopping")),
                },
            }
        })
    }
}

/// One run of a handler: the task and what surrounds it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Context {
    /// The task: id, kind, payload, headers, trace.
    pub task: Arc<Task>,
    /// The queue it came from.
    pub queue: Arc<QueueName>,
    /// Whether the broker may have handed it over before.
    pub redelivered: bool,
    /// The W3C context that this run's own calls continue: that of its span where the worker
    /// exports traces, else that of the task's creation.
    pub trace: Option<TraceContext>,
    /// When the run is told to stop; it is ended by force some time after.
    pub deadline: Instant,
    /// Cancelled when the run is to stop: its time is up, its task was cancelled, or the worker
    /// ends.
    pub cancellation: CancellationToken,
    /// Where progress goes; `None` where nobody asked for it.
    pub(crate) news: Option<News>,
}

impl Context {
    /// The attempt, from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.task.attempt.get()
    }

    /// Says how far the work is, in a few words, to whoever waits for it (`pumasi submit --wait`).
    /// Costs nothing where nobody does; of many in a short time only the last is told.
    pub fn progress(&self, text: impl Into<String>) {
        if let Some(news) = &self.news {
            news.tell(text.into());
        }
    }

    /// Reads the payload as JSON.
    ///
    /// # Errors
    /// [`HandlerError::Malformed`] with the place in the payload, never its content.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, HandlerError> {
        serde_json::from_slice(&self.task.payload).map_err(|error| HandlerError::Malformed {
            error: format!(
                "the payload is not the expected JSON (line {}, column {})",
                error.line(),
                error.column()
            ),
        })
    }
}

/// How a handler reports that it did not do its work.
///
/// Every `std` error turns into [`HandlerError::Fail`] through `?`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandlerError {
    /// It failed now; another attempt may succeed.
    Fail {
        /// What happened.
        error: String,
        /// When it wants to be tried again; `None` leaves it to the policy.
        retry_after: Option<RetryAfter>,
    },
    /// No attempt can succeed.
    Reject {
        /// Why.
        error: String,
    },
    /// The payload cannot be read.
    Malformed {
        /// Why.
        error: String,
    },
    /// The handler's process ended abruptly.
    Crash {
        /// How.
        error: String,
    },
}

impl HandlerError {
    /// Failed now; another attempt may succeed.
    pub fn fail(error: impl fmt::Display) -> Self {
        Self::Fail {
            error: error.to_string(),
            retry_after: None,
        }
    }

    /// Failed now; another attempt may succeed after this time, which counts instead of the
    /// policy's. Attempts are counted all the same.
    pub fn retry_after(error: impl fmt::Display, delay: Duration) -> Self {
        Self::Fail {
            error: error.to_string(),
            retry_after: Some(RetryAfter::Exactly(delay)),
        }
    }

    /// Failed now; another attempt may succeed, but not before this time, to which the policy's
    /// delay is added. Attempts are counted all the same.
    pub fn retry_not_before(error: impl fmt::Display, delay: Duration) -> Self {
        Self::Fail {
            error: error.to_string(),
            retry_after: Some(RetryAfter::AtLeast(delay)),
        }
    }

    /// No attempt can succeed.
    pub fn reject(error: impl fmt::Display) -> Self {
        Self::Reject {
            error: error.to_string(),
        }
    }
}

impl<E: std::error::Error> From<E> for HandlerError {
    fn from(error: E) -> Self {
        Self::fail(error)
    }
}

impl From<HandlerError> for Outcome {
    fn from(error: HandlerError) -> Self {
        match error {
            HandlerError::Fail { error, retry_after } => Self::Failed { error, retry_after },
            HandlerError::Reject { error } => Self::Rejected(error),
            HandlerError::Malformed { error } => Self::Malformed(error),
            HandlerError::Crash { error } => Self::Crashed(error),
        }
    }
}

/// What a handler has otherwise than the worker around it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Longest run; `None` for that of the worker.
    pub timeout: Option<Duration>,
    /// When its failed tasks are tried again.
    pub retry: RetryRules,
}

/// A handler with its rules.
#[derive(Clone)]
pub(crate) struct Entry {
    /// The handler.
    pub(crate) handler: Arc<dyn Handler>,
    /// Its rules.
    pub(crate) rules: Rules,
}

/// Which handler takes which kind.
#[derive(Default)]
pub struct Handlers {
    by_kind: HashMap<TaskKind, Entry>,
    default: Option<Entry>,
    every: Option<Entry>,
}

impl Handlers {
    /// Sets the handler of a kind; the last one counts.
    pub fn set(&mut self, kind: TaskKind, handler: Arc<dyn Handler>) {
        self.by_kind.insert(kind, Entry::new(handler));
    }

    /// Sets the handler of tasks without a kind.
    pub fn set_default(&mut self, handler: Arc<dyn Handler>) {
        self.default = Some(Entry::new(handler));
    }

    /// Sets the handler of tasks that no other handler takes, whatever their kind.
    pub fn set_every(&mut self, handler: Arc<dyn Handler>) {
        self.every = Some(Entry::new(handler));
    }

    /// Sets the rules of the handler that a kind has now; `None` is the default kind, or, where
    /// that has none, every kind. Nothing without a handler.
    pub fn set_rules(&mut self, kind: Option<&TaskKind>, rules: Rules) {
        let entry = match kind {
            Some(kind) => self.by_kind.get_mut(kind),
            None => self.default.as_mut().or(self.every.as_mut()),
        };
        if let Some(entry) = entry {
            entry.rules = rules;
        }
    }

    /// The longest run that any of them is allowed by rules of its own.
    #[must_use]
    pub fn timeout_max(&self) -> Option<Duration> {
        let all = self
            .by_kind
            .values()
            .chain(&self.default)
            .chain(&self.every);
        all.filter_map(|entry| entry.rules.timeout).max()
    }

    /// The handler of a kind; `None` is the default kind.
    #[must_use]
    pub(crate) fn find(&self, kind: Option<&TaskKind>) -> Option<&Entry> {
        match kind {
            Some(kind) => self.by_kind.get(kind),
            None => self.default.as_ref(),
        }
        .or(self.every.as_ref())
    }
}

impl Entry {
    fn new(handler: Arc<dyn Handler>) -> Self {
        Self {
            handler,
            rules: Rules::default(),
        }
    }
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handlers")
            .field("kinds", &self.by_kind.keys())
            .field("default", &self.default.is_some())
            .field("every", &self.every.is_some())
            .finish()
    }
}
