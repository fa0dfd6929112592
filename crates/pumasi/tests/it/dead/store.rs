//! A broker as a library sees it, to fill it and to look into it.

use futures_util::StreamExt;
use pumasi_common::{
    Broker, ConnectionSettings, DeadLetter, DeadReason, Destination, Publication, PublishOutcome,
    QueueName, Task, TaskId, Topology, wire,
};
use std::{collections::HashSet, sync::Arc};
use tokio::runtime::Runtime;

/// An open broker.
pub(crate) struct Store {
    runtime: Runtime,
    broker: Arc<dyn Broker>,
}

impl Store {
    pub(crate) fn open(url: &str) -> Self {
        let runtime = Runtime::new().unwrap();
        let settings = ConnectionSettings::of_url(url);
        let broker = runtime.block_on(pumasi_broker::open(&settings)).unwrap();
        Self { runtime, broker }
    }

    /// Makes dead letters of a queue, as a worker would; gives their ids.
    pub(crate) fn kill(&self, queue: &str, count: usize) -> HashSet<TaskId> {
        let queue = QueueName::new(queue).unwrap();
        let letters = (0..count).map(|number| {
            let id = TaskId::new(&format!("{queue}-{number}")).unwrap();
            let mut task = Task::with_id(id, format!("{number}"));
            let letter = DeadLetter::new(DeadReason::AttemptsSpent, "no route", "w");
            wire::mark_dead(&mut task, &queue, &letter, 1_700_000_000);
            Publication::new(Destination::Queue(queue.dead()), task)
        });
        let publish = |letter| self.broker.publish(letter);
        self.runtime.block_on(async {
            if self.broker.admin().queue(&queue).await.is_err() {
                let topology = Topology::of_queues([queue.clone()]);
                self.broker.ensure_topology(&topology).await.unwrap();
            }
            let outcomes = futures_util::stream::iter(letters).map(publish);
            let outcomes = outcomes.buffer_unordered(256).map(|outcome| match outcome {
                PublishOutcome::Accepted(id) => id,
                other @ (PublishOutcome::Refused(..) | PublishOutcome::Unknown(..)) => {
                    panic!("{other:?}")
                }
            });
            outcomes.collect().await
        })
    }

    /// The ids of the tasks that are ready in a queue.
    pub(crate) fn ids(&self, queue: &str) -> Vec<TaskId> {
        let queue = QueueName::new(queue).unwrap();
        self.runtime.block_on(async {
            let mut browsed = self.broker.admin().browse(&queue).await.unwrap();
            let mut ids = Vec::new();
            while let Some(delivery) = browsed.next().await {
                ids.push(delivery.task().id.clone());
            }
            assert!(browsed.is_live());
            browsed.close().await;
            ids
        })
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.runtime.block_on(self.broker.close());
    }
}
