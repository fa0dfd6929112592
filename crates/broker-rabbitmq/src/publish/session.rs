//! One publishing channel from its opening to its end. The reasoning is in the parent module.

use super::{Actor, Job, proof::Proof};
use crate::error;
use futures_util::{
    FutureExt, StreamExt,
    future::BoxFuture,
    stream::FuturesUnordered,
    task::{ArcWake, AtomicWaker, waker},
};
use lapin::{Channel, Confirmation, options::BasicPublishOptions};
use pumasi_common::{PublishOutcome, Refusal, broker::Health};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, interval};

/// Most publishes that leave together.
const BATCH: usize = 256;
/// How often overdue confirms are looked for.
const TICK: Duration = Duration::from_millis(500);
/// How long a broker that was blocked may take for the confirms that it owes.
const UNBLOCKED: Duration = Duration::from_secs(5);
/// After a loss, how long a refusal is taken for a queue that is not back yet.
const RECOVERY: Duration = Duration::from_secs(15);

type Confirm = (u64, lapin::Result<Confirmation>);
/// What a return says about its message: id, exchange, routing key.
type ReturnKey = (String, String, String);

pub(super) struct Session {
    channel: Channel,
    /// The next publish's number.
    next: u64,
    /// Sent, no confirm yet.
    in_flight: BTreeMap<u64, Job>,
    /// Confirmed, but its return may still come. The second number: what must be passed.
    held: Vec<(Job, u64)>,
    returned: HashMap<ReturnKey, u32>,
    confirms: FuturesUnordered<BoxFuture<'static, Confirm>>,
    confirmed: bool,
    /// Until when a refusal may mean that the queue is still coming back after a loss.
    recovers_until: Option<Instant>,
    proof: Proof,
    /// When the broker was last seen blocked.
    blocked_at: Option<Instant>,
    /// Refused in that time; sent again with the next tick.
    later: Vec<Job>,
    wake: Arc<Wake>,
}

/// Tells "woken since" apart from "nothing is ready": the stream may pause for fairness.
struct Wake {
    woken: AtomicBool,
    task: AtomicWaker,
}

impl ArcWake for Wake {
    fn wake_by_ref(this: &Arc<Self>) {
        this.woken.store(true, Ordering::Release);
        this.task.wake();
    }
}

impl Session {
    /// On a channel that follows a number of silent ones, or on the first one of all.
    pub(super) fn new(channel: Channel, silent: Option<u32>) -> Self {
        Self {
            channel,
            next: 0,
            in_flight: BTreeMap::new(),
            held: Vec::new(),
            returned: HashMap::new(),
            confirms: FuturesUnordered::new(),
            confirmed: false,
            recovers_until: silent.map(|_| Instant::now() + RECOVERY),
            proof: Proof::new(silent),
            blocked_at: None,
            later: Vec::new(),
            wake: Arc::new(Wake {
                woken: AtomicBool::new(false),
                task: AtomicWaker::new(),
            }),
        }
    }

    /// Whether any confirm came.
    pub(super) fn confirmed(&self) -> bool {
        self.confirmed
    }

    /// How many channels in a row have not confirmed in time, with this one.
    pub(super) fn silent(&self) -> u32 {
        self.proof.silent()
    }

    /// Publishes until the channel ends; the broker's reply where it closed the channel.
    pub(super) async fn serve(&mut self, actor: &mut Actor) -> Option<(u16, String)> {
        let mut batch = Vec::with_capacity(BATCH);
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut health = actor.link.watch();
        let left = actor.link.left();
        loop {
            // What is handed to lapin while the broker reads nothing would be sent some time
            // after its caller was told that nobody knows: it waits here, where it can be refused.
            let blocked = matches!(*health.borrow_and_update(), Health::Blocked(_));
            if blocked {
                self.blocked_at = Some(Instant::now());
                self.proof.put_off();
            } else {
                self.resend(actor);
            }
            let is_free = self.proof.is_given() || self.is_idle();
            let accepts = actor.retry.is_empty() && !blocked && is_free;
            let most = if self.proof.is_given() { BATCH } else { 1 };
            tokio::select! {
                biased;
                wave = ready(&mut self.confirms, &self.wake) => {
                    actor.link.gave_a_sign();
                    if let Err(reply) = self.conclude(wave) {
                        return reply;
                    }
                }
                count = actor.inbox.recv_many(&mut batch, most), if accepts => {
                    if count == 0 {
                        return None;
                    }
                    for job in batch.drain(..) {
                        self.send(job);
                    }
                }
                // The link outlives its channels, so this never fails.
                _ = health.changed() => {}
                _ = tick.tick() => {
                    if !blocked {
                        for job in std::mem::take(&mut self.later) {
                            self.send(job);
                        }
                    }
                    let is_left = actor.link.left() != left;
                    let is_silent = !blocked && (self.is_overdue() || self.proof.is_late());
                    if is_left || is_silent || !self.channel.status().connected() {
                        return None;
                    }
                }
            }
        }
    }

    fn resend(&mut self, actor: &mut Actor) {
        if actor.retry.is_empty() {
            actor.isolate = false;
        } else if !actor.isolate && self.proof.is_given() {
            for job in std::mem::take(&mut actor.retry) {
                self.send(job);
            }
        } else if self.is_idle() {
            let job = actor.retry.remove(0);
            self.send(job);
        }
    }

    /// Whether nothing is under way.
    fn is_idle(&self) -> bool {
        self.in_flight.is_empty() && self.held.is_empty()
    }

    fn send(&mut self, job: Job) {
        if job.deadline <= Instant::now() || !job.take() {
            return;
        }
        let number = self.next;
        self.next += 1;
        let channel = self.channel.clone();
        let exchange = job.exchange.clone();
        let routing_key = job.routing_key.clone();
        let properties = job.properties.clone();
        let mandatory = job.mandatory;
        let payload = job.publication.task.payload.clone();
        self.confirms.push(
            async move {
                let options = BasicPublishOptions {
                    mandatory,
                    immediate: false,
                };
                let result = async {
                    channel
                        .basic_publish(exchange, routing_key, options, &payload, properties)
                        .await?
                        .await
                }
                .await;
                (number, result)
            }
            .boxed(),
        );
        self.in_flight.insert(number, job);
        self.proof.begin();
    }

    /// Whether a confirm is past its deadline while the channel should give it.
    fn is_overdue(&self) -> bool {
        let now = Instant::now();
        // What the broker did not read while it was blocked, it may confirm in a moment.
        if self
            .blocked_at
            .is_some_and(|at| now.duration_since(at) < UNBLOCKED)
        {
            return false;
        }
        self.in_flight.values().any(|job| job.deadline <= now)
    }

    /// Concludes a wave: everything that was ready at one moment.
    fn conclude(&mut self, wave: Vec<Confirm>) -> Result<(), Option<(u16, String)>> {
        let mut failure: Option<Option<(u16, String)>> = None;
        let mut believed = Vec::new();
        let mut nacked = Vec::new();
        let mut newest_empty = None;
        for (number, result) in wave {
            let (acked, message) = match result {
                Ok(Confirmation::Ack(message)) => (true, message),
                Ok(Confirmation::Nack(message)) => (false, message),
                Ok(Confirmation::NotRequested) => (true, None),
                Err(error) => {
                    let reply = error::reply(&error);
                    if !matches!(failure, Some(Some(_))) {
                        failure = Some(reply);
                    }
                    continue;
                }
            };
            self.confirmed = true;
            self.proof.give();
            let empty = message.is_none();
            if let Some(message) = message {
                let id = message.delivery.properties.message_id();
                let key = (
                    id.as_ref().map_or("", |id| id.as_str()).to_owned(),
                    message.delivery.exchange.as_str().to_owned(),
                    message.delivery.routing_key.as_str().to_owned(),
                );
                *self.returned.entry(key).or_insert(0) += 1;
            } else {
                newest_empty = newest_empty.max(Some(number));
            }
            let Some(job) = self.in_flight.remove(&number) else {
                continue;
            };
            match (acked, empty) {
                (false, _) => nacked.push(job),
                (true, true) => believed.push(job),
                (true, false) => self.held.push((job, self.next)),
            }
        }
        for job in nacked {
            if let Some(job) = self.unless_returned(job) {
                self.refused(job);
            }
        }
        for job in believed {
            self.accept_unless_returned(job);
        }
        self.release(newest_empty);
        failure.map_or(Ok(()), Err)
    }

    /// Lets go of held confirms whose return can no longer come.
    fn release(&mut self, newest_empty: Option<u64>) {
        let idle = self.in_flight.is_empty();
        for (job, passed_by) in std::mem::take(&mut self.held) {
            let Some(job) = self.unless_returned(job) else {
                continue;
            };
            if idle || newest_empty.is_some_and(|number| number >= passed_by) {
                let id = job.id();
                job.finish(PublishOutcome::Accepted(id));
            } else {
                self.held.push((job, passed_by));
            }
        }
        if idle {
            self.returned.clear();
        }
    }

    fn refused(&mut self, job: Job) {
        if self
            .recovers_until
            .is_some_and(|until| Instant::now() < until)
        {
            self.later.push(job);
        } else {
            let destination = job.destination();
            job.refuse(Refusal::Full { destination });
        }
    }

    fn accept_unless_returned(&mut self, job: Job) {
        if let Some(job) = self.unless_returned(job) {
            let id = job.id();
            job.finish(PublishOutcome::Accepted(id));
        }
    }

    /// Refuses a job whose message came back; otherwise gives it back.
    fn unless_returned(&mut self, job: Job) -> Option<Job> {
        if self.returned.is_empty() {
            return Some(job);
        }
        let key = (
            job.id().as_str().to_owned(),
            job.exchange.as_str().to_owned(),
            job.routing_key.as_str().to_owned(),
        );
        match self.returned.get_mut(&key) {
            Some(count) if *count > 0 => {
                *count -= 1;
                if *count == 0 {
                    self.returned.remove(&key);
                }
                let destination = job.destination();
                job.refuse(Refusal::Unroutable { destination });
                None
            }
            Some(_) | None => Some(job),
        }
    }

    /// What was sent and is not known to have arrived, in the order it was sent.
    pub(super) fn into_unconfirmed(self) -> Vec<Job> {
        self.held
            .into_iter()
            .map(|(job, _)| job)
            .chain(self.in_flight.into_values())
            .chain(self.later)
            .collect()
    }
}

/// Everything that is ready, and nothing that becomes ready earlier than what is returned is
/// left behind; pending when nothing is ready.
async fn ready(
    confirms: &mut FuturesUnordered<BoxFuture<'static, Confirm>>,
    wake: &Arc<Wake>,
) -> Vec<Confirm> {
    let ours = waker(wake.clone());
    let mut wave = Vec::new();
    std::future::poll_fn(move |cx| {
        wake.task.register(cx.waker());
        loop {
            wake.woken.store(false, Ordering::Release);
            match confirms.poll_next_unpin(&mut Context::from_waker(&ours)) {
                Poll::Ready(Some(confirm)) => wave.push(confirm),
                // Woken meanwhile: something is ready that this pass has not seen.
                Poll::Pending if wake.woken.load(Ordering::Acquire) => {}
                Poll::Ready(None) | Poll::Pending if wave.is_empty() => return Poll::Pending,
                Poll::Ready(None) | Poll::Pending => {
                    return Poll::Ready(std::mem::take(&mut wave));
                }
            }
        }
    })
    .await
}
