//! What user code sees: [`Handler`], [`Context`], [`HandlerError`].

pub mod builtin;
pub mod exec;

use crate::decide::Outcome;
use pumasi_common::{QueueName, Task, TaskKind, broker::BoxFuture, task::TraceContext};
use serde::de::DeserializeOwned;
use std::{collections::HashMap, fmt, future::Future, sync::Arc, time::Instant};
use tokio_util::sync::CancellationToken;

/// What a handler returns.
pub type HandlerResult = Result<(), HandlerError>;

/// User code for one kind of task. Implemented by every `async` closure that takes a [`Context`].
pub trait Handler: Send + Sync + 'static {
    /// Does what the task asks for.
    fn handle(&self, context: Context) -> BoxFuture<'_, HandlerResult>;
}

impl<F, R> Handler for F
where
    F: Fn(Context) -> R + Send + Sync + 'static,
    R: Future<Output = HandlerResult> + Send + 'static,
{
    fn handle(&self, context: Context) -> BoxFuture<'_, HandlerResult> {
        Box::pin(self(context))
    }
}

/// A CPU-bound handler: runs on a thread of its own.
pub(crate) struct Blocking<F>(pub(crate) Arc<F>);

impl<F> Handler for Blocking<F>
where
    F: Fn(Context) -> HandlerResult + Send + Sync + 'static,
{
    fn handle(&self, context: Context) -> BoxFuture<'_, HandlerResult> {
        let work = Arc::clone(&self.0);
        Box::pin(async move {
            match tokio::task::spawn_blocking(move || work(context)).await {
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
    /// When the run is ended by force.
    pub deadline: Instant,
    /// Cancelled when the worker must stop or the time is up.
    pub cancellation: CancellationToken,
}

impl Context {
    /// The attempt, from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.task.attempt.get()
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
            HandlerError::Fail { error } => Self::Failed(error),
            HandlerError::Reject { error } => Self::Rejected(error),
            HandlerError::Malformed { error } => Self::Malformed(error),
            HandlerError::Crash { error } => Self::Crashed(error),
        }
    }
}

/// Which handler takes which kind.
#[derive(Default)]
pub struct Handlers {
    by_kind: HashMap<TaskKind, Arc<dyn Handler>>,
    default: Option<Arc<dyn Handler>>,
    every: Option<Arc<dyn Handler>>,
}

impl Handlers {
    /// Sets the handler of a kind; the last one counts.
    pub fn set(&mut self, kind: TaskKind, handler: Arc<dyn Handler>) {
        self.by_kind.insert(kind, handler);
    }

    /// Sets the handler of tasks without a kind.
    pub fn set_default(&mut self, handler: Arc<dyn Handler>) {
        self.default = Some(handler);
    }

    /// Sets the handler of tasks that no other handler takes, whatever their kind.
    pub fn set_every(&mut self, handler: Arc<dyn Handler>) {
        self.every = Some(handler);
    }

    /// The handler of a kind; `None` is the default kind.
    #[must_use]
    pub fn find(&self, kind: Option<&TaskKind>) -> Option<&Arc<dyn Handler>> {
        match kind {
            Some(kind) => self.by_kind.get(kind),
            None => self.default.as_ref(),
        }
        .or(self.every.as_ref())
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
