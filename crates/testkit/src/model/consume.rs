//! A consumer of the model.

use super::{
    Shared,
    state::{Consumer as Known, ModelSettler},
};
use futures_util::{FutureExt, Stream};
use pumasi_common::{
    Consumer, Delivery,
    broker::{BoxFuture, ConsumeOptions},
};
use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

pub(crate) struct ModelConsumer {
    id: u64,
    shared: Arc<Shared>,
    deliveries: UnboundedReceiver<Delivery>,
    /// Whether its queue goes with it.
    replies: bool,
}

impl ModelConsumer {
    /// Starts; `None` where the queue is missing.
    pub(crate) fn start(shared: &Arc<Shared>, options: &ConsumeOptions) -> Option<Self> {
        let (sender, deliveries) = unbounded_channel();
        let mut state = shared.state();
        if !state.queues.contains_key(&options.queue) {
            return None;
        }
        let id = state.tick();
        let settler = ModelSettler {
            shared: Arc::downgrade(shared),
            consumer: id,
        };
        let known = Known {
            name: options.consumer.clone(),
            queue: Arc::new(options.queue.clone()),
            prefetch: options.prefetch.get().into(),
            held: BTreeMap::new(),
            stream: Some(sender),
            settler: Some(Arc::new(settler)),
            turn: 0,
        };
        state.consumers.insert(id, known);
        state.assign(&options.queue);
        drop(state);
        Some(Self {
            id,
            shared: Arc::clone(shared),
            deliveries,
            replies: false,
        })
    }

    pub(crate) fn for_replies(mut self) -> Self {
        self.replies = true;
        self
    }

    fn leave(&self) {
        let mut state = self.shared.state();
        let queue = state
            .consumers
            .get(&self.id)
            .map(|it| Arc::clone(&it.queue));
        state.leave(self.id, 0);
        if let Some(queue) = queue.filter(|_| self.replies) {
            state.queues.remove(&*queue);
        }
    }
}

impl Stream for ModelConsumer {
    type Item = Delivery;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Delivery>> {
        loop {
            match self.deliveries.poll_recv(cx) {
                Poll::Ready(Some(delivery)) if !delivery.is_current() => {}
                other => return other,
            }
        }
    }
}

impl Consumer for ModelConsumer {
    fn stop(&mut self) {
        if let Some(known) = self.shared.state().consumers.get_mut(&self.id) {
            known.stream = None;
        }
    }

    fn is_live(&self) -> bool {
        let state = self.shared.state();
        state
            .consumers
            .get(&self.id)
            .is_some_and(|it| it.stream.is_some())
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        self.leave();
        std::future::ready(()).boxed()
    }
}

impl Drop for ModelConsumer {
    fn drop(&mut self) {
        self.leave();
    }
}
