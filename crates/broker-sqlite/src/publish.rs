//! Publishing: the checks before, the window, the row, the deadline.

use crate::{
    Inner,
    batch::Batch,
    convert::{self, signed},
    writer::{Command, Queue, Queues},
};
use pumasi_common::{
    Destination, Publication, PublishOutcome, Refusal, Task, broker::Uncertainty,
    connection::ConnectionSettings, task::TaskId,
};
use rusqlite::params;
use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
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
    task: Task,
    headers: Option<String>,
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
    let Publication {
        destination, task, ..
    } = publication;
    let id = task.id.clone();
    let headers = match check(&task, inner.settings.payload_bytes_max) {
        Ok(headers) => headers,
        Err(refusal) => return PublishOutcome::Refused(id, refusal),
    };
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
        task,
        headers,
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

fn check(task: &Task, bytes_max: usize) -> Result<Option<String>, Refusal> {
    let bytes = task.payload.len();
    if bytes > bytes_max {
        return Err(Refusal::PayloadTooLarge { bytes, bytes_max });
    }
    convert::headers_within_limit(task)
}

impl Publish {
    /// Whether the caller still waits for it; from then on it cannot be withdrawn.
    pub(crate) fn take(&self) -> bool {
        self.claim.take()
    }

    pub(crate) fn id(&self) -> TaskId {
        self.task.id.clone()
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
    let targets = match destination {
        Destination::Queue(name) => queues.find(batch.sql, name.as_str())?.into_iter().collect(),
        Destination::Topic(name) => queues.behind(batch.sql, name.as_str())?,
        Destination::Reply(name) => queues.find(batch.sql, name)?.into_iter().collect(),
    };
    let bytes = signed(publish.task.payload.len());
    if targets.is_empty() {
        let destination = destination.clone();
        return Ok(Some(Refusal::Unroutable { destination }));
    }
    for queue in &targets {
        if is_full(batch, queue, bytes)? {
            let destination = destination.clone();
            return Ok(Some(Refusal::Full { destination }));
        }
    }
    for queue in &targets {
        insert(batch, queue.id, publish)?;
        batch.grow(queue.id, 1, bytes);
        batch.touch(queue.id);
    }
    Ok(None)
}

fn is_full(batch: &Batch<'_>, queue: &Queue, bytes: i64) -> rusqlite::Result<bool> {
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

fn insert(batch: &Batch<'_>, queue: i64, publish: &Publish) -> rusqlite::Result<()> {
    let task = &publish.task;
    batch
        .sql
        .prepare_cached(
            "INSERT INTO tasks (queue_id, bytes, id, kind, content_type, priority, submitted_at, \
             expires_ms, submitter, reply_to, correlation_id, headers, payload, expires_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        )?
        .execute(params![
            queue,
            signed(task.payload.len()),
            task.id.as_str(),
            task.kind.as_ref().map(pumasi_common::TaskKind::as_str),
            task.content_type,
            task.priority,
            task.submitted_at.map(signed),
            task.expires_after.map(|after| signed(after.as_millis())),
            task.submitter,
            task.reply_to,
            task.correlation_id,
            publish.headers,
            task.payload.as_ref(),
            task.expires_after
                .map(|after| signed(convert::since_1970().saturating_add(after).as_millis())),
        ])?;
    Ok(())
}
