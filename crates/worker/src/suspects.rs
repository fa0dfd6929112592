//! Suspects: tasks that were with workers when these died.
//!
//! A broker counts every task that a dead worker held, the one that did it and its neighbours
//! alike. So a task that was counted twice is moved to a queue of its own, `Q.suspects`, whose
//! tasks a worker runs one at a time, and nothing else meanwhile: it begins to consume them only
//! when no handler runs, and holds one. What is counted there is a task's own doing; what is
//! innocent is done there and pays with a wait.

use crate::{
    admit::{Company, Source},
    dispatch::{Placed, Shared, dispatch},
};
use futures_util::StreamExt;
use pumasi_common::{
    Broker, QueueKind, QueueName, Topology,
    broker::{ConsumeOptions, Consumer, Delivery},
};
use std::{
    collections::HashMap,
    num::NonZeroU16,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    runtime::Handle,
    sync::{Notify, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

/// How often a worker looks for suspects that another one left behind.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// How long a worker waits for one more suspect before it goes back to its queues.
const LAST_WAIT: Duration = Duration::from_millis(500);

/// The suspects of a worker's queues.
#[derive(Debug, Default)]
pub(crate) struct Suspects {
    look: Notify,
    /// Whether each queue has a queue for suspects.
    made: Mutex<HashMap<QueueName, bool>>,
}

impl Suspects {
    /// Has the worker look for suspects now.
    pub(crate) fn look(&self) {
        self.look.notify_one();
    }

    /// The queue for suspects of a work queue, made where it is missing; `None` where there can be
    /// none: it cannot be made, or the broker does not count.
    pub(crate) async fn queue_of(&self, broker: &dyn Broker, source: &Source) -> Option<QueueName> {
        if source.spec.kind != QueueKind::Quorum {
            return None;
        }
        let spec = source.spec.suspects();
        let name = spec.name.clone();
        if let Some(made) = self.made().get(&name) {
            return made.then_some(name);
        }
        let topology = Topology {
            queues: vec![spec],
            topics: Vec::new(),
        };
        let made = match broker.ensure_topology(&topology).await {
            Ok(_) => true,
            Err(error) => {
                warn!(%error, "no queue for tasks that workers died with: they run beside others");
                false
            }
        };
        self.made().insert(name.clone(), made);
        made.then_some(name)
    }

    fn made(&self) -> std::sync::MutexGuard<'_, HashMap<QueueName, bool>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs suspects alone.
pub(crate) struct Quarantine {
    pub(crate) shared: Arc<Shared>,
    pub(crate) sources: Vec<Arc<Source>>,
    pub(crate) places: Arc<Semaphore>,
    pub(crate) concurrency: NonZeroU16,
    pub(crate) running: TaskTracker,
    pub(crate) threads: Handle,
    pub(crate) stop: CancellationToken,
}

impl Quarantine {
    /// Runs suspects whenever there are any, until it is told to stop.
    pub(crate) async fn run(self) {
        loop {
            // Not all workers at the same moment.
            let pause = LOOK_EVERY.mul_f64(0.5 + 0.5 * fastrand::f64());
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = self.shared.suspects.look.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
            self.round().await;
        }
    }

    /// Runs the suspects that there are now. To be done once before anything else is consumed:
    /// whoever died with a suspect finds it again before it holds others.
    pub(crate) async fn round(&self) {
        for source in &self.sources {
            let broker = &self.shared.broker;
            let waits = broker.admin().queue(&source.queue.suspects()).await;
            if !waits.is_ok_and(|status| status.ready > 0) || self.stop.is_cancelled() {
                continue;
            }
            // Made known, even if it is there: the broker is to know where its dead letters go.
            if let Some(queue) = self.shared.suspects.queue_of(&**broker, source).await {
                self.alone(source, queue).await;
            }
        }
    }

    async fn alone(&self, source: &Arc<Source>, queue: QueueName) {
        let all = u32::from(self.concurrency.get());
        let places = self.places.acquire_many(all);
        let Some(Ok(_places)) = self.stop.run_until_cancelled(places).await else {
            return;
        };
        let options = ConsumeOptions {
            queue: queue.clone(),
            prefetch: NonZeroU16::MIN,
            consumer: self.shared.name.clone(),
            ack_timeout: None,
        };
        let mut consumer: Box<dyn Consumer> = match self.shared.broker.consume(options).await {
            Ok(consumer) => consumer,
            Err(error) => return warn!(%error, "suspects cannot be consumed"),
        };
        let mut count = 0_u32;
        // What runs when told to stop is finished like any other, and settled.
        while let Some(delivery) = self.next(&mut consumer).await {
            count += 1;
            let placed = Placed {
                delivery,
                source: Arc::clone(source),
                company: Company::Alone,
                place: None,
            };
            let work = dispatch(Arc::clone(&self.shared), placed);
            // One that panicked gave its delivery back.
            let _ = self.running.spawn_on(work, &self.threads).await;
        }
        consumer.close().await;
        info!(%queue, count, "suspects were run alone");
    }

    /// The next suspect, unless there is none or the worker is to stop.
    async fn next(&self, consumer: &mut Box<dyn Consumer>) -> Option<Delivery> {
        let next = tokio::time::timeout(LAST_WAIT, consumer.next());
        self.stop.run_until_cancelled(next).await?.ok()?
    }
}
