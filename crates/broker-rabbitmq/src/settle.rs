//! What the broker is told: one acker per consumer channel.
//!
//! A settlement belongs to the channel its delivery came on and never reaches another: each
//! channel has a settler of its own, which is over when the channel is.

mod copies;
mod letter;
mod window;

use crate::publish::Publisher;
use copies::Copies;
use futures_util::{
    StreamExt,
    future::{BoxFuture, FutureExt, join_all},
    stream::FuturesUnordered,
};
use lapin::{
    Channel,
    options::{BasicAckOptions, BasicNackOptions},
};
pub(crate) use letter::Queues;
use pumasi_common::{
    Publication, Settlement, Task,
    broker::{SettleError, Settler},
};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use tokio::sync::{mpsc, oneshot};
use window::AckWindow;

/// Most settlements that are told together.
const BATCH: usize = 256;

/// Takes the settlements of one channel's deliveries.
///
/// Its inbox is unbounded in form only: it holds at most one settlement per unsettled delivery.
#[derive(Debug)]
pub(crate) struct ChannelSettler {
    commands: mpsc::UnboundedSender<Command>,
    over: Arc<AtomicBool>,
    channel: Channel,
}

#[derive(Debug)]
enum Command {
    Settle(u64, Arc<Task>, Settlement, Option<Box<Publication>>),
    Flush(oneshot::Sender<()>),
}

impl ChannelSettler {
    /// Starts the acker of a channel.
    pub(crate) fn start(channel: Channel, queues: Queues, publisher: Arc<Publisher>) -> Arc<Self> {
        let (commands, inbox) = mpsc::unbounded_channel();
        let over = Arc::new(AtomicBool::new(false));
        let acker = Acker {
            channel: channel.clone(),
            copies: Copies {
                queues: Arc::new(queues),
                publisher,
            },
            over: over.clone(),
            window: AckWindow::default(),
            published: FuturesUnordered::new(),
            flushes: Vec::new(),
        };
        tokio::spawn(acker.run(inbox));
        Arc::new(Self {
            commands,
            over,
            channel,
        })
    }

    /// Ends this generation: nothing is told on its channel any more.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::Release);
    }
}

impl Settler for ChannelSettler {
    fn settle(
        &self,
        token: u64,
        task: &Arc<Task>,
        settlement: Settlement,
        reply: Option<Box<Publication>>,
    ) -> Result<(), SettleError> {
        if !self.is_current(token) {
            return Err(SettleError::Superseded);
        }
        self.commands
            .send(Command::Settle(token, task.clone(), settlement, reply))
            .map_err(|_| SettleError::Superseded)
    }

    fn is_current(&self, _token: u64) -> bool {
        !self.over.load(Ordering::Acquire) && self.channel.status().connected()
    }

    /// Copies and replies included.
    fn flush(&self) -> BoxFuture<'static, ()> {
        let (done, told) = oneshot::channel();
        let asked = self.commands.send(Command::Flush(done)).is_ok();
        async move {
            if asked {
                // An acker that has ended has nothing left to tell.
                let _ = told.await;
            }
        }
        .boxed()
    }
}

struct Acker {
    channel: Channel,
    copies: Copies,
    over: Arc<AtomicBool>,
    window: AckWindow,
    /// What is published first: the tag, and whether the original may go.
    published: FuturesUnordered<BoxFuture<'static, (u64, bool)>>,
    flushes: Vec<oneshot::Sender<()>>,
}

impl Acker {
    async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Command>) {
        let mut batch = Vec::with_capacity(BATCH);
        let mut open = true;
        while open || !self.published.is_empty() {
            let mut acks = Vec::new();
            let mut releases = Vec::new();
            tokio::select! {
                count = inbox.recv_many(&mut batch, BATCH), if open => open = count > 0,
                Some((tag, may_go)) = self.published.next(), if !self.published.is_empty() => {
                    if may_go { acks.push(tag) } else { releases.push(tag) }
                }
            }
            for command in batch.drain(..) {
                match command {
                    Command::Settle(tag, _, Settlement::Ack, None) => acks.push(tag),
                    Command::Settle(tag, _, Settlement::Release, _) => releases.push(tag),
                    Command::Settle(tag, task, settlement, reply) => {
                        let published = self.copies.clone().publish(task, settlement, reply);
                        let published = published.map(move |may_go| (tag, may_go)).boxed();
                        self.published.push(published);
                    }
                    Command::Flush(done) => self.flushes.push(done),
                }
            }
            if !self.over.load(Ordering::Acquire) && !self.tell(&acks, &releases).await {
                self.over.store(true, Ordering::Release);
            }
            if self.published.is_empty() {
                for done in self.flushes.drain(..) {
                    // Whoever waited may have gone.
                    let _ = done.send(());
                }
            }
        }
    }

    /// Tells one wave; the frames leave together. False when the channel is gone.
    async fn tell(&mut self, acks: &[u64], releases: &[u64]) -> bool {
        let channel = &self.channel;
        let mut frames: Vec<BoxFuture<'_, lapin::Result<()>>> = Vec::new();
        for tag in releases {
            self.window.told(*tag);
            let options = BasicNackOptions {
                multiple: false,
                requeue: true,
            };
            frames.push(channel.basic_nack(*tag, options).boxed());
        }
        for frame in self.window.acknowledge(acks) {
            let multiple = frame.multiple;
            frames.push(
                channel
                    .basic_ack(frame.tag, BasicAckOptions { multiple })
                    .boxed(),
            );
        }
        join_all(frames).await.iter().all(Result::is_ok)
    }
}
