//! Reads a queue in batches, each with a consumer of its own that is cancelled when it has its part.
//!
//! A consumer's prefetch bounds what is in memory, and an unsettled delivery counts against it for
//! ever; so the next batch needs the next consumer. (`basic.get` would do without, but is slow, and
//! what it hands out counts as one consumer each.)
//!
//! A quorum queue takes back in order what one consumer gives back at once, up to 32 tasks, and its
//! client inside RabbitMQ sends up to 32 such commands in order; what is more comes in any order. So
//! little is given back at a time, and it is waited for before more follows.

use crate::topology::object::Failure;
use futures_util::StreamExt;
use lapin::{
    Channel,
    message::Delivery,
    options::{
        BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions,
        QueueDeclareOptions,
    },
    types::{FieldTable, ShortString},
};
use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};
use tokio::time::{Instant, sleep, timeout};

/// The first batch, when nothing is known of the sizes.
const BATCH_FIRST: u16 = 8;
/// The largest: RabbitMQ 4 gives a consumer of a quorum queue no more.
const BATCH_MAX: u16 = 2000;
/// About as many bytes are in a batch.
const BATCH_BYTES: usize = 1024 * 1024;
/// After this silence the queue is asked whether there is anything left.
const SILENCE: Duration = Duration::from_millis(500);
/// So many silent batches are the end.
const SILENT_MAX: u32 = 4;
/// Tasks of one batch that are given back with one command.
const BACK_TASKS: usize = 32;
/// Commands that are sent before they are waited for.
const BACK_COMMANDS: usize = 16;
/// How long they may take until they are ready, and how long nothing may change meanwhile: somebody
/// else may have taken them already, and a busy broker takes its time.
const BACK_LIMIT: Duration = Duration::from_secs(30);
const BACK_STILL: Duration = Duration::from_secs(3);

/// Reads as many deliveries as a queue had at the start.
pub(super) struct Batches {
    channel: Channel,
    queue: ShortString,
    /// How many more there are in the queue.
    left: u32,
    /// The rest of the newest batch.
    read: VecDeque<Delivery>,
    /// How many the next batch has.
    size: u16,
    /// The last delivery tag of each batch.
    ends: Vec<u64>,
    silent: u32,
}

impl Batches {
    pub(super) fn new(channel: Channel, queue: ShortString, ready: u32) -> Self {
        Self {
            channel,
            queue,
            left: ready,
            read: VecDeque::new(),
            size: BATCH_FIRST,
            ends: Vec::new(),
            silent: 0,
        }
    }

    /// The next one; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Delivery>, Failure> {
        while self.read.is_empty() && self.left > 0 {
            self.fill().await?;
        }
        Ok(self.read.pop_front())
    }

    /// Reads a batch to its end before any of it is handed out: what is settled of it would make
    /// room for more while the consumer lives.
    async fn fill(&mut self) -> Result<(), Failure> {
        let most = u32::from(self.size).min(self.left);
        let prefetch = u16::try_from(most).unwrap_or(BATCH_MAX);
        let qos = BasicQosOptions { global: false };
        self.channel.basic_qos(prefetch, qos).await?;
        let tag: ShortString = format!("browse {}", self.ends.len()).into();
        let options = BasicConsumeOptions::default();
        let (queue, none) = (self.queue.clone(), FieldTable::default());
        let mut consumer = self
            .channel
            .basic_consume(queue, tag.clone(), options, none)
            .await?;
        while self.read.len() < usize::from(prefetch) {
            match timeout(SILENCE, consumer.next()).await {
                Ok(Some(delivery)) => self.read.push_back(delivery?),
                // The queue was deleted, or its node is gone.
                Ok(None) => {
                    return Err(Failure::Other {
                        problem: "the broker ended the consumer".to_owned(),
                        source: None,
                    });
                }
                Err(_) => break,
            }
        }
        let is_whole = self.read.len() == usize::from(prefetch);
        let options = BasicCancelOptions::default();
        self.channel.basic_cancel(tag, options).await?;
        while let Some(delivery) = consumer.next().await {
            self.read.push_back(delivery?);
        }
        self.conclude(is_whole).await
    }

    async fn conclude(&mut self, is_whole: bool) -> Result<(), Failure> {
        let count = self.read.len();
        self.left = self
            .left
            .saturating_sub(u32::try_from(count).unwrap_or(u32::MAX));
        let before = self.ends.last().copied().unwrap_or(0);
        let last = self.read.back().map_or(before, |it| it.delivery_tag);
        self.ends.push(last);
        let bytes: usize = self.read.iter().map(|it| it.data.len()).sum();
        let average = (bytes / count.max(1)).max(1);
        let size = u16::try_from(BATCH_BYTES / average).unwrap_or(BATCH_MAX);
        self.size = size.clamp(1, BATCH_MAX);
        if is_whole {
            self.silent = 0;
        } else {
            // Slow, or taken by somebody else.
            self.silent += 1;
            if self.silent >= SILENT_MAX || self.ready().await? == 0 {
                self.left = 0;
            }
        }
        Ok(())
    }

    /// Gives back everything but these, batch by batch, so that all is where it was.
    pub(super) async fn give_back(self, settled: &HashSet<u64>) -> Result<(), Failure> {
        let before = self.ready().await?;
        // The first is waited for by itself: with it, all settlements that were sent before.
        let (mut sent, mut back) = (BACK_COMMANDS - 1, 0);
        let mut commands = self.commands(settled).peekable();
        while let Some((last, count)) = commands.next() {
            let options = BasicNackOptions {
                multiple: true,
                requeue: true,
            };
            self.channel.basic_nack(last, options).await?;
            (sent, back) = (sent + 1, back + count);
            // At the end, too: what is on its way when the channel is closed comes back as if we
            // had crashed.
            if sent == BACK_COMMANDS || commands.peek().is_none() {
                self.until_ready(before.saturating_add(back)).await?;
                sent = 0;
            }
        }
        Ok(())
    }

    /// The last tag of each command, which has to be one that is not settled, and how many it gives
    /// back. None goes across the end of a batch.
    fn commands(&self, settled: &HashSet<u64>) -> impl Iterator<Item = (u64, u64)> {
        let begins = std::iter::once(&0).chain(&self.ends);
        begins.zip(&self.ends).flat_map(|(begin, end)| {
            let open: Vec<u64> = (begin + 1..=*end)
                .filter(|tag| !settled.contains(tag))
                .collect();
            let last_and_count = |tags: &[u64]| {
                let count = u64::try_from(tags.len()).unwrap_or(u64::MAX);
                tags.last().map(|last| (*last, count))
            };
            let commands: Vec<_> = open.chunks(BACK_TASKS).filter_map(last_and_count).collect();
            commands
        })
    }

    async fn until_ready(&self, count: u64) -> Result<(), Failure> {
        let end = Instant::now() + BACK_LIMIT;
        let (mut ready, mut changed) = (self.ready().await?, Instant::now());
        while ready < count && Instant::now() < end && changed.elapsed() < BACK_STILL {
            sleep(Duration::from_millis(5)).await;
            let now = self.ready().await?;
            if now != ready {
                (ready, changed) = (now, Instant::now());
            }
        }
        Ok(())
    }

    async fn ready(&self) -> Result<u64, Failure> {
        let options = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let (queue, none) = (self.queue.clone(), FieldTable::default());
        let queue = self.channel.queue_declare(queue, options, none).await?;
        Ok(queue.message_count().into())
    }
}
