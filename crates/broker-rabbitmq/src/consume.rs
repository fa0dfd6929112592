//! A task comes in: one channel per consumer, made anew whenever it ends.

mod open;

use crate::{
    connection::{Backoff, Failures, Link, close_in_background},
    convert,
    publish::Publisher,
    settle::ChannelSettler,
    topology::{self, Mode},
};
use futures_util::{FutureExt, Stream, StreamExt, future::BoxFuture};
use lapin::{Channel, options::BasicCancelOptions};
use open::{failed, open};
use pumasi_common::{
    ConnectionSettings, Consumer, Delivery, QueueName, QueueSpec, Topology,
    broker::{BoxFuture as Boxed, ConsumeError, ConsumeOptions, Settler},
};
use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::timeout;
use tokio_util::sync::WaitForCancellationFutureOwned;

/// How many consumers there are, for the broker's health.
#[derive(Debug, Default)]
pub(crate) struct Consumers {
    open: AtomicUsize,
    reviving: AtomicUsize,
}

impl Consumers {
    /// How many there are, and how many of them cannot receive now.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let reviving = self.reviving.load(Ordering::Relaxed);
        (self.open.load(Ordering::Relaxed), reviving)
    }
}

/// Counts a consumer as one that cannot receive, as long as it lives.
struct Absent(Arc<Consumers>);

impl Absent {
    fn new(consumers: &Arc<Consumers>) -> Self {
        consumers.reviving.fetch_add(1, Ordering::Relaxed);
        Self(consumers.clone())
    }
}

impl Drop for Absent {
    fn drop(&mut self) {
        self.0.reviving.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a consumer needs to make its channel anew.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) link: Arc<Link>,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) settings: ConnectionSettings,
    pub(crate) consumers: Arc<Consumers>,
    /// What this process has declared, to be declared again where it went missing.
    pub(crate) ensured: Arc<Mutex<Topology>>,
}

impl Source {
    /// Where dead letters of a queue go: as it was declared here, else its default.
    pub(crate) fn dead_letters_of(&self, queue: &QueueName) -> QueueName {
        let ensured = self.ensured.lock().unwrap_or_else(PoisonError::into_inner);
        let mut specs = ensured.queues.iter();
        specs
            .find(|spec| spec.name == *queue)
            .map_or_else(|| queue.dead(), QueueSpec::dead_letters)
    }
}

/// One channel's life of a consumer.
struct Generation {
    consumer: lapin::Consumer,
    channel: Channel,
    settler: Arc<ChannelSettler>,
    /// Ready when the node is left for another one, which no end of a stream may tell.
    left: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Generation {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<lapin::Result<lapin::message::Delivery>>> {
        match self.consumer.poll_next_unpin(cx) {
            Poll::Pending if self.left.as_mut().poll(cx).is_ready() => Poll::Ready(None),
            polled @ (Poll::Pending | Poll::Ready(_)) => polled,
        }
    }
}

enum State {
    Live(Box<Generation>),
    Reviving(BoxFuture<'static, Box<Generation>>),
    Ended,
}

/// A consumer that outlives its channels.
pub(crate) struct RabbitMqConsumer {
    source: Source,
    options: ConsumeOptions,
    queue: Arc<QueueName>,
    state: State,
    stopping: bool,
}

impl RabbitMqConsumer {
    /// Starts consuming; only this first try fails, later ones are repeated.
    pub(crate) async fn start(
        source: Source,
        options: ConsumeOptions,
    ) -> Result<Self, ConsumeError> {
        let limit = source.settings.connect_timeout.saturating_mul(2);
        let queue = Arc::new(options.queue.clone());
        let generation = match timeout(limit, open(&source, &options, &queue)).await {
            Ok(opened) => opened?,
            Err(_) => {
                return Err(failed(&queue, "the broker did not answer in time", None));
            }
        };
        source.consumers.open.fetch_add(1, Ordering::Relaxed);
        Ok(Self {
            source,
            options,
            queue,
            state: State::Live(generation),
            stopping: false,
        })
    }

    fn revive(&self) -> BoxFuture<'static, Box<Generation>> {
        let source = self.source.clone();
        let options = self.options.clone();
        let queue = self.queue.clone();
        let absent = Absent::new(&source.consumers);
        async move {
            let _absent = absent;
            let limit = source.settings.connect_timeout.saturating_mul(2);
            let mut backoff = Backoff::default();
            let mut failures = Failures::default();
            loop {
                backoff.wait().await;
                let problem = match timeout(limit, open(&source, &options, &queue)).await {
                    Ok(Ok(generation)) => {
                        tracing::info!(%queue, failures = failures.count, "consumer is back");
                        source.publisher.doubt_delays_to(&queue);
                        return generation;
                    }
                    Ok(Err(error @ ConsumeError::QueueMissing { .. })) => {
                        restore(&source, limit).await.unwrap_or(error.to_string())
                    }
                    Ok(Err(error)) => error.to_string(),
                    Err(_) => "the broker did not answer in time".to_owned(),
                };
                if failures.is_to_be_told() {
                    let failures = failures.count;
                    tracing::warn!(%queue, failures, problem, "consumer cannot start again yet");
                }
            }
        }
        .boxed()
    }
}

/// Declares again what this process has declared before: a transient queue is gone after a restart
/// of the broker. Says what is wrong where that was of no use.
async fn restore(source: &Source, limit: Duration) -> Option<String> {
    let ensured = source
        .ensured
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    if ensured == Topology::default() {
        return None;
    }
    match topology::apply(&source.link, &ensured, Mode::Ensure, limit).await {
        Ok(plan) if plan.missing.is_empty() => None,
        Ok(plan) => {
            source.publisher.made_anew(&ensured, &plan).await;
            let missing = plan.missing.join(", ");
            Some(format!("{missing} was missing; declared again"))
        }
        Err(error) => Some(error.to_string()),
    }
}

impl Stream for RabbitMqConsumer {
    type Item = Delivery;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Delivery>> {
        let this = &mut *self;
        loop {
            match &mut this.state {
                State::Live(live) => match live.poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Some(Ok(message))) => {
                        this.source.link.gave_a_sign();
                        let (task, count) = convert::task(&message.properties, message.data);
                        let delivery = Delivery::new(
                            task,
                            this.queue.clone(),
                            message.delivery_tag,
                            live.settler.clone(),
                        )
                        .with_history(message.redelivered, count);
                        return Poll::Ready(Some(delivery));
                    }
                    Poll::Ready(Some(Err(_)) | None) if this.stopping => {
                        return Poll::Ready(None);
                    }
                    Poll::Ready(end) => {
                        let why = end.and_then(Result::err).map(|error| error.to_string());
                        tracing::info!(queue = %this.queue, why, "consumer lost, starting again");
                        live.settler.end();
                        close_in_background(live.channel.clone(), Duration::from_secs(5));
                        this.state = State::Reviving(this.revive());
                    }
                },
                State::Reviving(revival) => match revival.poll_unpin(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(generation) => {
                        this.state = State::Live(generation);
                    }
                },
                State::Ended => return Poll::Ready(None),
            }
        }
    }
}

impl Consumer for RabbitMqConsumer {
    fn stop(&mut self) {
        if std::mem::replace(&mut self.stopping, true) {
            return;
        }
        match &self.state {
            State::Live(live) => {
                let channel = live.channel.clone();
                let tag = live.consumer.tag();
                let limit = self.source.settings.close_timeout;
                let mut cancel = async move {
                    let asked = channel.basic_cancel(tag, BasicCancelOptions::default());
                    if !matches!(timeout(limit, asked).await, Ok(Ok(()))) {
                        tracing::debug!("the broker did not confirm the end of a consumer");
                    }
                }
                .boxed();
                // The first poll puts the frame before those of deliveries that are given back
                // from now on: they would come straight to this consumer again.
                if cancel.as_mut().now_or_never().is_none() {
                    tokio::spawn(cancel);
                }
            }
            State::Reviving(_) | State::Ended => self.state = State::Ended,
        }
    }

    fn is_live(&self) -> bool {
        match &self.state {
            State::Live(live) => !self.stopping && live.channel.status().connected(),
            State::Reviving(_) | State::Ended => false,
        }
    }

    fn close(mut self: Box<Self>) -> Boxed<'static, ()> {
        let limit = self.source.settings.close_timeout;
        let State::Live(live) = std::mem::replace(&mut self.state, State::Ended) else {
            return std::future::ready(()).boxed();
        };
        async move {
            let orderly = async {
                live.settler.flush().await;
                live.settler.end();
                // One that is closed already is what we want.
                let _ = live.channel.close(200, "closed".into()).await;
            };
            if timeout(limit, orderly).await.is_err() {
                tracing::debug!("closing a consumer took too long");
            }
            live.settler.end();
        }
        .boxed()
    }
}

impl Drop for RabbitMqConsumer {
    fn drop(&mut self) {
        self.source.consumers.open.fetch_sub(1, Ordering::Relaxed);
        if let State::Live(live) = &self.state {
            // What is unsettled goes back; what is settled still gets its moment.
            let settler = live.settler.clone();
            let channel = live.channel.clone();
            let limit = self.source.settings.close_timeout;
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                runtime.spawn(async move {
                    let _ = timeout(limit, settler.flush()).await;
                    settler.end();
                    close_in_background(channel, limit);
                });
            }
        }
    }
}
