//! The worker: starts the stages, supervises them, ends in drain. See [`Worker::run`].

use crate::{
    admit::Source,
    builder::WorkerBuilder,
    config::WorkerConfig,
    dispatch::Shared,
    drain,
    error::WorkerError,
    events::{self, Events},
    finished::Finished,
    handler::Handlers,
    intake::Intake,
    orders::Orders,
    suspects::Quarantine,
};
use futures_util::future::join_all;
use pumasi_broker::trace;
use pumasi_common::{
    Broker, QueueName, QueueSpec, TopicName, Topology, broker::ConsumeOptions, queue::TopicSpec,
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
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) config: WorkerConfig,
    pub(crate) handlers: Arc<Handlers>,
    pub(crate) specs: Vec<QueueSpec>,
    pub(crate) duplicate_window: Duration,
    pub(crate) inline: bool,
    pub(crate) live: Arc<AtomicUsize>,
}

impl Worker {
    /// Begins a worker on a broker.
    #[must_use]
    pub fn builder(broker: Arc<dyn Broker>, config: WorkerConfig) -> WorkerBuilder {
        WorkerBuilder::new(broker, config)
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
