//! A task goes out: one actor publishes everything, keeps it in flight and learns what became of it.
//!
//! # Why an unroutable task is never reported as accepted
//! RabbitMQ sends `basic.return` for a message before the confirm that covers it. lapin keeps
//! returns in a queue R; each confirm that is resolved takes the oldest out of R, whichever
//! message it belongs to, and one frame may resolve many confirms in any order. So a return is
//! matched by what it says (id, exchange, routing key), and a confirm is believed only when no
//! return for its message can still be on its way:
//!
//! * A confirm that carries nothing was resolved while R was empty. The message's own return, had
//!   there been one, entered R earlier and so left R on a confirm that was resolved earlier.
//!   lapin fills and wakes one confirm before the next, so that confirm is ready by now: the actor
//!   collects everything that is ready before it concludes anything.
//! * A confirm that carries another message's return says nothing about its own, which may still
//!   be in R. It is held until a confirm of something published after it was held comes back
//!   empty (R was empty after it), or until nothing is in flight: every return is followed by one
//!   more confirm, so R is empty when the last confirm is in.
//!
//! # What a lost channel does
//! Everything sent and unconfirmed is sent again with the same id. Where the broker's text names
//! the guilty exchange, what went there is refused; where it names nothing, what was in flight is
//! sent again one by one, and the one that is alone when the channel closes is the guilty one. An
//! operator's or a node's closing of the connection blames nobody.
//!
//! # Why what is sent again is hardly ever refused
//! The broker may have stored what it did not confirm. When a later sending is refused, the task
//! may exist all the same: that is `Unknown`. Not so where the refusal is about what the message
//! consists of, since that was refused before, too; nor where there is no queue, since what an
//! earlier sending stored has gone with it.

mod later;
mod proof;
mod session;

use crate::{
    connection::{Backoff, Failures, Link, answered},
    convert::{properties, short},
    delay::{self, Delays, Route},
};
use lapin::{BasicProperties, options::ConfirmSelectOptions, types::ShortString};
use pumasi_common::{
    ConnectionSettings, Destination, Publication, PublishOutcome, Refusal, TaskId,
    broker::Uncertainty,
};
use session::Session;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Mutex, MutexGuard, OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

/// The states of a job: who gives up and who sends decide it between them.
const WAITING: u8 = 0;
const SENT: u8 = 1;
const ABANDONED: u8 = 2;

/// What the names of RabbitMQ's direct reply-to begin with.
const DIRECT_REPLY: &str = "amq.rabbitmq.reply-to.";

/// The way to the publishing actor.
#[derive(Debug)]
pub(crate) struct Publisher {
    jobs: mpsc::Sender<Job>,
    window: Arc<Semaphore>,
    window_bytes: Arc<Semaphore>,
    /// Held from the wait for room to the handing-over, so that nobody overtakes.
    order: Mutex<()>,
    delays: Delays,
    settings: ConnectionSettings,
    stop: CancellationToken,
}

/// A place among the publishes in flight, and one for its bytes.
type Room = (OwnedSemaphorePermit, OwnedSemaphorePermit);

/// One publication on its way.
#[derive(Debug)]
pub(crate) struct Job {
    publication: Publication,
    exchange: ShortString,
    routing_key: ShortString,
    properties: BasicProperties,
    /// Whether it comes back when it reaches no queue.
    mandatory: bool,
    deadline: Instant,
    state: Arc<AtomicU8>,
    /// Whether it was sent on a channel that ended without a word about it.
    in_doubt: bool,
    reply: oneshot::Sender<PublishOutcome>,
    _room: Room,
}

impl Job {
    fn id(&self) -> TaskId {
        self.publication.task.id.clone()
    }

    fn destination(&self) -> Destination {
        self.publication.destination.clone()
    }

    /// Takes the job for sending; false when its caller has given up.
    fn take(&self) -> bool {
        self.state
            .compare_exchange(WAITING, SENT, Ordering::AcqRel, Ordering::Acquire)
            .is_ok_and(|_| !self.reply.is_closed())
            || (self.state.load(Ordering::Acquire) == SENT && !self.reply.is_closed())
    }

    fn finish(self, outcome: PublishOutcome) {
        // A caller that has given up knows its outcome already.
        let _ = self.reply.send(outcome);
    }

    fn refuse(self, refusal: Refusal) {
        let id = self.id();
        let has_no_queue = matches!(refusal, Refusal::Unroutable { .. });
        let outcome = if self.in_doubt && !has_no_queue {
            let problem = format!("it was sent before and not answered, and then: {refusal}");
            PublishOutcome::Unknown(id, Uncertainty { problem })
        } else {
            PublishOutcome::Refused(id, refusal)
        };
        self.finish(outcome);
    }
}

impl Publisher {
    /// Starts the actor on a link.
    pub(crate) fn start(link: Arc<Link>, settings: &ConnectionSettings) -> Self {
        let window = usize::from(settings.publish_window.max(1));
        let (jobs, inbox) = mpsc::channel(window);
        let stop = CancellationToken::new();
        let delays = Delays::new(link.clone());
        let actor = Actor {
            link,
            inbox,
            retry: Vec::new(),
            isolate: false,
            timeout: settings.connect_timeout,
        };
        let stopped = stop.clone();
        tokio::spawn(async move {
            stopped.run_until_cancelled(actor.run()).await;
        });
        Self {
            jobs,
            window: Arc::new(Semaphore::new(window)),
            window_bytes: Arc::new(Semaphore::new(bytes_total(settings))),
            order: Mutex::default(),
            delays,
            settings: settings.clone(),
            stop,
        }
    }

    /// Publishes and waits for what becomes of it, at most the publish time-out.
    pub(crate) async fn publish(&self, publication: Publication) -> PublishOutcome {
        let bytes = publication.task.payload.len();
        let bytes_max = self.settings.payload_bytes_max;
        if bytes > bytes_max {
            let refusal = Refusal::PayloadTooLarge { bytes, bytes_max };
            return PublishOutcome::Refused(publication.task.id, refusal);
        }
        self.publish_any_size(publication).await
    }

    /// As [`Publisher::publish`], for what came from the broker: it has taken that size before.
    pub(crate) async fn publish_any_size(&self, publication: Publication) -> PublishOutcome {
        let deadline = Instant::now() + self.settings.publish_timeout;
        match delay::route(&publication) {
            Ok(None) => self.send(publication, None, deadline).await,
            // In a box of its own: what is not kept back does not pay for its size.
            Ok(Some(route)) => Box::pin(self.send_later(publication, route, deadline)).await,
            Err(refusal) => PublishOutcome::Refused(publication.task.id, refusal),
        }
    }

    async fn send(
        &self,
        publication: Publication,
        route: Option<&Route>,
        deadline: Instant,
    ) -> PublishOutcome {
        let id = publication.task.id.clone();
        let unavailable = |problem: &str| Refusal::Unavailable {
            problem: problem.to_owned(),
        };
        let prepared = match prepare(&publication, route) {
            Ok(prepared) => prepared,
            Err(refusal) => return PublishOutcome::Refused(id, refusal),
        };
        let room = timeout_at(deadline, self.room(publication.task.payload.len())).await;
        let Ok(Some((room, order))) = room else {
            return PublishOutcome::Refused(id, unavailable("the publish window stayed full"));
        };
        let (reply, answer) = oneshot::channel();
        let state = Arc::new(AtomicU8::new(WAITING));
        let (exchange, routing_key, properties) = prepared;
        let job = Job {
            mandatory: !is_direct_reply(&publication.destination),
            publication,
            exchange,
            routing_key,
            properties,
            deadline,
            state: state.clone(),
            in_doubt: false,
            reply,
            _room: room,
        };
        if !matches!(timeout_at(deadline, self.jobs.send(job)).await, Ok(Ok(()))) {
            return PublishOutcome::Refused(id, unavailable("the broker is closed"));
        }
        drop(order);
        if let Ok(Ok(outcome)) = timeout_at(deadline, answer).await {
            return outcome;
        }
        let never_sent = state
            .compare_exchange(WAITING, ABANDONED, Ordering::AcqRel, Ordering::Acquire)
            .is_ok();
        if never_sent {
            return PublishOutcome::Refused(id, unavailable("no connection took it"));
        }
        let problem = "the deadline passed or the broker was closed".to_owned();
        PublishOutcome::Unknown(id, Uncertainty { problem })
    }

    async fn room(&self, bytes: usize) -> Option<(Room, MutexGuard<'_, ()>)> {
        let order = self.order.lock().await;
        let bytes = u32::try_from(bytes.min(bytes_total(&self.settings))).ok()?;
        let one = self.window.clone().acquire_owned().await.ok()?;
        let many = self
            .window_bytes
            .clone()
            .acquire_many_owned(bytes)
            .await
            .ok()?;
        Some(((one, many), order))
    }

    /// Waits until nothing is in flight, at most `limit`, then stops the actor.
    pub(crate) async fn close(&self, limit: Duration) {
        let all = u32::from(self.settings.publish_window.max(1));
        // What is still in flight after the limit gets `Unknown`.
        let _ = timeout(limit, self.window.acquire_many(all)).await;
        self.stop.cancel();
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Whether it goes to a waiting channel instead of a queue: up to RabbitMQ 4.1 such a message would
/// come back as unroutable although it has arrived.
fn is_direct_reply(destination: &Destination) -> bool {
    matches!(destination, Destination::Reply(to) if to.starts_with(DIRECT_REPLY))
}

/// Where it goes and its properties.
fn prepare(
    publication: &Publication,
    route: Option<&Route>,
) -> Result<(ShortString, ShortString, BasicProperties), Refusal> {
    let task = &publication.task;
    let (exchange, routing_key) = match (route, &publication.destination) {
        (Some(route), _) => (
            short("delay", &route.exchange)?,
            short("delay", &route.routing_key)?,
        ),
        (None, Destination::Queue(queue)) => (short("queue", "")?, short("queue", queue.as_str())?),
        (None, Destination::Reply(queue)) => {
            (short("reply queue", "")?, short("reply queue", queue)?)
        }
        (None, Destination::Topic(topic)) => {
            let kind = task.kind.as_ref().map_or("", |kind| kind.as_str());
            (short("topic", topic.as_str())?, short("kind", kind)?)
        }
    };
    Ok((exchange, routing_key, properties(task)?))
}

/// The bytes of the window, as many as a semaphore can count.
fn bytes_total(settings: &ConnectionSettings) -> usize {
    settings
        .publish_window_bytes
        .clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize))
}

struct Actor {
    link: Arc<Link>,
    inbox: mpsc::Receiver<Job>,
    /// What a lost channel left unconfirmed, in the order it was sent.
    retry: Vec<Job>,
    /// Whether it is sent one by one.
    isolate: bool,
    timeout: Duration,
}

impl Actor {
    /// Serves one channel after another for ever.
    async fn run(mut self) {
        let mut backoff = Backoff::default();
        let mut failures = Failures::default();
        // The channels in a row that have not confirmed in time; none before the first one.
        let mut silent = None;
        loop {
            let problem = match timeout(self.timeout, self.open()).await {
                Ok(Ok(channel)) => {
                    let mut session = Session::new(channel.clone(), silent);
                    let end = session.serve(&mut self).await;
                    silent = Some(session.silent());
                    if session.confirmed() {
                        backoff = Backoff::default();
                        failures = Failures::default();
                    }
                    self.conclude(end, session.into_unconfirmed());
                    // What is left of the channel is of no use; its peer may not answer.
                    let _ = timeout(
                        Duration::from_secs(1),
                        channel.close(200, "replaced".into()),
                    )
                    .await;
                    if self.inbox.is_closed() && self.inbox.is_empty() && self.retry.is_empty() {
                        return;
                    }
                    None
                }
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some("the broker did not answer in time".to_owned()),
            };
            if let Some(problem) = problem
                && failures.is_to_be_told()
            {
                let (failures, waiting) = (failures.count, self.retry.len() + self.inbox.len());
                tracing::warn!(failures, waiting, problem, "cannot publish yet");
            }
            backoff.wait().await;
            self.retry.retain(|job| !job.reply.is_closed());
        }
    }

    async fn open(&self) -> Result<lapin::Channel, Box<dyn std::error::Error + Send + Sync>> {
        let connection = self.link.connection().await?;
        let channel = async {
            let channel = connection.create_channel().await?;
            channel
                .confirm_select(ConfirmSelectOptions::default())
                .await?;
            Ok(channel)
        };
        Ok(answered(&connection, channel).await?)
    }

    /// Decides about what the ended channel left: refused, or sent again.
    fn conclude(&mut self, reply: Option<(u16, String)>, unconfirmed: Vec<Job>) {
        let sent = unconfirmed.len();
        let mut left: Vec<Job> = unconfirmed;
        left.append(&mut self.retry);
        let forced = |code| code == crate::error::CONNECTION_FORCED;
        let Some((code, text)) = reply.filter(|(code, _)| !forced(*code)) else {
            left.iter_mut()
                .take(sent)
                .for_each(|job| job.in_doubt = true);
            self.isolate = false;
            self.retry = left;
            return;
        };
        let guilty = crate::error::exchange_in(&text).map(str::to_owned);
        let alone = self.isolate && !left.is_empty();
        self.isolate = guilty.is_none();
        for (position, mut job) in left.into_iter().enumerate() {
            let is_guilty = match &guilty {
                Some(exchange) => job.exchange.as_str() == exchange,
                None => alone && position == 0,
            };
            if !is_guilty {
                job.in_doubt |= position < sent;
                self.retry.push(job);
                continue;
            }
            job.in_doubt &= !crate::error::is_about_content(code);
            let destination = job.destination();
            let reply = text.clone();
            job.refuse(match code {
                crate::error::NOT_FOUND => Refusal::Unroutable { destination },
                crate::error::ACCESS_REFUSED => Refusal::NotPermitted { destination, reply },
                _ => match crate::error::size_in(&reply) {
                    Some((bytes, bytes_max)) => Refusal::PayloadTooLarge { bytes, bytes_max },
                    None => Refusal::Property {
                        property: "the message",
                        problem: reply,
                    },
                },
            });
        }
    }
}
