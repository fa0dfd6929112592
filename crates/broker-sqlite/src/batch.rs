//! One write transaction while it is being filled: what it changes besides the tasks themselves.

use crate::{delay, dispatch};
use rusqlite::{Connection, params};
use std::collections::{BTreeMap, BTreeSet};

/// One write transaction.
///
/// Counts are gathered in memory and written once, at the end, by [`Batch::finish`], which also
/// assigns ready tasks in every queue where something changed.
pub(crate) struct Batch<'c> {
    /// The connection, inside the transaction.
    pub(crate) sql: &'c Connection,
    clock: i64,
    clock_stored: i64,
    grown: BTreeMap<i64, Growth>,
    freed: BTreeMap<i64, i64>,
    dirty: BTreeSet<i64>,
    assigned: BTreeMap<i64, String>,
    /// When the earliest task that is kept back from now on is due.
    delayed: Option<i64>,
    controls: bool,
}

/// What others have to hear of a transaction, once it is committed.
#[derive(Default)]
pub(crate) struct News {
    /// The consumers that got something, and their instances.
    pub(crate) assigned: BTreeMap<i64, String>,
    /// Whether a task was kept back.
    pub(crate) delayed: bool,
    /// Whether that one is due before all others.
    pub(crate) sooner: bool,
    /// Whether what was due was made ready.
    pub(crate) made_ready: bool,
    /// Whether operators asked something of workers.
    pub(crate) controls: bool,
}

/// By how much a queue has grown.
#[derive(Clone, Copy, Default)]
pub(crate) struct Growth {
    pub(crate) tasks: i64,
    pub(crate) bytes: i64,
}

impl<'c> Batch<'c> {
    /// Begins the transaction.
    pub(crate) fn begin(sql: &'c Connection) -> rusqlite::Result<Self> {
        sql.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let clock = sql
            .prepare_cached("SELECT last FROM clock WHERE one = 1")?
            .query_row([], |row| row.get(0))?;
        Ok(Self {
            sql,
            clock,
            clock_stored: clock,
            grown: BTreeMap::new(),
            freed: BTreeMap::new(),
            dirty: BTreeSet::new(),
            assigned: BTreeMap::new(),
            delayed: None,
            controls: false,
        })
    }

    /// The next number of the store's clock: never given twice.
    pub(crate) fn tick(&mut self) -> i64 {
        self.clock += 1;
        self.clock
    }

    /// A first number such that it and all up to `span` above it were never given and never will
    /// be again.
    pub(crate) fn ticks(&mut self, span: i64) -> i64 {
        let first = self.clock + 1;
        self.clock += 1 + span;
        first
    }

    /// Notes that a queue holds more (or fewer) tasks and bytes.
    pub(crate) fn grow(&mut self, queue: i64, tasks: i64, bytes: i64) {
        let growth = self.grown.entry(queue).or_default();
        growth.tasks += tasks;
        growth.bytes += bytes;
    }

    /// What was noted for a queue so far.
    pub(crate) fn growth(&self, queue: i64) -> Growth {
        self.grown.get(&queue).copied().unwrap_or_default()
    }

    /// Notes that a consumer holds one task fewer.
    pub(crate) fn free(&mut self, consumer: i64) {
        *self.freed.entry(consumer).or_default() += 1;
    }

    /// Has ready tasks of the queue assigned at the end.
    pub(crate) fn touch(&mut self, queue: i64) {
        self.dirty.insert(queue);
    }

    /// Notes that a queue has one more task, kept back until a time where there is one.
    pub(crate) fn ready(&mut self, queue: i64, at: Option<i64>) {
        match at {
            None => self.touch(queue),
            Some(at) => {
                self.delayed = Some(self.delayed.map_or(at, |earliest| earliest.min(at)));
            }
        }
    }

    /// Notes that something was asked of workers.
    pub(crate) fn control(&mut self) {
        self.controls = true;
    }

    /// Notes that a consumer got a task.
    pub(crate) fn assigned(&mut self, consumer: i64, instance: &str) {
        self.assigned
            .entry(consumer)
            .or_insert_with(|| instance.to_owned());
    }

    /// Assigns and writes what was gathered. The commit is the caller's.
    pub(crate) fn finish(mut self) -> rusqlite::Result<News> {
        for (consumer, freed) in &self.freed {
            self.sql
                .prepare_cached(
                    "UPDATE consumers SET free = min(free + ?2, prefetch) WHERE id = ?1",
                )?
                .execute(params![consumer, freed])?;
        }
        for queue in std::mem::take(&mut self.dirty) {
            dispatch::assign(&mut self, queue)?;
        }
        for (queue, growth) in &self.grown {
            self.sql
                .prepare_cached(
                    "UPDATE queues SET length = length + ?2, bytes = bytes + ?3 WHERE id = ?1",
                )?
                .execute(params![queue, growth.tasks, growth.bytes])?;
        }
        if self.clock != self.clock_stored {
            self.sql
                .prepare_cached("UPDATE clock SET last = ?1 WHERE one = 1")?
                .execute([self.clock])?;
        }
        let sooner = self.delayed.is_some() && self.delayed == delay::earliest(self.sql)?;
        Ok(News {
            assigned: self.assigned,
            delayed: self.delayed.is_some(),
            sooner,
            made_ready: false,
            controls: self.controls,
        })
    }
}
