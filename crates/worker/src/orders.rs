//! Orders: what operators ask of this worker, and which of its runs they concern.

use crate::decide::Outcome;
use futures_util::{FutureExt, StreamExt};
use pumasi_common::{
    QueueName, Task, TaskId,
    broker::{BoxStream, Control},
    wire,
};
use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::info;

/// Most cancellations that are remembered; the oldest give way.
const CANCELLED_MAX: usize = 100_000;

/// What operators ask of this worker.
#[derive(Debug)]
pub(crate) struct Orders {
    worker: String,
    state: Mutex<State>,
    paused: watch::Sender<HashSet<QueueName>>,
}

#[derive(Debug, Default)]
struct State {
    /// When each task was cancelled, in milliseconds since 1970.
    cancelled: HashMap<TaskId, u64>,
    order: VecDeque<TaskId>,
    runs: HashMap<u64, (TaskId, CancellationToken)>,
    next: u64,
}

impl Orders {
    pub(crate) fn new(worker: &str) -> Arc<Self> {
        Arc::new(Self {
            worker: worker.to_owned(),
            state: Mutex::default(),
            paused: watch::Sender::default(),
        })
    }

    /// The queues that are not to be consumed now.
    pub(crate) fn paused(&self) -> watch::Receiver<HashSet<QueueName>> {
        self.paused.subscribe()
    }

    /// Notes that a task begins to run.
    ///
    /// # Errors
    /// [`Outcome::Cancelled`] when it is not to be started any more. There is no moment in which a
    /// cancellation finds it neither waiting nor running.
    pub(crate) fn begin(self: &Arc<Self>, task: &Task) -> Result<Run, Outcome> {
        let mut state = self.state();
        if let Some(at_ms) = state.cancelled.get(&task.id)
            && replayed_at(task).is_none_or(|replayed| replayed <= *at_ms)
        {
            return Err(Outcome::Cancelled);
        }
        let (number, cancelled) = (state.next, CancellationToken::new());
        state.next += 1;
        state
            .runs
            .insert(number, (task.id.clone(), cancelled.clone()));
        Ok(Run {
            orders: Arc::clone(self),
            number,
            cancelled,
        })
    }

    /// Obeys until the stream ends; `drain` is cancelled when this worker is asked to end.
    pub(crate) async fn listen(&self, mut orders: BoxStream<Control>, drain: &CancellationToken) {
        while let Some(order) = orders.next().await {
            self.obey(order, drain);
        }
    }

    /// Obeys what the broker tells at once: what was in force before this worker began.
    pub(crate) fn catch_up(&self, orders: &mut BoxStream<Control>, drain: &CancellationToken) {
        while let Some(Some(order)) = orders.next().now_or_never() {
            self.obey(order, drain);
        }
    }

    fn obey(&self, order: Control, drain: &CancellationToken) {
        match order {
            Control::Cancel { id, at_ms } => self.cancel(id, at_ms),
            Control::Pause(queue) => self.pause(&queue, true),
            Control::Resume(queue) => self.pause(&queue, false),
            Control::Drain(worker) if worker == self.worker => {
                info!("asked to drain");
                drain.cancel();
            }
            Control::Drain(_) => {}
        }
    }

    fn cancel(&self, id: TaskId, at_ms: u64) {
        let mut state = self.state();
        for (running, cancelled) in state.runs.values() {
            if *running == id {
                cancelled.cancel();
            }
        }
        if state.cancelled.insert(id.clone(), at_ms).is_none() {
            state.order.push_back(id);
        }
        while state.order.len() > CANCELLED_MAX
            && let Some(oldest) = state.order.pop_front()
        {
            state.cancelled.remove(&oldest);
        }
    }

    fn pause(&self, queue: &QueueName, pause: bool) {
        self.paused.send_if_modified(|paused| {
            let changed = if pause {
                paused.insert(queue.clone())
            } else {
                paused.remove(queue)
            };
            match (changed, pause) {
                (true, true) => info!(%queue, "queue paused"),
                (true, false) => info!(%queue, "queue resumed"),
                (false, _) => {}
            }
            changed
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A cancellation before a replay is not meant for what was replayed.
fn replayed_at(task: &Task) -> Option<u64> {
    let at = task.headers.get(wire::REPLAYED_AT_MS)?;
    at.as_integer().and_then(|at| u64::try_from(at).ok())
}

/// One run of a task, as long as it lives.
#[derive(Debug)]
pub(crate) struct Run {
    orders: Arc<Orders>,
    number: u64,
    /// Cancelled when its task is.
    pub(crate) cancelled: CancellationToken,
}

impl Drop for Run {
    fn drop(&mut self) {
        self.orders.state().runs.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pumasi_common::task::HeaderValue;

    #[test]
    fn a_cancelled_task_is_ended_where_it_runs_and_not_started_any_more() {
        let orders = Orders::new("w");
        let (one, other) = (Task::new("x"), Task::new("x"));
        let run = orders.begin(&one).unwrap();
        let bystander = orders.begin(&other).unwrap();
        orders.cancel(one.id.clone(), 17);
        assert!(run.cancelled.is_cancelled() && !bystander.cancelled.is_cancelled());
        drop(run);
        assert!(matches!(orders.begin(&one), Err(Outcome::Cancelled)));
        assert_eq!(orders.state().runs.len(), 1);
    }

    #[test]
    fn a_task_that_was_replayed_after_its_cancellation_runs() {
        let orders = Orders::new("w");
        let mut task = Task::new("x");
        orders.cancel(task.id.clone(), 1_000);
        let mut replayed = |at| {
            task.headers
                .set(wire::REPLAYED_AT_MS, HeaderValue::Integer(at));
            orders.begin(&task).is_ok()
        };
        assert!(!replayed(999) && !replayed(1_000) && replayed(1_001));
    }

    #[test]
    fn the_oldest_cancellations_give_way() {
        let orders = Orders::new("w");
        let first = Task::new("x");
        orders.cancel(first.id.clone(), 1);
        for _ in 0..CANCELLED_MAX {
            orders.cancel(TaskId::generate(), 1);
        }
        assert!(orders.begin(&first).is_ok());
        assert_eq!(orders.state().cancelled.len(), CANCELLED_MAX);
    }

    #[tokio::test]
    async fn only_the_worker_that_is_named_drains() {
        let orders = Orders::new("w");
        let drain = CancellationToken::new();
        let asked =
            |name: &str| Box::pin(futures_util::stream::iter([Control::Drain(name.into())]));
        orders.listen(asked("other"), &drain).await;
        assert!(!drain.is_cancelled());
        orders.listen(asked("w"), &drain).await;
        assert!(drain.is_cancelled());
    }
}
