//! Publishing: the checks before, the window, the row, the deadline.

use crate::{
    Inner,
    batch::Batch,
    convert, once,
    row::{DELAY_MAX, Row},
    writer::{Command, Queue, Queues},
};
use pumasi_common::{
    Destination, Publication, PublishOutcome, Refusal, broker::Uncertainty,
    connection::ConnectionSettings, task::TaskId,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Mutex, MutexGuard, OwnedSemaphorePermit, Semaphore, oneshot},
    task::unconstrained,
    time::{Instant, timeout_at},
};

const CLOSED: &str = "the store is closed";

/// A publish on its way to the writer.
pub(crate) struct Publish {
    destination: Destination,
    row: Row,
    /// How long its id is remembered, where it is.
    once: Option<Duration>,
    claim: Arc<Claim>,
    answer: oneshot::Sender<PublishOutcome>,
    _room: Room,
}

/// Who has a publish: the writer once it has begun, or the caller who no longer waits.
#[derive(Default)]
struct Claim(AtomicU8);

const QUEUED: u8 = 0;
const TAKEN: u8 = 1;
const WITHDRAWN: u8 = 2;

impl Claim {
    fn take(&self) -> bool {
        self.change(TAKEN)
    }

    fn withdraw(&self) -> bool {
        self.change(WITHDRAWN)
    }

    fn change(&self, to: u8) -> bool {
        self.0
            .compare_exchange(QUEUED, to, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }
}

/// How much may be in flight: publishes and payload bytes.
#[derive(Debug)]
pub(crate) struct Window {
    publishes: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    bytes_max: u32,
    /// Held from the wait for room to the handing-over, so that nobody overtakes.
    order: Mutex<()>,
}

type Room = (OwnedSemaphorePermit, OwnedSemaphorePermit);

impl Window {
    pub(crate) fn new(settings: &ConnectionSettings) -> Self {
        let bytes_max = u32::try_from(settings.publish_window_bytes)
            .unwrap_or(u32::MAX)
            .max(1);
        Self {
            publishes: Arc::new(Semaphore::new(settings.publish_window.max(1).into())),
            bytes: Arc::new(Semaphore::new(
                usize::try_from(bytes_max).unwrap_or(usize::MAX >> 3),
            )),
            bytes_max,
            order: Mutex::default(),
        }
    }

    async fn room(&self, bytes: usize) -> Option<(Room, MutexGuard<'_, ()>)> {
        let order = self.order.lock().await;
        let bytes = u32::try_from(bytes)
            .unwrap_or(u32::MAX)
            .clamp(1, self.bytes_max);
        let publish = Arc::clone(&self.publishes).acquire_owned().await.ok()?;
        let bytes = Arc::clone(&self.bytes)
            .acquire_many_owned(bytes)
            .await
            .ok()?;
        Some(((publish, bytes), order))
    }
}

/// Publishes one task: checks, waits for room, hands it to the writer, waits for the commit.
pub(crate) async fn publish(inner: &Inner, publication: Publication) -> PublishOutcome {
    let id = publication.task.id.clone();
    let headers = match check(&publication, inner.settings.payload_bytes_max) {
        Ok(headers) => headers,
        Err(refusal) => return PublishOutcome::Refused(id, refusal),
    };
    let Publication {
        destination,
        task,
        delay,
        once,
    } = publication;
    let deadline = Instant::now() + inner.settings.publish_timeout;
    // Unconstrained: a forced pause would let the next one overtake.
    let room = unconstrained(inner.window.room(task.payload.len()));
    let (room, order) = match timeout_at(deadline, room).await {
        Ok(Some(room)) => room,
        Ok(None) => return unavailable(id, CLOSED),
        Err(_) => return unavailable(id, "the publish window stayed full"),
    };
    let claim = Arc::new(Claim::default());
    let (answer, answered) = oneshot::channel();
    let publish = Publish {
        destination,
        row: Row {
            task,
            headers,
            delay,
        },
        once: Some(inner.settings.duplicate_window).filter(|window| once && !window.is_zero()),
        claim: Arc::clone(&claim),
        answer,
        _room: room,
    };
    let command = Command::Publish(Box::new(publish));
    if inner.writer.send(command).is_err() {
        return unavailable(id, CLOSED);
    }
    drop(order);
    let problem = match timeout_at(deadline, answered).await {
        Ok(Ok(outcome)) => return outcome,
        Ok(Err(_)) => CLOSED,
        Err(_) => "the store was not writable in time",
    };
    if claim.withdraw() {
        unavailable(id, problem)
    } else {
        let problem = problem.to_owned();
        PublishOutcome::Unknown(id, Uncertainty { problem })
    }
}

fn unavailable(id: TaskId, problem: &str) -> PublishOutcome {
    let problem = problem.to_owned();
    PublishOutcome::Refused(id, Refusal::Unavailable { problem })
}

fn check(publication: &Publication, bytes_max: usize) -> Result<Option<String>, Refusal> {
    let bytes = publication.task.payload.len();
    if bytes > bytes_max {
        return Err(Refusal::PayloadTooLarge { bytes, bytes_max });
    }
    check_delay(publication)?;
    convert::headers_within_limit(&publication.task)
}

fn check_delay(publication: &Publication) -> Result<(), Refusal> {
    let refuse = |problem: String| Refusal::Property {
        property: "delay",
        problem,
    };
    match &publication.destination {
        _ if publication.delay.is_zero() => Ok(()),
        Destination::Topic(_) | Destination::Reply(_) => Err(refuse(
            "only a task for a queue can be kept back".to_owned(),
        )),
        Destination::Queue(_) if publication.delay > DELAY_MAX => Err(refuse(format!(
            "it is longer than {} seconds",
            DELAY_MAX.as_secs()
        ))),
        Destination::Queue(_) => Ok(()),
    }
}

impl Publish {
    /// Whether the caller still waits for it; from then on it cannot be withdrawn.
    pub(crate) fn take(&self) -> bool {
        self.claim.take()
    }

    pub(crate) fn id(&self) -> TaskId {
        self.row.task.id.clone()
    }

    pub(crate) fn answer(self, outcome: PublishOutcome) {
        // A caller that no longer waits needs no answer.
        let _ = self.answer.send(outcome);
    }
}

/// Stores the task in every queue behind its destination, or in none.
pub(crate) fn apply(
    batch: &mut Batch<'_>,
    queues: &mut Queues,
    publish: &Publish,
) -> rusqlite::Result<Option<Refusal>> {
    let destination = &publish.destination;
    let mut targets = match destination {
        Destination::Queue(name) => queues.find(batch.sql, name.as_str())?.into_iter().collect(),
        Destination::Topic(name) => queues.behind(batch.sql, name.as_str())?,
        Destination::Reply(name) => queues.find(batch.sql, name)?.into_iter().collect(),
    };
    let bytes = publish.row.bytes();
    if targets.is_empty() {
        let destination = destination.clone();
        return Ok(Some(Refusal::Unroutable { destination }));
    }
    if publish.once.is_some() {
        targets = unknown(batch, targets, &publish.row.task.id)?;
    }
    for queue in &targets {
        if is_full(batch, queue, bytes)? {
            let destination = destination.clone();
            return Ok(Some(Refusal::Full { destination }));
        }
    }
    for queue in &targets {
        publish.row.insert(batch, queue.id)?;
        if let Some(window) = publish.once {
            once::remember(batch, queue.id, &publish.row.task.id, window)?;
        }
    }
    Ok(None)
}

/// The queues that have not accepted this id yet.
fn unknown(batch: &Batch<'_>, targets: Vec<Queue>, id: &TaskId) -> rusqlite::Result<Vec<Queue>> {
    let mut unknown = Vec::new();
    for queue in targets {
        if !once::is_known(batch, queue.id, id)? {
            unknown.push(queue);
        }
    }
    Ok(unknown)
}

/// Whether it has no room for a task of this size.
pub(crate) fn is_full(batch: &Batch<'_>, queue: &Queue, bytes: i64) -> rusqlite::Result<bool> {
    if queue.length_max.is_none() && queue.bytes_max.is_none() {
        return Ok(false);
    }
    let (length, held): (i64, i64) = batch
        .sql
        .prepare_cached("SELECT length, bytes FROM queues WHERE id = ?1")?
        .query_row([queue.id], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let growth = batch.growth(queue.id);
    let too_long = queue
        .length_max
        .is_some_and(|most| length + growth.tasks >= most);
    let too_large = queue
        .bytes_max
        .is_some_and(|most| held + growth.bytes + bytes > most);
    Ok(too_long || too_large)
}
