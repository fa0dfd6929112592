//! The worker: starts the stages, supervises them, ends in drain. See [`Worker::run`].

use crate::{
    config::WorkerConfig,
    dispatch::{Shared, dispatch},
    drain,
    error::WorkerError,
    handler::{Blocking, Context, Handler, HandlerResult, Handlers},
};
use futures_util::{StreamExt, future::join_all};
use pumasi_broker::trace;
use pumasi_common::{
    Broker, TaskKind,
    broker::{ConsumeOptions, Consumer},
    queue::NameError,
};
use pumasi_service::shutdown::Shutdown;
use std::{
    num::NonZeroU16,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::{runtime::Handle, sync::Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::info;

/// Threads for blocking calls beside those of CPU-bound handlers.
const FILE_THREADS: usize = 16;

/// Consumes queues and runs handlers.
#[derive(Debug)]
pub struct Worker {
    broker: Arc<dyn Broker>,
    config: WorkerConfig,
    handlers: Handlers,
    live: Arc<AtomicUsize>,
}

/// Puts a worker together.
#[derive(Debug)]
pub struct WorkerBuilder {
    broker: Arc<dyn Broker>,
    config: WorkerConfig,
    handlers: Handlers,
}

impl WorkerBuilder {
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
    pub fn handle_blocking<F>(self, kind: &str, work: F) -> Result<Self, NameError>
    where
        F: Fn(Context) -> HandlerResult + Send + Sync + 'static,
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
        } = self;
        Ok(Worker {
            broker,
            config,
            handlers,
            live: Arc::default(),
        })
    }
}

impl Worker {
    /// Begins a worker on a broker.
    #[must_use]
    pub fn builder(broker: Arc<dyn Broker>, config: WorkerConfig) -> WorkerBuilder {
        WorkerBuilder {
            broker,
            config,
            handlers: Handlers::default(),
        }
    }

    /// How many of its consumers can receive now; for readiness.
    #[must_use]
    pub fn live_consumers(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.live)
    }

    /// Works until `shutdown` says to stop, then drains.
    ///
    /// # Errors
    /// When a consumer cannot start. Once started, lost brokers are waited for.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), WorkerError> {
        let name = self.config.name.clone().unwrap_or_else(default_name);
        let prefetch = self.config.prefetch.resolve(self.config.concurrency);
        let mut consumers = Vec::new();
        for queue in &self.config.queues {
            let options = ConsumeOptions {
                queue: queue.clone(),
                prefetch,
                consumer: name.clone(),
                ack_timeout: None,
            };
            consumers.push(self.broker.consume(options).await?);
        }
        let queues: Vec<String> = self.config.queues.iter().map(ToString::to_string).collect();
        info!(
            worker = name,
            queues = queues.join(","),
            concurrency = self.config.concurrency,
            prefetch,
            "worker started"
        );

        let handler_threads = HandlerThreads::start(self.config.concurrency)?;
        let abort = CancellationToken::new();
        let shared = Arc::new(Shared {
            name,
            handlers: self.handlers,
            ack: self.config.ack,
            timeout: self.config.timeout,
            abort: abort.clone(),
            traced: trace::is_on().then(|| self.broker.capabilities().system),
        });
        let places = Arc::new(Semaphore::new(usize::from(self.config.concurrency.get())));
        let running = TaskTracker::new();
        let intakes = consumers.into_iter().map(|consumer| Intake {
            consumer,
            shared: Arc::clone(&shared),
            places: Arc::clone(&places),
            running: running.clone(),
            threads: handler_threads.handle(),
            live: Arc::clone(&self.live),
        });
        let stopped = join_all(intakes.map(|intake| intake.run(shutdown.intake.clone()))).await;
        let (mut consumers, unplaced): (Vec<_>, Vec<_>) = stopped.into_iter().unzip();
        let limits = drain::Limits {
            grace: self.config.drain_timeout,
            now: &shutdown.abort,
            abort: &abort,
        };
        let released = drain::drain(&mut consumers, &running, limits).await;
        join_all(consumers.into_iter().map(|consumer| consumer.close())).await;
        let released = released + unplaced.into_iter().sum::<usize>();
        info!(released, "drain finished");
        Ok(())
    }
}

/// One queue's way in: takes deliveries as places become free.
struct Intake {
    consumer: Box<dyn Consumer>,
    shared: Arc<Shared>,
    places: Arc<Semaphore>,
    running: TaskTracker,
    threads: Handle,
    live: Arc<AtomicUsize>,
}

impl Intake {
    /// Hands deliveries to handlers until told to stop; gives the consumer back, and how many
    /// deliveries went back for want of a place.
    async fn run(mut self, stop: CancellationToken) -> (Box<dyn Consumer>, usize) {
        self.live.fetch_add(1, Ordering::Relaxed);
        let mut unplaced = 0;
        loop {
            let delivery = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                delivery = self.consumer.next() => delivery,
            };
            let Some(delivery) = delivery else { break };
            // The delivery waits for a place, not the place for a delivery: queues share places.
            let place = tokio::select! {
                biased;
                () = stop.cancelled() => None,
                place = Arc::clone(&self.places).acquire_owned() => place.ok(),
            };
            let Some(place) = place else {
                // A dropped delivery is released.
                unplaced += 1;
                break;
            };
            let work = dispatch(Arc::clone(&self.shared), delivery, place);
            self.running.spawn_on(work, &self.threads);
        }
        self.live.fetch_sub(1, Ordering::Relaxed);
        (self.consumer, unplaced)
    }
}

/// The threads that run handlers: apart from those that keep the broker's connections alive, so
/// that a handler that blocks stalls no heartbeat.
struct HandlerThreads(Option<tokio::runtime::Runtime>);

impl HandlerThreads {
    fn start(concurrency: NonZeroU16) -> Result<Self, WorkerError> {
        tokio::runtime::Builder::new_multi_thread()
            .thread_name("pumasi-handler")
            // Each CPU-bound handler has its own; the rest is for file access.
            .max_blocking_threads(usize::from(concurrency.get()) + FILE_THREADS)
            .enable_all()
            .build()
            .map(|runtime| Self(Some(runtime)))
            .map_err(WorkerError::Threads)
    }

    fn handle(&self) -> Handle {
        self.0
            .as_ref()
            .map_or_else(Handle::current, |runtime| runtime.handle().clone())
    }
}

impl Drop for HandlerThreads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

fn default_name() -> String {
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    format!("{host}-{}", std::process::id())
}
