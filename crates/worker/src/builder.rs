//! Putting a worker together.

use crate::{
    config::WorkerConfig,
    error::WorkerError,
    handler::{Blocking, Context, Handler, HandlerResult, Handlers, Rules},
    runtime::Worker,
};
use pumasi_common::{
    Broker, ConnectionSettings, QueueSpec, TaskKind, outcome::Output, queue::NameError,
};
use std::{sync::Arc, time::Duration};

/// Puts a worker together.
#[derive(Debug)]
pub struct WorkerBuilder {
    broker: Arc<dyn Broker>,
    config: WorkerConfig,
    handlers: Handlers,
    specs: Vec<QueueSpec>,
    duplicate_window: Duration,
    inline: bool,
}

impl WorkerBuilder {
    pub(crate) fn new(broker: Arc<dyn Broker>, config: WorkerConfig) -> Self {
        Self {
            broker,
            config,
            handlers: Handlers::default(),
            specs: Vec::new(),
            duplicate_window: ConnectionSettings::default().duplicate_window,
            inline: false,
        }
    }

    /// Sets the handler of a kind, `None` for tasks without one.
    ///
    /// # Errors
    /// When the kind is not valid.
    pub fn handle(self, kind: &str, handler: impl Handler) -> Result<Self, NameError> {
        Ok(self.handler(Some(TaskKind::new(kind)?), Arc::new(handler)))
    }

    /// Sets a CPU-bound handler of a kind: it runs on a thread of its own.
    ///
    /// A thread cannot be ended from outside: at its time-out the task is over and the thread
    /// goes on until the handler returns. A long one looks at [`Context::cancellation`].
    ///
    /// # Errors
    /// When the kind is not valid.
    pub fn handle_blocking<F, T>(self, kind: &str, work: F) -> Result<Self, NameError>
    where
        F: Fn(Context) -> HandlerResult<T> + Send + Sync + 'static,
        T: Into<Output> + 'static,
    {
        Ok(self.handler(
            Some(TaskKind::new(kind)?),
            Arc::new(Blocking(Arc::new(work))),
        ))
    }

    /// Sets the handler of a kind, or of tasks without one.
    #[must_use]
    pub fn handler(mut self, kind: Option<TaskKind>, handler: Arc<dyn Handler>) -> Self {
        match kind {
            Some(kind) => self.handlers.set(kind, handler),
            None => self.handlers.set_default(handler),
        }
        self
    }

    /// Sets what the handler of a kind has otherwise than the worker; `None` is the default kind.
    #[must_use]
    pub fn rules(mut self, kind: Option<&TaskKind>, rules: Rules) -> Self {
        self.handlers.set_rules(kind, rules);
        self
    }

    /// Takes how queues are declared: their retry rules, and where their dead letters go. A queue
    /// that is not among them has every default.
    #[must_use]
    pub fn queues(mut self, specs: Vec<QueueSpec>) -> Self {
        self.specs = specs;
        self
    }

    /// Takes how long the same id is taken for the same task; nothing for never.
    #[must_use]
    pub fn duplicate_window(mut self, window: Duration) -> Self {
        self.duplicate_window = window;
        self
    }

    /// Runs handlers on the caller's runtime instead of threads of their own: for tests with a
    /// paused clock. A handler that blocks then stalls the broker's connection.
    #[must_use]
    pub fn inline(mut self) -> Self {
        self.inline = true;
        self
    }

    /// Takes a whole set of handlers.
    #[must_use]
    pub fn handlers(mut self, handlers: Handlers) -> Self {
        self.handlers = handlers;
        self
    }

    /// Checks the configuration and makes the worker.
    ///
    /// # Errors
    /// The first contradiction in the configuration.
    pub fn build(self) -> Result<Worker, WorkerError> {
        if let Some((key, value, expected)) = self.config.problems().into_iter().next() {
            return Err(WorkerError::Config {
                key,
                value,
                expected,
            });
        }
        let Self {
            broker,
            config,
            handlers,
            specs,
            duplicate_window,
            inline,
        } = self;
        let worker = Worker {
            broker,
            config,
            handlers: Arc::new(handlers),
            specs,
            duplicate_window,
            inline,
            live: Arc::default(),
        };
        worker.check_ack_timeout()?;
        Ok(worker)
    }
}
