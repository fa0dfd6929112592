//! Intake: one queue's way in. Takes deliveries as places become free, as long as the queue is not
//! paused.

use crate::{
    admit::{Company, Source},
    dispatch::{Placed, Shared, dispatch},
};
use futures_util::StreamExt;
use pumasi_common::{
    QueueName,
    broker::{ConsumeOptions, Consumer, Delivery},
};
use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::warn;

/// How long a resumed queue that cannot be consumed waits for the next try.
const RESUME_AGAIN: Duration = Duration::from_secs(1);
/// Longest wait for a broker to end the stream of a paused consumer. What it still delivers goes
/// back when the consumer is closed.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// One queue's way in.
pub(crate) struct Intake {
    pub(crate) options: ConsumeOptions,
    /// `None` while the queue is paused.
    pub(crate) consumer: Option<Box<dyn Consumer>>,
    pub(crate) source: Arc<Source>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) places: Arc<Semaphore>,
    pub(crate) running: TaskTracker,
    pub(crate) threads: Handle,
    pub(crate) live: Arc<AtomicUsize>,
    pub(crate) paused: watch::Receiver<HashSet<QueueName>>,
    pub(crate) stop: CancellationToken,
    /// Consumers of before a pause, each with what still runs of it: closed, they would give that
    /// back.
    pub(crate) retired: Vec<(TaskTracker, Box<dyn Consumer>)>,
}

/// What an intake waits for besides deliveries.
enum Interruption {
    Stop,
    Pause,
}

/// How an intake ended.
pub(crate) struct Stopped {
    /// What is left to be drained.
    pub(crate) consumers: Vec<Box<dyn Consumer>>,
    /// How many deliveries went back for want of a place.
    pub(crate) unplaced: usize,
}

impl Intake {
    /// Hands deliveries to handlers until told to stop.
    pub(crate) async fn run(mut self) -> Stopped {
        // A paused queue is as ready as it is meant to be.
        self.live.fetch_add(1, Ordering::Relaxed);
        let mut unplaced = 0;
        while let Some(mut consumer) = self.consumer.take() {
            let started = TaskTracker::new();
            let ended = self.consume(&mut consumer, &started, &mut unplaced).await;
            if matches!(ended, Interruption::Stop) {
                self.consumer = Some(consumer);
                break;
            }
            give_back(&mut consumer).await;
            started.close();
            self.retired.push((started, consumer));
            self.consumer = self.resume().await;
        }
        self.live.fetch_sub(1, Ordering::Relaxed);
        let retired = self.retired.into_iter().map(|(_, consumer)| consumer);
        Stopped {
            consumers: self.consumer.into_iter().chain(retired).collect(),
            unplaced,
        }
    }

    async fn consume(
        &mut self,
        consumer: &mut Box<dyn Consumer>,
        started: &TaskTracker,
        unplaced: &mut usize,
    ) -> Interruption {
        loop {
            let delivery = tokio::select! {
                biased;
                ended = interrupted(&self.stop, &mut self.paused, &self.options.queue) => return ended,
                delivery = consumer.next() => delivery,
            };
            let Some(delivery) = delivery else {
                return Interruption::Stop;
            };
            // The delivery waits for a place, not the place for a delivery: queues share places.
            let place = tokio::select! {
                biased;
                ended = interrupted(&self.stop, &mut self.paused, &self.options.queue) => Err(ended),
                place = Arc::clone(&self.places).acquire_owned() => place.map_err(|_| Interruption::Stop),
            };
            match place {
                Ok(place) => self.start(delivery, place, started),
                Err(ended) => {
                    // A dropped delivery is released.
                    *unplaced += 1;
                    return ended;
                }
            }
        }
    }

    fn start(&self, delivery: Delivery, place: OwnedSemaphorePermit, started: &TaskTracker) {
        let placed = Placed {
            delivery,
            source: Arc::clone(&self.source),
            company: Company::Others,
            place: Some(place),
        };
        let work = dispatch(Arc::clone(&self.shared), placed);
        self.running
            .spawn_on(started.track_future(work), &self.threads);
    }

    /// Closes the consumers of before a pause of which nothing runs any more.
    async fn close_retired(&mut self) {
        let (over, still): (Vec<_>, Vec<_>) = std::mem::take(&mut self.retired)
            .into_iter()
            .partition(|(started, _)| started.is_empty());
        self.retired = still;
        for (_, consumer) in over {
            consumer.close().await;
        }
    }

    /// Waits until the queue is not paused any more and consumes it again; `None` when told to
    /// stop.
    async fn resume(&mut self) -> Option<Box<dyn Consumer>> {
        let stop = self.stop.clone();
        self.close_retired().await;
        let resumed = async {
            loop {
                let queue = self.options.queue.clone();
                if !until(&mut self.paused, |it| !it.contains(&queue)).await {
                    std::future::pending::<()>().await;
                }
                match self.shared.broker.consume(self.options.clone()).await {
                    Ok(consumer) => return consumer,
                    Err(error) => {
                        warn!(%queue, %error, "queue cannot be consumed yet");
                        tokio::time::sleep(RESUME_AGAIN).await;
                    }
                }
            }
        };
        stop.run_until_cancelled(resumed).await
    }
}

/// Waits until the intake is to end, or its queue to rest.
async fn interrupted(
    stop: &CancellationToken,
    paused: &mut watch::Receiver<HashSet<QueueName>>,
    queue: &QueueName,
) -> Interruption {
    tokio::select! {
        biased;
        () = stop.cancelled() => Interruption::Stop,
        true = until(paused, |it| it.contains(queue)) => Interruption::Pause,
    }
}

/// Waits until this holds of the paused queues; false when it never will.
async fn until(
    paused: &mut watch::Receiver<HashSet<QueueName>>,
    holds: impl Fn(&HashSet<QueueName>) -> bool,
) -> bool {
    paused.wait_for(|it| holds(it)).await.is_ok()
}

/// Gives back what a consumer holds unstarted; what runs goes on.
async fn give_back(consumer: &mut Box<dyn Consumer>) {
    consumer.stop();
    let all = async { while consumer.next().await.is_some() {} };
    if timeout(PAUSE_MAX, all).await.is_err() {
        warn!("the broker did not end the deliveries of a paused queue in time");
    }
}
