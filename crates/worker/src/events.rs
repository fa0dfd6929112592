//! Events: what became of each task, published to the topic `pumasi.events` where that is asked
//! for.
//!
//! Shape: kind `task.done`, `task.retry`, `task.dead`, `task.cancelled` or `task.released`; a JSON
//! object `{"id", "kind", "queue", "outcome", "reason", "attempt", "worker", "at_ms", "took_ms"}`.
//! Best effort: an event is never waited for, and left out when too many wait to leave.

use crate::admit::since_1970;
use pumasi_common::{
    Broker, Destination, Publication, QueueName, Settlement, Task, TaskKind, TopicName,
};
use serde::Serialize;
use std::{sync::Arc, time::Duration};
use tokio::sync::mpsc;
use tracing::debug;

/// The topic of events.
pub const TOPIC: &str = "pumasi.events";

/// Most events that wait to leave.
const WAITING_MAX: usize = 1_000;
/// Most events on their way at once.
const WINDOW: usize = 100;

/// Where a worker's events go.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    worker: Arc<str>,
    waiting: mpsc::Sender<Publication>,
    topic: TopicName,
}

#[derive(Serialize)]
struct Event<'a> {
    id: &'a str,
    kind: Option<&'a str>,
    queue: &'a str,
    outcome: &'static str,
    reason: Option<&'static str>,
    attempt: u32,
    worker: &'a str,
    at_ms: u64,
    took_ms: u64,
}

impl Events {
    /// Begins to publish events.
    pub(crate) fn start(broker: Arc<dyn Broker>, worker: &str, topic: TopicName) -> Self {
        let (waiting, mut inbox) = mpsc::channel::<Publication>(WAITING_MAX);
        tokio::spawn(async move {
            let mut batch = Vec::with_capacity(WINDOW);
            while inbox.recv_many(&mut batch, WINDOW).await > 0 {
                let published = batch.drain(..).map(|event| broker.publish(event));
                // Nobody may listen to them: that is no error.
                futures_util::future::join_all(published).await;
            }
        });
        Self {
            worker: worker.into(),
            waiting,
            topic,
        }
    }

    /// Tells what became of a task: its outcome in a word, and how long its run took.
    pub(crate) fn tell(
        &self,
        task: &Task,
        queue: &QueueName,
        settlement: &Settlement,
        (outcome, took): (&'static str, Duration),
    ) {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let (word, reason) = match settlement {
            Settlement::Ack if outcome == "cancelled" => ("task.cancelled", None),
            Settlement::Ack => ("task.done", None),
            Settlement::Retry(_) => ("task.retry", None),
            Settlement::DeadLetter(letter) => ("task.dead", Some(letter.reason.as_str())),
            Settlement::Release => ("task.released", None),
        };
        let event = Event {
            id: task.id.as_str(),
            kind: task.kind.as_ref().map(TaskKind::as_str),
            queue: queue.as_str(),
            outcome,
            reason,
            attempt: task.attempt.get(),
            worker: &self.worker,
            at_ms: ms(since_1970()),
            took_ms: ms(took),
        };
        let Ok(payload) = serde_json::to_vec(&event) else {
            return;
        };
        let mut event = Task::new(payload);
        event.kind = Some(TaskKind::from_wire(word));
        event.content_type = Some("application/json".to_owned());
        let event = Publication::new(Destination::Topic(self.topic.clone()), event);
        if self.waiting.try_send(event).is_err() {
            debug!("event left out: too many wait to leave");
        }
    }
}
