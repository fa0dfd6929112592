//! What operators ask of workers: pauses are a mark on the queue, cancellations and drains entries
//! in a log.
//!
//! Whoever listens is woken through the pipe of its process, and then reads what is new: the marks
//! are compared with what was told, so a pause is never missed, whatever the log has forgotten.

use crate::{
    Inner,
    batch::Batch,
    consume,
    convert::signed,
    delay::now_ms,
    peers::Presence,
    reader::{self, Ask},
};
use futures_util::stream;
use pumasi_common::{
    QueueName, TaskId,
    broker::{BoxStream, ConsumeError, Control, Pause},
};
use rusqlite::{Connection, Row, params};
use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, mpsc::Sender},
    time::Duration,
};
use tokio::{sync::watch, time::sleep};

/// How long a cancellation is told to those who come later.
const CANCEL_KEPT: Duration = Duration::from_secs(24 * 3600);
/// Most entries kept; also the most that who comes later is told at once.
const ENTRIES_MAX: i64 = 10_000;
/// Most old entries forgotten with each new one.
const FORGOTTEN_MAX: i64 = 10;
/// Most entries read at once by who listens already.
const PAGE: i64 = 1_000;
/// The wait after a read that failed.
const RETRY_AFTER: Duration = Duration::from_millis(250);

const CANCEL: &str = "cancel";
const DRAIN: &str = "drain";

/// What is asked, as an entry.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Entry<'a> {
    Cancel(&'a TaskId),
    Drain(&'a str),
}

/// Writes an entry and forgets a few old ones.
pub(crate) fn write(batch: &mut Batch<'_>, entry: Entry<'_>) -> rusqlite::Result<()> {
    let (what, subject) = match entry {
        Entry::Cancel(id) => (CANCEL, id.as_str()),
        Entry::Drain(worker) => (DRAIN, worker),
    };
    let now = now_ms();
    batch
        .sql
        .prepare_cached("INSERT INTO controls (what, subject, at_ms) VALUES (?1, ?2, ?3)")?
        .execute(params![what, subject, now])?;
    let number = batch.sql.last_insert_rowid();
    batch
        .sql
        .prepare_cached(
            "DELETE FROM controls WHERE at_ms < ?1 AND number IN \
             (SELECT number FROM controls ORDER BY number LIMIT ?2)",
        )?
        .execute([now - kept_ms(), FORGOTTEN_MAX])?;
    batch
        .sql
        .prepare_cached("DELETE FROM controls WHERE number <= ?1")?
        .execute([number - ENTRIES_MAX])?;
    batch.control();
    Ok(())
}

/// Marks a queue; false where there is no such queue.
pub(crate) fn mark(batch: &mut Batch<'_>, queue: &str, pause: Pause) -> rusqlite::Result<bool> {
    let found = batch
        .sql
        .prepare_cached("UPDATE queues SET paused = ?2 WHERE name = ?1")?
        .execute(params![queue, pause == Pause::On])?
        > 0;
    batch.control();
    Ok(found)
}

fn kept_ms() -> i64 {
    signed(CANCEL_KEPT.as_millis())
}

/// Who listens for some queues.
struct Listener {
    queues: BTreeSet<QueueName>,
    reader: Sender<Ask>,
    changes: watch::Receiver<u64>,
    /// Those told to be paused and not told to be resumed.
    paused: BTreeSet<QueueName>,
    /// The last entry told; nothing before the first look.
    last: Option<i64>,
    pending: VecDeque<Control>,
    /// Without it nobody could wake us.
    _presence: Arc<Presence>,
}

/// What is in force first, then what changes.
pub(crate) async fn listen(
    inner: &Inner,
    queues: Vec<QueueName>,
) -> Result<BoxStream<Control>, ConsumeError> {
    let presence = consume::presence(inner, &QueueName::control())?;
    let mut listener = Listener {
        queues: queues.into_iter().collect(),
        reader: inner.reader.clone(),
        changes: inner.changes.clone(),
        paused: BTreeSet::new(),
        last: None,
        pending: VecDeque::new(),
        _presence: presence,
    };
    listener.changes.mark_unchanged();
    listener
        .look()
        .await
        .map_err(|problem| ConsumeError::Failed {
            queue: QueueName::control(),
            problem,
            source: None,
        })?;
    Ok(Box::pin(stream::unfold(listener, Listener::next)))
}

impl Listener {
    async fn next(mut self) -> Option<(Control, Self)> {
        loop {
            if let Some(control) = self.pending.pop_front() {
                return Some((control, self));
            }
            self.changes.changed().await.ok()?;
            while let Err(error) = self.look().await {
                tracing::debug!(error, "control not readable");
                sleep(RETRY_AFTER).await;
                // The reader holds the other end.
                self.changes.has_changed().ok()?;
            }
        }
    }

    async fn look(&mut self) -> Result<(), String> {
        let last = self.last;
        let seen = reader::read(&self.reader, move |sql| seen(sql, last)).await?;
        self.tell(seen);
        Ok(())
    }

    fn tell(&mut self, seen: Seen) {
        let mut paused = seen.paused;
        paused.retain(|queue| self.queues.contains(queue));
        let resumed = self.paused.difference(&paused).cloned();
        self.pending.extend(resumed.map(Control::Resume));
        let new = paused.difference(&self.paused).cloned();
        self.pending.extend(new.map(Control::Pause));
        self.paused = paused;
        self.pending.extend(seen.entries);
        self.last = Some(seen.last);
        if seen.more {
            self.changes.mark_changed();
        }
    }
}

struct Seen {
    paused: BTreeSet<QueueName>,
    entries: Vec<Control>,
    last: i64,
    more: bool,
}

/// Reads the marks, and the entries after this one; before the first look the cancellations
/// that are in force. A drain is not for those who come later.
fn seen(sql: &Connection, last: Option<i64>) -> rusqlite::Result<Seen> {
    let newest: i64 = sql
        .prepare_cached("SELECT coalesce(max(number), 0) FROM controls")?
        .query_row([], |row| row.get(0))?;
    let read: Vec<(i64, Option<Control>)> = match last {
        None => sql
            .prepare_cached(
                "SELECT number, what, subject, at_ms FROM (SELECT * FROM controls \
                 WHERE what = 'cancel' AND at_ms >= ?1 ORDER BY number DESC LIMIT ?2) \
                 ORDER BY number",
            )?
            .query_map([now_ms() - kept_ms(), ENTRIES_MAX], entry)?
            .collect::<Result<_, _>>()?,
        Some(last) => sql
            .prepare_cached(
                "SELECT number, what, subject, at_ms FROM controls \
                 WHERE number > ?1 ORDER BY number LIMIT ?2",
            )?
            .query_map([last, PAGE], entry)?
            .collect::<Result<_, _>>()?,
    };
    let names: Vec<String> = sql
        .prepare_cached("SELECT name FROM queues WHERE paused <> 0")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let read_to = read.last().map_or(0, |(number, _)| *number);
    Ok(Seen {
        paused: names
            .iter()
            .filter_map(|name| QueueName::new(name).ok())
            .collect(),
        more: last.is_some() && signed(read.len()) >= PAGE,
        last: match last {
            None => newest.max(read_to),
            Some(last) => last.max(read_to),
        },
        entries: read
            .into_iter()
            .filter_map(|(_, control)| control)
            .collect(),
    })
}

/// Nothing for an entry that a later version wrote.
fn entry(row: &Row<'_>) -> rusqlite::Result<(i64, Option<Control>)> {
    let what: String = row.get(1)?;
    let subject: String = row.get(2)?;
    let at_ms: i64 = row.get(3)?;
    let control = match what.as_str() {
        CANCEL => TaskId::new(&subject).ok().map(|id| Control::Cancel {
            id,
            at_ms: u64::try_from(at_ms).unwrap_or_default(),
        }),
        DRAIN => Some(Control::Drain(subject)),
        _ => None,
    };
    Ok((row.get(0)?, control))
}
