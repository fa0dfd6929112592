//! A task's row: written new, or over the one that it replaces.

use crate::{
    batch::Batch,
    convert::{self, signed},
};
use pumasi_common::{Publication, Task, TaskKind};
use rusqlite::{ToSql, params};
use std::time::Duration;

/// The longest delay: about 136 years.
pub(crate) const DELAY_MAX: Duration = Duration::from_secs(1 << 32);
/// What counts as the priority of a task that names none.
const PRIORITY_DEFAULT: u8 = 4;
/// The highest priority; a higher one counts as this.
const PRIORITY_MAX: u8 = 9;

/// `consumer` of a task that is ready.
const READY: i64 = 0;
/// `consumer` of a task that is kept back.
const DELAYED: i64 = -1;

/// A task as it is stored.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) task: Task,
    /// As encoded; nothing where there are none.
    pub(crate) headers: Option<String>,
    pub(crate) delay: Duration,
}

/// When a task becomes ready and when it expires, by the clock of this moment.
struct Times {
    consumer: i64,
    ready_at: Option<i64>,
    expires_at: Option<i64>,
}

impl Row {
    /// What a worker publishes: it could be stored once, so it can be stored again.
    pub(crate) fn of(publication: Publication) -> Self {
        Self {
            headers: convert::headers_text(&publication.task).ok().flatten(),
            task: publication.task,
            delay: publication.delay.min(DELAY_MAX),
        }
    }

    /// What a queue grows by with it.
    pub(crate) fn bytes(&self) -> i64 {
        signed(self.task.payload.len())
    }

    /// Stores it in a queue.
    pub(crate) fn insert(&self, batch: &mut Batch<'_>, queue: i64) -> rusqlite::Result<()> {
        let times = self.times();
        let task = &self.task;
        batch
            .sql
            .prepare_cached(
                "INSERT INTO tasks (queue_id, consumer, bytes, ready_at, rank, expires_at, id, \
                 kind, content_type, priority, submitted_at, expires_ms, submitter, reply_to, \
                 correlation_id, headers, payload) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
            )?
            .execute(params![
                queue,
                times.consumer,
                self.bytes(),
                times.ready_at,
                rank(task.priority),
                times.expires_at,
                task.id.as_str(),
                task.kind.as_ref().map(TaskKind::as_str),
                task.content_type,
                task.priority,
                task.submitted_at.map(signed),
                task.expires_after.map(|after| signed(after.as_millis())),
                task.submitter,
                task.reply_to,
                task.correlation_id,
                self.headers,
                task.payload.as_ref(),
            ])?;
        batch.grow(queue, 1, self.bytes());
        batch.ready(queue, times.ready_at);
        Ok(())
    }

    /// Stores it over the task that is handed over as this delivery, in a queue; says whether
    /// that was still current. What the queues lose and gain is the caller's.
    pub(crate) fn replace(
        &self,
        batch: &mut Batch<'_>,
        (seq, delivery): (i64, i64),
        queue: i64,
    ) -> rusqlite::Result<bool> {
        let times = self.times();
        let task = &self.task;
        let bytes = self.bytes();
        let rank = rank(task.priority);
        let kind = task.kind.as_ref().map(TaskKind::as_str);
        let submitted_at = task.submitted_at.map(signed);
        let expires_ms = task.expires_after.map(|after| signed(after.as_millis()));
        let payload = task.payload.as_ref();
        let id = task.id.as_str();
        let values: [&dyn ToSql; 19] = [
            &seq,
            &delivery,
            &queue,
            &times.consumer,
            &bytes,
            &times.ready_at,
            &rank,
            &times.expires_at,
            &id,
            &kind,
            &task.content_type,
            &task.priority,
            &submitted_at,
            &expires_ms,
            &task.submitter,
            &task.reply_to,
            &task.correlation_id,
            &self.headers,
            &payload,
        ];
        let replaced = batch
            .sql
            .prepare_cached(
                "UPDATE tasks SET delivery = 0, delivery_count = 0, redelivered = 0, \
                 queue_id = ?3, consumer = ?4, bytes = ?5, ready_at = ?6, rank = ?7, \
                 expires_at = ?8, id = ?9, kind = ?10, content_type = ?11, priority = ?12, \
                 submitted_at = ?13, expires_ms = ?14, submitter = ?15, reply_to = ?16, \
                 correlation_id = ?17, headers = ?18, payload = ?19 \
                 WHERE seq = ?1 AND delivery = ?2",
            )?
            .execute(values)?
            > 0;
        if replaced {
            batch.ready(queue, times.ready_at);
        }
        Ok(replaced)
    }

    fn times(&self) -> Times {
        let mut times = Times {
            consumer: READY,
            ready_at: None,
            expires_at: self.task.not_after_ms.map(signed),
        };
        if self.delay.is_zero() && self.task.expires_after.is_none() {
            return times;
        }
        let mut ready = convert::since_1970();
        if !self.delay.is_zero() {
            ready = ready.saturating_add(self.delay);
            times.consumer = DELAYED;
            // Rounded up, so that it is never early.
            times.ready_at = Some(signed(ready.as_nanos().div_ceil(1_000_000)));
        }
        if let Some(after) = self.task.expires_after {
            // Counted from when it is ready.
            let at = signed(ready.saturating_add(after).as_millis());
            times.expires_at = Some(times.expires_at.map_or(at, |other| other.min(at)));
        }
        times
    }
}

/// The place in a queue: 0 comes first.
fn rank(priority: Option<u8>) -> u8 {
    PRIORITY_MAX - priority.unwrap_or(PRIORITY_DEFAULT).min(PRIORITY_MAX)
}
