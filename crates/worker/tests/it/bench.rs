//! A broker in a file of its own, and workers on it.

use pumasi_common::{
    Broker, ConnectionSettings, Destination, Publication, PublishOutcome, QueueName, QueueSpec,
    RetryPolicy, Settlement, Task, TaskKind, Topology, broker::ConsumeOptions,
};
use pumasi_service::shutdown::Shutdown;
use pumasi_worker::{Worker, WorkerBuilder, WorkerConfig, WorkerError};
use std::{
    num::{NonZeroU16, NonZeroU32},
    sync::Arc,
    time::Duration,
};
use tokio::{task::JoinHandle, time::timeout};

/// Longest wait for anything.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A broker with the queue `work`.
pub(crate) struct Bench {
    pub(crate) broker: Arc<dyn Broker>,
    _folder: tempfile::TempDir,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("q.db").display());
        let broker = pumasi_broker::open(&ConnectionSettings::of_url(&url))
            .await
            .unwrap();
        let bench = Self {
            broker,
            _folder: folder,
        };
        bench.declare("work").await;
        bench
    }

    pub(crate) async fn declare(&self, queue: &str) {
        let topology = Topology {
            queues: vec![QueueSpec::new(name(queue))],
            topics: vec![],
        };
        self.broker.ensure_topology(&topology).await.unwrap();
    }

    /// A worker on `work` that is not started yet.
    pub(crate) fn worker(&self, change: impl FnOnce(&mut WorkerConfig)) -> WorkerBuilder {
        let mut config = WorkerConfig {
            queues: vec![name("work")],
            // What fails is dead, unless a test is about retries.
            retry: RetryPolicy {
                attempts_max: NonZeroU32::MIN,
                ..RetryPolicy::default()
            },
            ..WorkerConfig::default()
        };
        change(&mut config);
        Worker::builder(Arc::clone(&self.broker), config)
    }

    pub(crate) async fn submit(&self, queue: &str, kind: &str, payload: &str) {
        let task = Task::new(payload.to_owned()).with_kind(TaskKind::new(kind).unwrap());
        let destination = Destination::Queue(name(queue));
        let outcome = self
            .broker
            .publish(Publication::new(destination, task))
            .await;
        assert!(
            matches!(outcome, PublishOutcome::Accepted(_)),
            "{outcome:?}"
        );
    }

    /// Takes what is dead, in order: payload and reason.
    pub(crate) async fn dead(&self, count: usize) -> Vec<(String, String)> {
        use futures_util::StreamExt;
        let options = ConsumeOptions {
            queue: name("work.dead"),
            prefetch: NonZeroU16::new(100).unwrap(),
            consumer: "test".to_owned(),
            ack_timeout: None,
        };
        let mut consumer = self.broker.consume(options).await.unwrap();
        let mut found = Vec::new();
        for _ in 0..count {
            let letter = timeout(LIMIT, consumer.next())
                .await
                .expect("a dead letter in time")
                .unwrap();
            let task = letter.task();
            let header = |key| task.headers.get(key).unwrap().as_text().unwrap().to_owned();
            let payload = String::from_utf8(task.payload.to_vec()).unwrap();
            found.push((payload, header(pumasi_common::wire::DEAD_REASON)));
            letter.settle(Settlement::Ack).unwrap();
        }
        consumer.close().await;
        found
    }

    /// How many tasks wait or are with a worker.
    pub(crate) async fn left(&self, queue: &str) -> u64 {
        let status = self.broker.admin().queue(&name(queue)).await.unwrap();
        status.ready + status.in_flight.unwrap()
    }

    pub(crate) async fn ready(&self, queue: &str) -> u64 {
        self.broker.admin().queue(&name(queue)).await.unwrap().ready
    }
}

pub(crate) fn name(text: &str) -> QueueName {
    QueueName::new(text).unwrap()
}

/// A worker at work.
pub(crate) struct Running {
    pub(crate) shutdown: Shutdown,
    end: JoinHandle<Result<(), WorkerError>>,
}

pub(crate) fn start(worker: WorkerBuilder) -> Running {
    let shutdown = Shutdown::default();
    let end = tokio::spawn(worker.build().unwrap().run(shutdown.clone()));
    Running { shutdown, end }
}

impl Running {
    /// Waits for its end.
    pub(crate) async fn ended(self) {
        timeout(LIMIT, self.end)
            .await
            .expect("the worker's end in time")
            .unwrap()
            .unwrap();
    }

    /// Stops it and waits for its end.
    pub(crate) async fn stop(self) {
        self.shutdown.advance();
        self.ended().await;
    }
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    timeout(LIMIT, async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("waited too long for {what}"));
}
