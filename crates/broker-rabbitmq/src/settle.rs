//! What the broker is told: one acker per consumer channel.
//!
//! A settlement belongs to the channel its delivery came on and never reaches another: each
//! channel has a settler of its own, which is over when the channel is.

mod letter;
mod window;

use crate::publish::Publisher;
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
    DeadLetter, Publication, PublishOutcome, Settlement, Task,
    broker::{SettleError, Settler},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};
use window::AckWindow;

/// Most settlements that are told together.
const BATCH: usize = 256;
/// How long a task whose dead letter was not taken stays with us before it is given back.
const DEAD_REFUSED_WAIT: Duration = Duration::from_secs(1);

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
            queues: Arc::new(queues),
            publisher,
            over: over.clone(),
            window: AckWindow::default(),
            letters: FuturesUnordered::new(),
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

    /// Waits until everything settled so far was told, dead letters included.
    pub(crate) async fn flush(&self) {
        let (done, told) = oneshot::channel();
        if self.commands.send(Command::Flush(done)).is_ok() {
            // The acker has ended: there is nothing left to tell.
            let _ = told.await;
        }
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
}

struct Acker {
    channel: Channel,
    queues: Arc<Queues>,
    publisher: Arc<Publisher>,
    over: Arc<AtomicBool>,
    window: AckWindow,
    /// Dead letters on their way: the tag, and whether the letter was taken.
    letters: FuturesUnordered<BoxFuture<'static, (u64, bool)>>,
    flushes: Vec<oneshot::Sender<()>>,
}

impl Acker {
    async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Command>) {
        let mut batch = Vec::with_capacity(BATCH);
        let mut open = true;
        while open || !self.letters.is_empty() {
            let mut acks = Vec::new();
            let mut releases = Vec::new();
            tokio::select! {
                count = inbox.recv_many(&mut batch, BATCH), if open => open = count > 0,
                Some((tag, taken)) = self.letters.next(), if !self.letters.is_empty() => {
                    if taken { acks.push(tag) } else { releases.push(tag) }
                }
            }
            for command in batch.drain(..) {
                match command {
                    Command::Settle(tag, _, Settlement::Ack, None) => acks.push(tag),
                    Command::Settle(tag, _, Settlement::Release, _) => releases.push(tag),
                    Command::Settle(tag, _, Settlement::Ack, Some(reply)) => {
                        self.letters.push(self.answer(tag, *reply));
                    }
                    Command::Settle(tag, _, Settlement::Retry(copy), _) => {
                        self.letters.push(self.replace(tag, *copy));
                    }
                    Command::Settle(tag, task, Settlement::DeadLetter(letter), _) => {
                        self.letters.push(self.bury(tag, &task, letter));
                    }
                    Command::Flush(done) => self.flushes.push(done),
                }
            }
            if !self.over.load(Ordering::Acquire) && !self.tell(&acks, &releases).await {
                self.over.store(true, Ordering::Release);
            }
            if self.letters.is_empty() {
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

    /// Publishes the reply, whatever becomes of it, then lets the original go.
    fn answer(&self, tag: u64, reply: Publication) -> BoxFuture<'static, (u64, bool)> {
        let publisher = self.publisher.clone();
        async move {
            publisher.publish_any_size(reply).await;
            (tag, true)
        }
        .boxed()
    }

    /// Publishes the copy; only a confirmed one lets the original go.
    fn replace(&self, tag: u64, copy: Publication) -> BoxFuture<'static, (u64, bool)> {
        let publisher = self.publisher.clone();
        async move {
            let outcome = publisher.publish_any_size(copy).await;
            (tag, matches!(outcome, PublishOutcome::Accepted(_)))
        }
        .boxed()
    }

    /// Publishes the dead letter; only a confirmed one lets the original go.
    fn bury(
        &self,
        tag: u64,
        task: &Arc<Task>,
        letter: Box<DeadLetter>,
    ) -> BoxFuture<'static, (u64, bool)> {
        let task = task.clone();
        let publisher = self.publisher.clone();
        let queues = self.queues.clone();
        async move {
            let full = letter::full(&task, &queues, &letter);
            let mut outcome = publisher.publish_any_size(full).await;
            if let PublishOutcome::Refused(_, refusal) = &outcome
                && letter::cannot_be_carried(refusal)
            {
                let bare = letter::bare(&task, &queues, *letter, refusal);
                outcome = publisher.publish_any_size(bare).await;
            }
            if matches!(outcome, PublishOutcome::Accepted(_)) {
                return (tag, true);
            }
            let queue = &queues.work;
            tracing::warn!(%queue, ?outcome, "dead letter not taken, task given back");
            tokio::time::sleep(DEAD_REFUSED_WAIT).await;
            (tag, false)
        }
        .boxed()
    }
}
