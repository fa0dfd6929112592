//! How a handed-over task ends: acknowledged, retried, moved aside or given back.
//!
//! Every statement names the task and the delivery. A delivery that was superseded matches no
//! row, so a late settlement does nothing.

use crate::{
    batch::Batch,
    convert, publish,
    row::Row,
    writer::{Command, Queues},
};
use pumasi_common::{
    DeadLetter, Destination, Publication, QueueName, Settlement, Task,
    broker::{BoxFuture, SettleError, Settler},
    outcome::Outcome,
    task::TaskId,
    wire,
};
use rusqlite::{OptionalExtension, params};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::Sender,
    },
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::sync::oneshot;

/// A settlement on its way to the writer.
pub(crate) struct Settle {
    place: Place,
    delivery: i64,
    end: End,
    reply: Option<Box<Reply>>,
}

/// The outcome of a task on its way to whoever asked for it.
pub(crate) struct Reply {
    to: String,
    row: Row,
}

/// Where a held task is, and what its queue loses with it. None of it changes while it is held.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) seq: i64,
    pub(crate) consumer: i64,
    pub(crate) queue: i64,
    pub(crate) bytes: i64,
}

enum End {
    Ack,
    Release,
    /// With the headers of the dead letter.
    Dead(Option<String>),
    /// With the copy, and the queue it goes to.
    Retry(Box<(Destination, Row)>),
    /// Removed where it is still ready: nobody was handed it over.
    Remove(TaskId),
}

impl Settle {
    /// The end of a ready task that was only looked at.
    pub(crate) fn removal(place: Place, id: TaskId, reply: Option<Box<Publication>>) -> Self {
        Self {
            place,
            delivery: 0,
            end: End::Remove(id),
            reply: reply.map(|reply| Box::new(Reply::of(*reply))),
        }
    }
}

/// The deliveries that one consumer holds.
pub(crate) struct Held {
    pub(crate) queue: Arc<QueueName>,
    places: Mutex<HashMap<u64, Place>>,
    live: AtomicBool,
    writer: Sender<Command>,
}

impl Held {
    pub(crate) fn new(queue: Arc<QueueName>, writer: Sender<Command>) -> Self {
        Self {
            queue,
            places: Mutex::default(),
            live: AtomicBool::new(false),
            writer,
        }
    }

    pub(crate) fn add(&self, token: u64, place: Place) {
        self.places().insert(token, place);
    }

    /// All are superseded: they went back to the store.
    pub(crate) fn supersede(&self) -> usize {
        let mut places = self.places();
        let count = places.len();
        places.clear();
        count
    }

    pub(crate) fn set_live(&self, live: bool) {
        self.live.store(live, Ordering::Release);
    }

    pub(crate) fn is_live(&self) -> bool {
        self.live.load(Ordering::Acquire)
    }

    fn places(&self) -> MutexGuard<'_, HashMap<u64, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Settler for Held {
    fn settle(
        &self,
        token: u64,
        task: &Arc<Task>,
        settlement: Settlement,
        reply: Option<Box<Publication>>,
    ) -> Result<(), SettleError> {
        let place = self
            .places()
            .remove(&token)
            .ok_or(SettleError::Superseded)?;
        let end = match settlement {
            Settlement::Ack => End::Ack,
            Settlement::Release => End::Release,
            Settlement::Retry(copy) => {
                let destination = copy.destination.clone();
                End::Retry(Box::new((destination, Row::of(*copy))))
            }
            Settlement::DeadLetter(letter) => {
                End::Dead(dead_headers(Task::clone(task), &self.queue, &letter))
            }
        };
        let settle = Settle {
            place,
            delivery: convert::signed(token),
            end,
            reply: reply.map(|reply| Box::new(Reply::of(*reply))),
        };
        self.writer
            .send(Command::Settle(settle))
            .map_err(|_| SettleError::Superseded)
    }

    fn is_current(&self, token: u64) -> bool {
        self.places().contains_key(&token)
    }

    fn flush(&self) -> BoxFuture<'static, ()> {
        flush(&self.writer)
    }
}

/// Resolves when the writer has written, or refused, everything that it was given before.
pub(crate) fn flush(writer: &Sender<Command>) -> BoxFuture<'static, ()> {
    let (done, written) = oneshot::channel();
    let asked = Command::callback(move || {
        // Whoever waited may have gone.
        let _ = done.send(());
    });
    let asked = writer.send(asked).is_ok();
    Box::pin(async move {
        if asked {
            // A writer that is gone, or refused it, has nothing more to write.
            let _ = written.await;
        }
    })
}

/// What whoever asked for a dead task hears of it.
pub(crate) fn dead_outcome(letter: &DeadLetter) -> Outcome {
    Outcome::Dead {
        reason: Some(letter.reason),
        error: letter.error.clone(),
    }
}

/// The headers of a dead letter.
pub(crate) fn dead_headers(
    mut task: Task,
    queue: &QueueName,
    letter: &DeadLetter,
) -> Option<String> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    wire::mark_dead(&mut task, queue, letter, now);
    // What could be stored once can be stored again.
    convert::headers_text(&task).ok().flatten()
}

/// Does what a settlement says; says whether the delivery was still current.
pub(crate) fn apply(
    batch: &mut Batch<'_>,
    queues: &mut Queues,
    settle: &Settle,
) -> rusqlite::Result<bool> {
    let Settle {
        place,
        delivery,
        end,
        reply,
    } = settle;
    let Place { seq, consumer, .. } = place;
    let queue: Option<i64> = match end {
        End::Ack => {
            // RETURNING would fill a table for each task, to say what the place knows.
            let gone = batch
                .sql
                .prepare_cached("DELETE FROM tasks WHERE seq = ?1 AND delivery = ?2")?
                .execute([seq, delivery])?
                > 0;
            if gone {
                batch.grow(place.queue, -1, -place.bytes);
            }
            gone.then_some(place.queue)
        }
        End::Release => batch
            .sql
            .prepare_cached(
                "UPDATE tasks SET consumer = 0, delivery = 0, redelivered = 1 \
                 WHERE seq = ?1 AND delivery = ?2 RETURNING queue_id",
            )?
            .query_row([seq, delivery], |row| row.get(0))
            .optional()?,
        End::Dead(headers) => move_aside(batch, *seq, *delivery, headers.as_deref())?,
        End::Retry(copy) => {
            let (destination, copy) = &**copy;
            let target = retry_queue(batch, queues, place, destination)?;
            let replaced = copy.replace(batch, (*seq, *delivery), target)?;
            if replaced {
                batch.grow(place.queue, -1, -place.bytes);
                batch.grow(target, 1, copy.bytes());
            }
            replaced.then_some(place.queue)
        }
        End::Remove(id) => {
            // A row of that number may be another task's by now.
            let gone = batch
                .sql
                .prepare_cached(
                    "DELETE FROM tasks WHERE seq = ?1 AND id = ?2 AND queue_id = ?3 AND consumer = 0",
                )?
                .execute(params![seq, id.as_str(), place.queue])?
                > 0;
            if gone {
                batch.grow(place.queue, -1, -place.bytes);
            }
            gone.then_some(place.queue)
        }
    };
    if let Some(queue) = queue {
        if *consumer > 0 {
            batch.free(*consumer);
            batch.touch(queue);
        }
        if let Some(reply) = reply {
            reply.store(batch, queues)?;
        }
    }
    Ok(queue.is_some())
}

/// The queue that a retried task goes to: its own where there is no other, or the other is not
/// there. A task is never lost for want of a queue.
fn retry_queue(
    batch: &Batch<'_>,
    queues: &mut Queues,
    place: &Place,
    destination: &Destination,
) -> rusqlite::Result<i64> {
    let found = match destination {
        Destination::Queue(name) => queues.find(batch.sql, name.as_str())?,
        Destination::Topic(_) | Destination::Reply(_) => None,
    };
    if found.is_none() {
        tracing::warn!(%destination, "no such queue for a task to be retried in; it stays in its own");
    }
    Ok(found.map_or(place.queue, |queue| queue.id))
}

impl Reply {
    /// What is to be published. Only a queue takes it.
    pub(crate) fn of(publication: Publication) -> Self {
        let to = match &publication.destination {
            Destination::Queue(name) => name.as_str().to_owned(),
            Destination::Topic(name) => name.as_str().to_owned(),
            Destination::Reply(name) => name.clone(),
        };
        Self {
            to,
            row: Row::of(publication),
        }
    }

    /// Stores it; whoever is no longer there, or takes no more, is not missed.
    pub(crate) fn store(&self, batch: &mut Batch<'_>, queues: &mut Queues) -> rusqlite::Result<()> {
        match queues.find(batch.sql, &self.to)? {
            Some(queue) if !publish::is_full(batch, &queue, self.row.bytes())? => {
                self.row.insert(batch, queue.id)
            }
            Some(_) | None => {
                tracing::debug!("outcome dropped: its queue is not there or full");
                Ok(())
            }
        }
    }
}

/// Moves a held task to its queue's dead letters; gives the queue it left.
pub(crate) fn move_aside(
    batch: &mut Batch<'_>,
    seq: i64,
    delivery: i64,
    headers: Option<&str>,
) -> rusqlite::Result<Option<i64>> {
    let found: Option<(i64, i64, Option<i64>)> = batch
        .sql
        .prepare_cached(
            "SELECT t.queue_id, t.bytes, d.id FROM tasks t \
             JOIN queues q ON q.id = t.queue_id LEFT JOIN queues d ON d.name = q.dead_letter \
             WHERE t.seq = ?1 AND t.delivery = ?2",
        )?
        .query_row([seq, delivery], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    let Some((queue, bytes, dead)) = found else {
        return Ok(None);
    };
    // A dead letter waits for a person, however long that takes.
    // A queue without dead letters (dead letters themselves) keeps the task, marked.
    let target = dead.unwrap_or(queue);
    batch
        .sql
        .prepare_cached(
            "UPDATE tasks SET queue_id = ?2, headers = ?3, consumer = 0, delivery = 0, \
             delivery_count = 0, redelivered = 0, expires_ms = NULL, expires_at = NULL WHERE seq = ?1",
        )?
        .execute(params![seq, target, headers])?;
    if target != queue {
        batch.grow(queue, -1, -bytes);
        batch.grow(target, 1, bytes);
    }
    batch.touch(target);
    Ok(Some(queue))
}
