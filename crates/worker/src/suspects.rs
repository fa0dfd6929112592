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
    Broker, Destination, Publication, QueueKind, QueueName, Settlement, Task, TaskId, Topology,
    broker::{ConsumeOptions, Consumer, Delivery},
};
use std::{
    collections::{HashMap, HashSet},
    num::NonZeroU16,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    runtime::Handle,
    sync::{Notify, Semaphore, oneshot, watch},
    time::{Instant, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

/// How often a worker looks for suspects that another one left behind.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How long a worker runs suspects at a time; then others have their turn for as long.
const ROUND_MAX: Duration = Duration::from_secs(10);
/// How long a worker waits for one more suspect before it goes back to its queues.
const LAST_WAIT: Duration = Duration::from_millis(500);

/// For so long after it has lost its broker a worker blames nobody.
const LOSS_REMEMBERED: Duration = Duration::from_secs(10 * 60);
/// Most tasks that are remembered as survived; the memory begins anew when it is full.
const SURVIVED_MAX: usize = 1_000;

/// The suspects of a worker's queues.
///
/// RabbitMQ counts a lost connection like a dead worker. A worker that lives on knows better: what
/// it has run alone and survived counts less by that, and while it has lost its broker lately it
/// takes no count for a death.
#[derive(Debug, Default)]
pub(crate) struct Suspects {
    look: Notify,
    /// When a delivery was last found to be another worker's by now.
    lost_at: Mutex<Option<Instant>>,
    /// How often each task was run alone here and came back all the same.
    survived: Mutex<HashMap<TaskId, u32>>,
    /// Whether each queue has a queue for suspects.
    made: Mutex<HashMap<QueueName, bool>>,
}

impl Suspects {
    /// Has the worker look for suspects now.
    pub(crate) fn look(&self) {
        self.look.notify_one();
    }

    /// Notes that a delivery went back though this worker lives.
    pub(crate) fn lost(&self) {
        *self.lost_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Notes that a task was run alone, went back meanwhile, and this worker lives.
    pub(crate) fn survived(&self, id: &TaskId) {
        self.lost();
        let mut survived = self.survived.lock().unwrap_or_else(PoisonError::into_inner);
        if survived.len() >= SURVIVED_MAX {
            survived.clear();
        }
        *survived.entry(id.clone()).or_default() += 1;
    }

    /// How many of the returns of a task that runs alone were deaths, as far as is known here.
    pub(crate) fn deaths(&self, id: &TaskId, returns: u32) -> u32 {
        let lost_at = *self.lost_at.lock().unwrap_or_else(PoisonError::into_inner);
        if lost_at.is_some_and(|at| at.elapsed() < LOSS_REMEMBERED) {
            return 0;
        }
        let survived = self.survived.lock().unwrap_or_else(PoisonError::into_inner);
        returns.saturating_sub(survived.get(id).copied().unwrap_or(0))
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
    pub(crate) paused: watch::Receiver<HashSet<QueueName>>,
    pub(crate) ack_timeout: Option<Duration>,
}

impl Quarantine {
    /// Runs suspects whenever there are any, until it is told to stop. Says when it has looked for
    /// the first time: before that, nothing else is to be consumed, so that whoever died with a
    /// suspect finds it again before it holds others.
    pub(crate) async fn run(self, looked: oneshot::Sender<()>) {
        let mut left_over = self.round().await;
        // Whoever waited may have been told to stop.
        let _ = looked.send(());
        loop {
            // Not all workers at the same moment. What was left over has had its turn, and lets
            // others have theirs.
            let pause = LOOK_EVERY.mul_f64(0.5 + 0.5 * fastrand::f64());
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = self.shared.suspects.look.notified(), if left_over.is_none() => {}
                () = tokio::time::sleep(left_over.unwrap_or(pause)) => {}
            }
            left_over = self.round().await;
        }
    }

    /// Runs suspects that there are now; says how long that took where more are left.
    async fn round(&self) -> Option<Duration> {
        let begun = Instant::now();
        for source in &self.sources {
            let broker = &self.shared.broker;
            if self.stop.is_cancelled() || self.paused.borrow().contains(&*source.queue) {
                continue;
            }
            let waits = broker.admin().queue(&source.queue.suspects()).await;
            if !waits.is_ok_and(|status| status.ready > 0) {
                continue;
            }
            // Made known, even if it is there: the broker is to know where its dead letters go.
            if let Some(queue) = self.shared.suspects.queue_of(&**broker, source).await {
                self.alone(source, queue, begun).await;
            }
            if begun.elapsed() >= ROUND_MAX {
                return Some(begun.elapsed());
            }
        }
        None
    }

    async fn alone(&self, source: &Arc<Source>, queue: QueueName, begun: Instant) {
        let all = u32::from(self.concurrency.get());
        let places = self.places.acquire_many(all);
        let Some(Ok(_places)) = self.stop.run_until_cancelled(places).await else {
            return;
        };
        let options = ConsumeOptions {
            queue: queue.clone(),
            prefetch: NonZeroU16::MIN,
            consumer: self.shared.name.clone(),
            ack_timeout: self.ack_timeout,
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
            if begun.elapsed() >= ROUND_MAX {
                break;
            }
        }
        put_back(&mut consumer, &queue).await;
        consumer.close().await;
        info!(%queue, count, "suspects were run alone");
    }

    /// The next suspect, unless there is none or the worker is to stop.
    async fn next(&self, consumer: &mut Box<dyn Consumer>) -> Option<Delivery> {
        let next = timeout(LAST_WAIT, consumer.next());
        self.stop.run_until_cancelled(next).await?.ok()?
    }
}

/// Puts back what has arrived and is not run now.
async fn put_back(consumer: &mut Box<dyn Consumer>, queue: &QueueName) {
    consumer.stop();
    while let Ok(Some(delivery)) = timeout(LAST_WAIT, consumer.next()).await {
        let uncounted = uncounted(delivery.task(), queue);
        // One that is superseded meanwhile is back already.
        let _ = delivery.settle(uncounted);
    }
}

/// Gives a suspect back as a copy: a release would be counted by RabbitMQ up to 4.2, and what is
/// counted here is to be the task's own doing.
pub(crate) fn uncounted(task: &Task, suspects: &QueueName) -> Settlement {
    let destination = Destination::Queue(suspects.clone());
    Settlement::Retry(Box::new(Publication::new(destination, task.clone())))
}
