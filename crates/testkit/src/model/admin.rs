//! The operator's side of the model.

use super::{
    Model, Shared,
    state::{self, State},
};
use futures_util::{FutureExt, Stream};
use pumasi_common::{
    BrokerAdmin, Consumer, Delivery, Publication, QueueName, Settlement, Task, TaskId,
    broker::{AdminError, BoxFuture, Cancelled, Control, Pause, QueueStatus, SettleError, Settler},
    outcome::Outcome,
};
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{SystemTime, UNIX_EPOCH},
};

impl Model {
    fn status(&self, name: &QueueName) -> Result<QueueStatus, AdminError> {
        let state = self.0.state();
        let Some(queue) = state.queues.get(name) else {
            return Err(AdminError::QueueMissing {
                queue: name.clone(),
            });
        };
        let consumers = || state.consumers.values().filter(|it| *it.queue == *name);
        Ok(QueueStatus {
            name: name.clone(),
            kind: None,
            ready: queue.ready.len() as u64,
            in_flight: Some(consumers().map(|it| it.held.len() as u64).sum()),
            consumers: consumers().count() as u64,
            delayed: Some(queue.delayed.len() as u64),
            paused: state.paused.contains(name),
        })
    }
}

impl BrokerAdmin for Model {
    fn queues<'a>(
        &'a self,
        _: &'a [QueueName],
    ) -> BoxFuture<'a, Result<Vec<QueueStatus>, AdminError>> {
        let names: Vec<QueueName> = self.0.state().queues.keys().cloned().collect();
        let all = names.iter().map(|name| self.status(name)).collect();
        std::future::ready(all).boxed()
    }

    fn queue<'a>(&'a self, name: &'a QueueName) -> BoxFuture<'a, Result<QueueStatus, AdminError>> {
        std::future::ready(self.status(name)).boxed()
    }

    fn purge<'a>(&'a self, name: &'a QueueName) -> BoxFuture<'a, Result<u64, AdminError>> {
        async move {
            let purged = self.status(name)?.ready;
            self.0.state().queue(name).ready.clear();
            Ok(purged)
        }
        .boxed()
    }

    fn browse<'a>(
        &'a self,
        name: &'a QueueName,
    ) -> BoxFuture<'a, Result<Box<dyn Consumer>, AdminError>> {
        async move {
            self.status(name)?;
            let mut state = self.0.state();
            let ready = state.queue(name).ready.iter();
            let ready: Vec<_> = ready.map(|(place, it)| (*place, it.task.clone())).collect();
            let settler = Arc::new(Browsed {
                shared: Arc::clone(&self.0),
                queue: name.clone(),
                places: ready.iter().map(|(place, _)| *place).collect(),
            });
            let queue = Arc::new(name.clone());
            let deliveries: Vec<Delivery> = ready
                .into_iter()
                .enumerate()
                .map(|(token, (_, task))| {
                    Delivery::new(task, Arc::clone(&queue), token as u64, settler.clone())
                })
                .collect();
            Ok(Box::new(Browser(deliveries.into_iter())) as Box<dyn Consumer>)
        }
        .boxed()
    }

    fn pause<'a>(
        &'a self,
        name: &'a QueueName,
        pause: Pause,
    ) -> BoxFuture<'a, Result<(), AdminError>> {
        self.0.state().order(&match pause {
            Pause::On => Control::Pause(name.clone()),
            Pause::Off => Control::Resume(name.clone()),
        });
        std::future::ready(Ok(())).boxed()
    }

    fn cancel<'a>(&'a self, id: &'a TaskId) -> BoxFuture<'a, Result<Cancelled, AdminError>> {
        std::future::ready(Ok(cancel(&self.0, id))).boxed()
    }

    fn drain<'a>(&'a self, worker: &'a str) -> BoxFuture<'a, Result<(), AdminError>> {
        self.0.state().order(&Control::Drain(worker.to_owned()));
        std::future::ready(Ok(())).boxed()
    }
}

fn cancel(shared: &Arc<Shared>, id: &TaskId) -> Cancelled {
    let mut state = shared.state();
    match state.states.get(id) {
        Some(&"ready" | &"delayed" | &"suspect") => {}
        Some(&"in flight") => return ask(&mut state, id),
        _ => return Cancelled::Missing,
    }
    let mut gone = None;
    let mut from = "ready";
    let living = state
        .queues
        .iter_mut()
        .filter(|(name, _)| !name.as_str().ends_with(".dead"));
    for (name, queue) in living {
        if let Some(place) = queue
            .ready
            .iter()
            .find(|(_, it)| it.task.id == *id)
            .map(|it| *it.0)
        {
            gone = queue.ready.remove(&place);
            from = state::waiting_in(name);
        } else if let Some(seq) = queue
            .delayed
            .iter()
            .find(|(_, it)| it.task.id == *id)
            .map(|it| *it.0)
        {
            gone = queue.delayed.remove(&seq);
            from = "delayed";
        }
    }
    if let Some(entry) = gone {
        state.step(&entry.task, from, "cancelled");
        drop(state);
        if let Some(reply) = Outcome::Cancelled.message(&entry.task) {
            state::publish(shared, reply, "submitted");
        }
        return Cancelled::Done;
    }
    Cancelled::Missing
}

fn ask(state: &mut State, id: &TaskId) -> Cancelled {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    state.order(&Control::Cancel {
        id: id.clone(),
        at_ms: u64::try_from(now.as_millis()).unwrap(),
    });
    Cancelled::Requested
}

/// Settles what is browsed.
struct Browsed {
    shared: Arc<Shared>,
    queue: QueueName,
    places: Vec<(u8, u64)>,
}

impl Settler for Browsed {
    fn settle(
        &self,
        token: u64,
        _: &Arc<Task>,
        settlement: Settlement,
        _: Option<Box<Publication>>,
    ) -> Result<(), SettleError> {
        if settlement == Settlement::Ack {
            let place = self.places[usize::try_from(token).unwrap()];
            let gone = self.shared.state().queue(&self.queue).ready.remove(&place);
            gone.map(drop).ok_or(SettleError::Superseded)
        } else {
            Ok(())
        }
    }

    fn is_current(&self, token: u64) -> bool {
        let place = self.places[usize::try_from(token).unwrap()];
        let mut state = self.shared.state();
        state.queue(&self.queue).ready.contains_key(&place)
    }

    fn flush(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}

struct Browser(std::vec::IntoIter<Delivery>);

impl Stream for Browser {
    type Item = Delivery;
    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Delivery>> {
        Poll::Ready(self.0.next())
    }
}

impl Consumer for Browser {
    fn stop(&mut self) {
        self.0 = Vec::new().into_iter();
    }
    fn is_live(&self) -> bool {
        true
    }
    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        std::future::ready(()).boxed()
    }
}
