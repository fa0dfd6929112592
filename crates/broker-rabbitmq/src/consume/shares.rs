//! The subscriptions that together are one consumer.
//!
//! RabbitMQ fixes a prefetch when a subscription starts, so a consumer whose prefetch changes is
//! made of several on one channel. A higher one is a new subscription that takes the place of all
//! others. A lower one ends them all at once: nothing new comes; and what is settled from then on
//! makes room for new, small ones. Usually there is one, and nothing to do.

use super::open::Subscriber;
use crate::settle::ChannelSettler;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, task::AtomicWaker};
use lapin::{Channel, message, options::BasicCancelOptions};
use pumasi_common::{
    Publication, Settlement, Task,
    broker::{SettleError, Settler},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::timeout;

/// With more subscriptions than this the next ones wait until they can be larger.
const SMALL_MAX: usize = 64;

/// A message, and what settles it.
pub(super) type Received = (message::Delivery, Arc<dyn Settler>);

/// The subscriptions of one channel.
pub(super) struct Shares {
    subscriber: Subscriber,
    settler: Arc<ChannelSettler>,
    /// The consumer tag of the first; later ones have a number besides.
    tag: String,
    started: u64,
    all: Vec<Share>,
    opening: Option<Opening>,
    /// What all together are to hold at most.
    prefetch: usize,
    /// Whether that was raised, and one for all is to take the place of those there are.
    is_raised: bool,
    stopping: bool,
    /// Wakes the consumer when room is made for a new subscription.
    freed: Arc<AtomicWaker>,
    cancel_timeout: Duration,
}

/// A subscription on its way.
struct Opening {
    prefetch: usize,
    /// Whether it takes the place of all others.
    replaces: bool,
    subscribed: BoxFuture<'static, lapin::Result<lapin::Consumer>>,
}

struct Share {
    stream: lapin::Consumer,
    prefetch: usize,
    tally: Arc<Tally>,
    /// Whether nothing comes any more: its end was confirmed, and what had arrived was handed out.
    is_over: bool,
}

/// What one subscription holds; settles its deliveries.
struct Tally {
    settler: Arc<ChannelSettler>,
    held: AtomicUsize,
    /// Whether the subscription was cancelled.
    is_leaving: AtomicBool,
    freed: Arc<AtomicWaker>,
}

impl Settler for Tally {
    fn settle(
        &self,
        token: u64,
        task: &Arc<Task>,
        settlement: Settlement,
        reply: Option<Box<Publication>>,
    ) -> Result<(), SettleError> {
        let told = self.settler.settle(token, task, settlement, reply);
        self.held.fetch_sub(1, Ordering::SeqCst);
        if self.is_leaving.load(Ordering::SeqCst) {
            self.freed.wake();
        }
        told
    }

    fn is_current(&self, token: u64) -> bool {
        self.settler.is_current(token)
    }

    fn flush(&self) -> BoxFuture<'static, ()> {
        self.settler.flush()
    }
}

impl Share {
    fn is_live(&self) -> bool {
        !self.tally.is_leaving.load(Ordering::SeqCst)
    }

    /// The most that it may still hold at any moment from now on.
    fn load(&self) -> usize {
        if self.is_over {
            self.tally.held.load(Ordering::SeqCst)
        } else {
            self.prefetch
        }
    }
}

impl Shares {
    /// With the first subscription: its tag, its prefetch and its stream.
    pub(super) fn new(
        subscriber: Subscriber,
        settler: Arc<ChannelSettler>,
        (tag, prefetch, stream): (String, u16, lapin::Consumer),
        cancel_timeout: Duration,
    ) -> Self {
        let mut shares = Self {
            subscriber,
            settler,
            tag,
            started: 1,
            all: Vec::new(),
            opening: None,
            prefetch: prefetch.into(),
            is_raised: false,
            stopping: false,
            freed: Arc::default(),
            cancel_timeout,
        };
        shares.add(stream, prefetch.into());
        shares
    }

    pub(super) fn set_prefetch(&mut self, prefetch: u16) {
        let prefetch = usize::from(prefetch);
        self.is_raised = prefetch > self.prefetch || (self.is_raised && prefetch == self.prefetch);
        self.prefetch = prefetch;
        // At once, so that it is told before what is given back next.
        if self.live() > prefetch {
            self.cancel_live();
        }
        // Whoever polls next opens what is missing.
        self.freed.wake();
    }

    /// Ends all subscriptions; what had arrived still comes out.
    pub(super) fn stop(&mut self) {
        self.stopping = true;
        self.cancel_live();
    }

    /// The next message; ends when a subscription ended unasked, or all did after a stop.
    pub(super) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<lapin::Result<Received>>> {
        loop {
            if let Err(error) = self.steer(cx) {
                return Poll::Ready(Some(Err(error)));
            }
            let mut one_is_over = false;
            for share in self.all.iter_mut().filter(|share| !share.is_over) {
                match share.stream.poll_next_unpin(cx) {
                    Poll::Pending => {}
                    Poll::Ready(Some(Ok(message))) => {
                        share.tally.held.fetch_add(1, Ordering::SeqCst);
                        let settler: Arc<dyn Settler> = share.tally.clone();
                        return Poll::Ready(Some(Ok((message, settler))));
                    }
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                    Poll::Ready(None) if share.is_live() => return Poll::Ready(None),
                    Poll::Ready(None) => {
                        share.is_over = true;
                        one_is_over = true;
                    }
                }
            }
            if self.stopping && self.opening.is_none() && self.all.iter().all(|it| it.is_over) {
                return Poll::Ready(None);
            }
            if !one_is_over {
                return Poll::Pending;
            }
        }
    }

    /// Whether one subscription is all that is wanted.
    fn is_settled(&self) -> bool {
        self.opening.is_none()
            && matches!(&*self.all, [only] if only.prefetch == self.prefetch && only.is_live())
    }

    /// Brings the subscriptions nearer to what is wanted.
    fn steer(&mut self, cx: &mut Context<'_>) -> lapin::Result<()> {
        if self.is_settled() {
            self.is_raised = false;
            return Ok(());
        }
        self.freed.register(cx.waker());
        loop {
            if let Some(opening) = &mut self.opening {
                let Poll::Ready(stream) = opening.subscribed.poll_unpin(cx) else {
                    return Ok(());
                };
                let (prefetch, replaces) = (opening.prefetch, opening.replaces);
                self.opening = None;
                let stream = stream?;
                if replaces {
                    self.cancel_live();
                }
                self.add(stream, prefetch);
            }
            if self.stopping || self.live() > self.prefetch {
                self.cancel_live();
            }
            self.all.retain(|share| !share.is_over || share.load() > 0);
            let Some(opening) = self.missing().filter(|_| !self.stopping) else {
                return Ok(());
            };
            self.opening = Some(opening);
        }
    }

    /// The subscription that is to be started now.
    fn missing(&mut self) -> Option<Opening> {
        let replaces = std::mem::take(&mut self.is_raised);
        let live = self.live();
        let prefetch = if replaces {
            self.prefetch
        } else {
            let leaving = self.all.iter().filter(|share| !share.is_live());
            let load: usize = leaving.map(Share::load).sum();
            self.prefetch.saturating_sub(live + load)
        };
        let least = 1 + self.all.len() / SMALL_MAX;
        if prefetch < least || live == self.prefetch {
            return None;
        }
        self.started += 1;
        let tag = format!("{}+{}", self.tag, self.started);
        let subscriber = self.subscriber.clone();
        // It was a number of 16 bits.
        let count = u16::try_from(prefetch).unwrap_or(u16::MAX);
        let subscribed = async move { subscriber.subscribe(tag, count).await }.boxed();
        Some(Opening {
            prefetch,
            replaces,
            subscribed,
        })
    }

    /// What the subscriptions may hold that are not cancelled.
    fn live(&self) -> usize {
        let live = self.all.iter().filter(|share| share.is_live());
        live.map(|share| share.prefetch).sum()
    }

    fn add(&mut self, stream: lapin::Consumer, prefetch: usize) {
        let tally = Tally {
            settler: self.settler.clone(),
            held: AtomicUsize::new(0),
            is_leaving: AtomicBool::new(false),
            freed: self.freed.clone(),
        };
        self.all.push(Share {
            stream,
            prefetch,
            tally: Arc::new(tally),
            is_over: false,
        });
    }

    fn cancel_live(&mut self) {
        for share in self.all.iter().filter(|share| share.is_live()) {
            share.tally.is_leaving.store(true, Ordering::SeqCst);
            cancel(&self.subscriber.channel, &share.stream, self.cancel_timeout);
        }
    }
}

/// Cancels a subscription without waiting for it.
fn cancel(channel: &Channel, stream: &lapin::Consumer, limit: Duration) {
    let (channel, tag) = (channel.clone(), stream.tag());
    let mut cancel = async move {
        let asked = channel.basic_cancel(tag, BasicCancelOptions::default());
        if !matches!(timeout(limit, asked).await, Ok(Ok(()))) {
            tracing::debug!("the broker did not confirm the end of a consumer");
        }
    }
    .boxed();
    // The first poll puts the frame before those of deliveries that are given back from now on:
    // they would come straight to this consumer again.
    if cancel.as_mut().now_or_never().is_none() {
        tokio::spawn(cancel);
    }
}
