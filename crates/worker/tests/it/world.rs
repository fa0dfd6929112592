//! A worker on the model broker, on a clock that stands still until everybody waits.

use crate::bench::name;
use pumasi_common::{
    Broker, Destination, Publication, PublishOutcome, QueueSpec, RetryPolicy, Task, TaskKind,
    Topology, outcome::Outcome,
};
use pumasi_service::shutdown::Shutdown;
use pumasi_testkit::model::Model;
use pumasi_worker::{Worker, WorkerBuilder, WorkerConfig, WorkerError};
use std::{num::NonZeroU32, sync::Arc, time::Duration};
use tokio::task::JoinHandle;

/// A broker with the queue `work`.
pub(crate) struct World {
    pub(crate) model: Arc<Model>,
}

/// A worker that can be killed.
pub(crate) struct Alive {
    model: Arc<Model>,
    name: String,
    pub(crate) shutdown: Shutdown,
    end: JoinHandle<Result<(), WorkerError>>,
}

impl World {
    pub(crate) async fn new() -> Self {
        let model = Model::new();
        let topology = Topology {
            queues: vec![
                QueueSpec::new(name("work")),
                QueueSpec::new(name("answers")),
            ],
            topics: vec![],
        };
        model.ensure_topology(&topology).await.unwrap();
        Self { model }
    }

    /// A worker named `w` on `work` that is not started yet.
    pub(crate) fn worker(&self, change: impl FnOnce(&mut WorkerConfig)) -> WorkerBuilder {
        let mut config = WorkerConfig {
            name: Some("w".to_owned()),
            queues: vec![name("work")],
            ..WorkerConfig::default()
        };
        change(&mut config);
        let broker: Arc<dyn Broker> = self.model.clone();
        Worker::builder(broker, config).inline()
    }

    pub(crate) fn start(&self, worker: WorkerBuilder) -> Alive {
        self.start_as("w", worker)
    }

    /// Starts a worker that is configured to have this name.
    pub(crate) fn start_as(&self, name: &str, worker: WorkerBuilder) -> Alive {
        let shutdown = Shutdown::default();
        let end = tokio::spawn(worker.build().unwrap().run(shutdown.clone()));
        Alive {
            model: Arc::clone(&self.model),
            name: name.to_owned(),
            shutdown,
            end,
        }
    }

    pub(crate) async fn submit(&self, task: Task) {
        self.submit_after(task, Duration::ZERO).await;
    }

    pub(crate) async fn submit_after(&self, task: Task, delay: Duration) {
        let destination = Destination::Queue(name("work"));
        let publication = Publication::new(destination, task).after(delay);
        let outcome = self.model.publish(publication).await;
        assert!(
            matches!(outcome, PublishOutcome::Accepted(_)),
            "{outcome:?}"
        );
    }

    pub(crate) fn tasks(&self, queue: &str) -> Vec<Task> {
        self.model.tasks(&name(queue))
    }

    /// Waits until the queue holds this many tasks in whatever state.
    pub(crate) async fn until(&self, queue: &str, count: usize) {
        let limit = Duration::from_secs(30 * 24 * 3600);
        let mut moved = self.model.moved();
        let reached = async {
            while self.model.count_of(&name(queue)) != count {
                moved.changed().await.unwrap();
            }
        };
        let reached = tokio::time::timeout(limit, reached).await;
        assert!(reached.is_ok(), "{queue} holds {:?}", self.tasks(queue));
    }

    /// Everything that `answers` was told, in order.
    pub(crate) async fn answers(&self) -> Vec<(Task, Outcome)> {
        use futures_util::StreamExt;
        let browsed = self.model.admin().browse(&name("answers")).await.unwrap();
        browsed
            .map(|it| Task::clone(it.task()))
            .map(|it| (it.clone(), Outcome::read(&it).unwrap().1))
            .collect()
            .await
    }
}

impl Alive {
    /// Kills it: what it held is counted by the broker.
    pub(crate) async fn kill(self) {
        self.model.crash(&self.name);
        self.end.abort();
        let _ = self.end.await;
    }

    /// Stops it and waits for its end.
    pub(crate) async fn stop(self) {
        self.shutdown.advance();
        self.ended().await;
    }

    pub(crate) async fn ended(self) {
        self.end.await.unwrap().unwrap();
    }
}

pub(crate) fn task(kind: &str) -> Task {
    Task::new(kind.to_owned()).with_kind(TaskKind::new(kind).unwrap())
}

pub(crate) fn attempts(count: u32) -> RetryPolicy {
    RetryPolicy {
        attempts_max: NonZeroU32::new(count).unwrap(),
        ..RetryPolicy::default()
    }
}
