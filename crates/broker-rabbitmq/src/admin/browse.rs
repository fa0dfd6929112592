//! Going through a queue without consuming it.
//!
//! None of its tasks is given back before the end, so that each comes once. Then all that is
//! unsettled is given back in order: a channel that is closed gives it back in any order, and since
//! RabbitMQ 4.3 that counts against each task.

mod batches;

use super::{channel, explain};
use crate::{
    consume::Source,
    convert,
    settle::{ChannelSettler, Queues},
    topology::object::Failure,
};
use batches::Batches;
use futures_util::{FutureExt, Stream, future::BoxFuture};
use lapin::{Channel, options::QueueDeclareOptions, types::FieldTable};
use pumasi_common::{
    Consumer, Delivery, Publication, QueueName, Settlement, Task,
    broker::{AdminError, BoxFuture as Boxed, SettleError, Settler},
};
use std::{
    collections::HashSet,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::timeout;

/// Longest orderly close: 100,000 tasks are given back within a few seconds.
const CLOSE_LIMIT: Duration = Duration::from_secs(60);

/// Goes through what is ready now.
pub(crate) struct Browser {
    queue: Arc<QueueName>,
    channel: Channel,
    settler: Arc<Keeper>,
    state: State,
    stopped: bool,
    lost: bool,
}

enum State {
    Idle(Batches),
    Reading(BoxFuture<'static, (Batches, Result<Option<lapin::message::Delivery>, Failure>)>),
    /// Nothing more comes; there may be something to give back.
    Ended(Option<Batches>),
}

/// Starts at the head of the queue.
pub(crate) async fn open(source: Source, name: &QueueName) -> Result<Browser, AdminError> {
    let channel = channel(&source.link).await?;
    let options = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    let queue = channel
        .queue_declare(name.as_str().into(), options, FieldTable::default())
        .await
        .map_err(|error| explain(name, error))?;
    let ready = queue.message_count();
    let batches = Batches::new(channel.clone(), name.as_str().into(), ready);
    let queue = Arc::new(name.clone());
    let queues = Queues {
        work: queue.clone(),
        dead: source.dead_letters_of(name),
        worker: "browse".to_owned(),
    };
    Ok(Browser {
        queue,
        settler: Arc::new(Keeper {
            inner: ChannelSettler::start(channel.clone(), queues, source.publisher.clone()),
            settled: Mutex::default(),
        }),
        channel,
        state: State::Idle(batches),
        stopped: false,
        lost: false,
    })
}

/// Settles as always, but keeps what is to be given back until the end.
struct Keeper {
    inner: Arc<ChannelSettler>,
    /// What is not to be given back: a number for each task that was settled.
    settled: Mutex<HashSet<u64>>,
}

impl Settler for Keeper {
    fn settle(
        &self,
        token: u64,
        task: &Arc<Task>,
        settlement: Settlement,
        reply: Option<Box<Publication>>,
    ) -> Result<(), SettleError> {
        if settlement == Settlement::Release {
            return Ok(());
        }
        self.inner.settle(token, task, settlement, reply)?;
        let mut settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        settled.insert(token);
        Ok(())
    }

    fn is_current(&self, token: u64) -> bool {
        self.inner.is_current(token)
    }

    fn flush(&self) -> Boxed<'static, ()> {
        self.inner.flush()
    }
}

impl Stream for Browser {
    type Item = Delivery;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Delivery>> {
        let this = &mut *self;
        loop {
            match std::mem::replace(&mut this.state, State::Ended(None)) {
                State::Ended(batches) => {
                    this.state = State::Ended(batches);
                    return Poll::Ready(None);
                }
                State::Idle(batches) if this.stopped => {
                    this.state = State::Ended(Some(batches));
                }
                State::Idle(mut batches) => {
                    let reading = async move {
                        let read = batches.next().await;
                        (batches, read)
                    };
                    this.state = State::Reading(reading.boxed());
                }
                State::Reading(mut reading) => match reading.poll_unpin(cx) {
                    Poll::Pending => {
                        this.state = State::Reading(reading);
                        return Poll::Pending;
                    }
                    Poll::Ready((batches, Ok(Some(message)))) => {
                        this.state = State::Idle(batches);
                        return Poll::Ready(Some(this.delivery(message)));
                    }
                    Poll::Ready((batches, Ok(None))) => {
                        this.state = State::Ended(Some(batches));
                    }
                    Poll::Ready((_, Err(failure))) => {
                        let problem = failure.text();
                        tracing::debug!(queue = %this.queue, problem, "lost while browsing");
                        this.lost = true;
                        this.settler.inner.end();
                    }
                },
            }
        }
    }
}

impl Browser {
    fn delivery(&self, message: lapin::message::Delivery) -> Delivery {
        let (task, count) = convert::task(&message.properties, message.data);
        let settler = self.settler.clone();
        let delivery = Delivery::new(task, self.queue.clone(), message.delivery_tag, settler);
        delivery.with_history(message.redelivered, count)
    }

    /// Tells what was settled, then gives everything else back.
    fn end(&mut self) -> BoxFuture<'static, ()> {
        let state = std::mem::replace(&mut self.state, State::Ended(None));
        let (channel, settler) = (self.channel.clone(), self.settler.clone());
        let orderly = async move {
            let batches = match state {
                State::Idle(batches) => Some(batches),
                State::Ended(batches) => batches,
                State::Reading(reading) => Some(reading.await.0),
            };
            settler.inner.flush().await;
            settler.inner.end();
            if let Some(batches) = batches {
                let settled = settler
                    .settled
                    .lock()
                    .map(|mut tags| std::mem::take(&mut *tags));
                // A channel that is closed already has given everything back.
                let _ = batches.give_back(&settled.unwrap_or_default()).await;
            }
            let _ = channel.close(200, "closed".into()).await;
        };
        async move {
            if timeout(CLOSE_LIMIT, orderly).await.is_err() {
                tracing::debug!("closing a browsed queue took too long");
            }
        }
        .boxed()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !matches!(self.state, State::Ended(None))
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(self.end());
        }
    }
}

impl Consumer for Browser {
    fn stop(&mut self) {
        self.stopped = true;
    }

    fn is_live(&self) -> bool {
        !self.lost && self.channel.status().connected()
    }

    fn close(mut self: Box<Self>) -> Boxed<'static, ()> {
        self.end()
    }
}
