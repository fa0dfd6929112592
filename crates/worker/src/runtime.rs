//! The worker: starts the stages, supervises them, ends in drain. See [`Worker::run`].

use crate::{
    admit::Source,
    config::WorkerConfig,
    dispatch::Shared,
    drain,
    error::WorkerError,
    events::{self, Events},
    finished::Finished,
    handler::{Blocking, Context, Handler, HandlerResult, Handlers, Rules},
    intake::Intake,
    orders::Orders,
    suspects::Quarantine,
};
use futures_util::future::join_all;
use pumasi_broker::trace;
use pumasi_common::{
    Broker, ConnectionSettings, QueueName, QueueSpec, TaskKind, TopicName, Topology,
    broker::{AckTimeout, ConsumeOptions},
    outcome::Output,
    queue::{NameError, TopicSpec},
    topology::TopologyError,
};
use pumasi_service::shutdown::Shutdown;
use std::{
    num::NonZeroU16,
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, oneshot},
    time::timeout,
};
use tokio_util::{
    sync::CancellationToken,
    task::{AbortOnDropHandle, TaskTracker},
};
use tracing::{info, warn};

/// Threads for blocking calls beside those of CPU-bound handlers.
const FILE_THREADS: usize = 16;

/// Longest wait, after handlers have ended, for a suspect to be settled.
const QUARANTINE_MAX: Duration = Duration::from_secs(1);

/// How long a settlement may take to reach the broker: what it allows for a delivery is longer
/// than the longest run by at least this.
const SETTLE_MARGIN: Duration = Duration::from_secs(30);

/// Consumes queues and runs handlers.
///
/// # Examples
/// ```no_run
/// # async fn resize(_: &str) -> Result<(), std::io::Error> { Ok(()) }
/// # async fn example(
/// #     broker: std::sync::Arc<dyn pumasi_common::Broker>,
/// #     config: pumasi_worker::WorkerConfig,
/// # ) -> Result<(), Box<dyn std::error::Error>> {
/// use pumasi_service::shutdown;
/// use pumasi_worker::{Context, HandlerError, Worker};
///
/// let worker = Worker::builder(broker, config)
///     .handle("image.resize", async |context: Context| {
///         let images: Vec<String> = context.json()?;
///         for (number, image) in images.iter().enumerate() {
///             if context.cancellation.is_cancelled() {
///                 return Err(HandlerError::fail("told to stop"));
///             }
///             context.progress(format!("{number} of {}", images.len()));
///             resize(image).await?;
///         }
///         Ok(format!("{} images", images.len()))
///     })?
///     .build()?;
/// worker.run(shutdown::on_signals()).await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Worker {
    broker: Arc<dyn Broker>,
    config: WorkerConfig,
    handlers: Arc<Handlers>,
    specs: Vec<QueueSpec>,
    duplicate_window: Duration,
    inline: bool,
    live: Arc<AtomicUsize>,
}

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

impl Worker {
    /// Begins a worker on a broker.
    #[must_use]
    pub fn builder(broker: Arc<dyn Broker>, config: WorkerConfig) -> WorkerBuilder {
        WorkerBuilder {
            broker,
            config,
            handlers: Handlers::default(),
            specs: Vec::new(),
            duplicate_window: ConnectionSettings::default().duplicate_window,
            inline: false,
        }
    }

    /// Refuses runs that RabbitMQ would cut short by taking the task back.
    fn check_ack_timeout(&self) -> Result<(), WorkerError> {
        let longest = self.run_max();
        match self.broker.capabilities().ack_timeout {
            AckTimeout::OfBroker(limit) if longest.saturating_add(SETTLE_MARGIN) > limit => {
                Err(WorkerError::AckTimeout { longest, limit })
            }
            AckTimeout::OfBroker(_) | AckTimeout::OfConsumer | AckTimeout::Unlimited => Ok(()),
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
        let handler_threads = if self.inline {
            HandlerThreads(None)
        } else {
            HandlerThreads::start(self.config.concurrency)?
        };
        let abort = CancellationToken::new();
        let running = TaskTracker::new();
        let places = Arc::new(Semaphore::new(usize::from(self.config.concurrency.get())));
        let live = Arc::clone(&self.live);
        let (shared, sources) = self.share(&name, &abort).await?;

        // Both before anything is consumed: a paused queue stays at rest, and whoever died with a
        // suspect finds it before it holds others.
        let listener = self.listen(&shared.orders, &shutdown).await;
        let quarantine = Quarantine {
            shared: Arc::clone(&shared),
            sources: sources.clone(),
            places: Arc::clone(&places),
            concurrency: self.config.concurrency,
            running: running.clone(),
            threads: handler_threads.handle(),
            stop: shutdown.intake.clone(),
            paused: shared.orders.paused(),
            ack_timeout: self.ack_timeout_wanted(),
        };
        let (looked, first_look) = oneshot::channel();
        let mut quarantine = AbortOnDropHandle::new(tokio::spawn(quarantine.run(looked)));
        // Told to stop meanwhile, it goes on to drain.
        let _ = shutdown.intake.run_until_cancelled(first_look).await;

        let mut intakes = Vec::new();
        for source in sources {
            let options = ConsumeOptions {
                queue: QueueName::clone(&source.queue),
                prefetch,
                consumer: name.clone(),
                ack_timeout: self.ack_timeout_wanted(),
            };
            intakes.push(Intake {
                consumer: Some(self.broker.consume(options.clone()).await?),
                options,
                source,
                shared: Arc::clone(&shared),
                places: Arc::clone(&places),
                running: running.clone(),
                threads: handler_threads.handle(),
                live: Arc::clone(&live),
                paused: shared.orders.paused(),
                stop: shutdown.intake.clone(),
                retired: Vec::new(),
            });
        }
        self.tell_started(&name, prefetch);
        let stopped = join_all(intakes.into_iter().map(Intake::run)).await;

        let unplaced: usize = stopped.iter().map(|it| it.unplaced).sum();
        let mut consumers: Vec<_> = stopped.into_iter().flat_map(|it| it.consumers).collect();
        let limits = drain::Limits {
            grace: self.config.drain_timeout,
            now: &shutdown.abort,
            abort: &abort,
        };
        let released = drain::drain(&mut consumers, &running, limits).await;
        // Not waited for any longer: it may wait for a handler that blocks its thread.
        let _ = timeout(QUARANTINE_MAX, &mut quarantine).await;
        drop((quarantine, listener));
        join_all(consumers.into_iter().map(|consumer| consumer.close())).await;
        info!(released = released + unplaced, "drain finished");
        Ok(())
    }

    /// What every run shares, and the queues it is for.
    async fn share(
        &self,
        name: &str,
        abort: &CancellationToken,
    ) -> Result<(Arc<Shared>, Vec<Arc<Source>>), WorkerError> {
        let (config, capabilities) = (&self.config, self.broker.capabilities());
        let sources = config.queues.iter().map(|queue| {
            let spec = self.specs.iter().find(|spec| spec.name == *queue).cloned();
            let spec = spec.unwrap_or_else(|| QueueSpec::new(queue.clone()));
            Arc::new(Source {
                queue: Arc::new(queue.clone()),
                policy: config.retry.with(&spec.retry),
                finished: Finished::new(self.duplicate_window),
                unknown: (config.unknown, config.unknown_delay),
                crashes_max: config.crashes_max,
                spec,
            })
        });
        let sources = sources.collect();
        let shared = Shared {
            name: name.to_owned(),
            broker: Arc::clone(&self.broker),
            handlers: Arc::clone(&self.handlers),
            ack: config.ack,
            timeout: config.timeout,
            grace: config.timeout_grace,
            wait_max: self.wait_max(),
            delay_max: capabilities.delay_max,
            orders: Orders::new(name),
            suspects: Arc::default(),
            events: self.events(name).await?,
            abort: abort.clone(),
            traced: trace::is_on().then_some(capabilities.system),
        };
        Ok((Arc::new(shared), sources))
    }

    async fn events(&self, name: &str) -> Result<Option<Events>, WorkerError> {
        if !self.config.events {
            return Ok(None);
        }
        let topic = TopicName::new(events::TOPIC).map_err(TopologyError::Name)?;
        let topology = Topology {
            queues: Vec::new(),
            topics: vec![TopicSpec {
                name: topic.clone(),
                subscriptions: Vec::new(),
            }],
        };
        self.broker.ensure_topology(&topology).await?;
        Ok(Some(Events::start(Arc::clone(&self.broker), name, topic)))
    }

    /// Obeys operators from now on. Before it gives back, it knows what was in force when it
    /// began, as far as the broker tells at once.
    async fn listen(&self, orders: &Arc<Orders>, shutdown: &Shutdown) -> AbortOnDropHandle<()> {
        let stream = match self.broker.control(self.config.queues.clone()).await {
            Ok(mut stream) => {
                orders.catch_up(&mut stream, &shutdown.intake);
                stream
            }
            Err(error) => {
                warn!(%error, "operators cannot reach this worker: no pause, cancel or drain");
                return AbortOnDropHandle::new(tokio::spawn(async {}));
            }
        };
        let (orders, drain) = (Arc::clone(orders), shutdown.intake.clone());
        AbortOnDropHandle::new(tokio::spawn(async move {
            orders.listen(stream, &drain).await;
        }))
    }

    fn tell_started(&self, name: &str, prefetch: NonZeroU16) {
        let queues: Vec<String> = self.config.queues.iter().map(ToString::to_string).collect();
        info!(
            worker = name,
            queues = queues.join(","),
            concurrency = self.config.concurrency,
            prefetch,
            "worker started"
        );
    }

    /// The longest run of any handler, up to its end by force.
    fn run_max(&self) -> Duration {
        let own = self.handlers.timeout_max().unwrap_or_default();
        own.max(self.config.timeout)
            .saturating_add(self.config.timeout_grace)
    }

    /// How long its deliveries may stay unsettled, where the broker asks each consumer: as long as
    /// a run behind another one takes, and some time to settle.
    fn ack_timeout_wanted(&self) -> Option<Duration> {
        let asked = self.broker.capabilities().ack_timeout == AckTimeout::OfConsumer;
        asked.then(|| {
            self.run_max()
                .saturating_mul(2)
                .saturating_add(SETTLE_MARGIN)
        })
    }

    /// How long a delivery may wait before it is started, so that its run ends in time.
    fn wait_max(&self) -> Option<Duration> {
        let limit = match self.broker.capabilities().ack_timeout {
            AckTimeout::Unlimited => return None,
            AckTimeout::OfConsumer => self.ack_timeout_wanted()?,
            AckTimeout::OfBroker(limit) => limit,
        };
        let longest = self.run_max().saturating_add(SETTLE_MARGIN);
        Some(limit.saturating_sub(longest))
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
        // Without threads of their own: those of the caller.
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
