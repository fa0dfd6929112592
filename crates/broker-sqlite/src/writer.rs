//! The writer: one thread that commits everything of one moment together.
//!
//! It waits for a first command, then for its turn to write, and takes everything that has
//! gathered meanwhile. One transaction, one sync, then all are answered.

mod command;
mod queues;

pub(crate) use command::{Applied, Command, Register, Registered};
pub(crate) use queues::{Queue, Queues};

use crate::{
    batch::{Batch, News},
    delay::{self, Due},
    error::Failure,
    peers::{self, Signal, Wakers},
    reader::Ask,
    store::{Gate, Paths},
};
use pumasi_common::broker::Health;
use rusqlite::Connection;
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::Duration,
};

/// Most commands in one transaction.
const BATCH_MAX: usize = 1_000;
/// How long settlements that could not be written wait before they are tried again.
const RETRY_AFTER: Duration = Duration::from_millis(250);

/// What the writer thread works with.
pub(crate) struct Writer {
    sql: Connection,
    gate: Gate,
    paths: Paths,
    inbox: Receiver<Command>,
    again: Vec<Command>,
    reader: Sender<Ask>,
    wakers: Wakers,
    queues: Queues,
    /// The consumers of this process: from their key to their row.
    rows: HashMap<u64, i64>,
    due: Due,
    /// Whether the last transaction came to nothing: what is due is not tried again at once.
    failed: bool,
    health: Arc<Mutex<Health>>,
}

impl Writer {
    pub(crate) fn new(sql: Connection, gate: Gate, paths: &Paths, ends: Ends) -> Self {
        Self {
            sql,
            gate,
            paths: paths.clone(),
            inbox: ends.inbox,
            again: Vec::new(),
            reader: ends.reader,
            wakers: Wakers::new(paths),
            queues: Queues::default(),
            rows: HashMap::new(),
            due: Due::default(),
            failed: false,
            health: ends.health,
        }
    }

    /// Starts the thread.
    pub(crate) fn start(mut self) -> std::io::Result<()> {
        thread::Builder::new()
            .name("pumasi-writer".to_owned())
            .spawn(move || {
                while self.round() {}
                self.end();
            })
            .map(drop)
    }

    /// One transaction; false when it was the last.
    fn round(&mut self) -> bool {
        let first = match self.wait() {
            Ok(Some(Command::Look)) => {
                self.due.forget();
                return true;
            }
            Ok(first) => first,
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return false,
        };
        let entered = match self.gate.enter() {
            Ok(entered) => Some(entered),
            Err(error) => {
                tracing::debug!(%error, "store gate not available");
                None
            }
        };
        let mut commands = std::mem::take(&mut self.again);
        commands.extend(first);
        while commands.len() < BATCH_MAX
            && let Ok(command) = self.inbox.try_recv()
        {
            if matches!(command, Command::Look) {
                self.due.forget();
            } else {
                commands.push(command);
            }
        }
        commands.retain(Command::take);
        let due = !self.rows.is_empty() && is_due(&mut self.due, &self.sql);
        let closing = commands.iter().any(|c| matches!(c, Command::Close(_)));
        let mut context = Context {
            queues: &mut self.queues,
            rows: &self.rows,
            fresh: HashMap::new(),
            peers: &self.paths.peers,
            due,
        };
        let written = write(&self.sql, &mut context, &mut commands);
        drop(entered);
        match written {
            Ok((applied, news)) => self.answer(commands, applied, &news),
            Err(failure) => self.refuse(commands, &failure),
        }
        !closing
    }

    /// Waits for a command: until something is to be tried again, or a task is due.
    fn wait(&mut self) -> Result<Option<Command>, RecvTimeoutError> {
        let limit = if self.failed || !self.again.is_empty() {
            Some(RETRY_AFTER)
        } else {
            self.until_due()
        };
        let command = match limit {
            Some(limit) => self.inbox.recv_timeout(limit)?,
            None => self
                .inbox
                .recv()
                .map_err(|_| RecvTimeoutError::Disconnected)?,
        };
        Ok(Some(command))
    }

    /// How long until a task that is kept back is due; no matter where nobody consumes here.
    fn until_due(&mut self) -> Option<Duration> {
        if self.rows.is_empty() {
            return None;
        }
        self.due.wait(&self.sql).unwrap_or_else(|error| {
            tracing::debug!(%error, "store not readable");
            Some(RETRY_AFTER)
        })
    }

    fn answer(&mut self, commands: Vec<Command>, applied: Vec<Applied>, news: &News) {
        self.note(Health::Up);
        self.failed = false;
        // Who has no consumer yet does not follow what is kept back.
        if news.delayed || news.made_ready || self.rows.is_empty() {
            self.due.forget();
        }
        for (command, applied) in commands.into_iter().zip(applied) {
            command.answer(applied, &mut self.rows, &self.reader);
        }
        if news.sooner {
            self.wakers.wake_all(Signal::Delayed);
        }
        if news.controls {
            self.wakers.wake_all(Signal::Control);
        }
        let mut ours = false;
        let mut theirs: Vec<&str> = Vec::new();
        for (consumer, instance) in &news.assigned {
            if self.rows.values().any(|row| row == consumer) {
                ours = true;
            } else if !theirs.contains(&instance.as_str()) {
                theirs.push(instance);
            }
        }
        for instance in theirs {
            self.wakers.wake(instance, Signal::Assigned);
        }
        if ours {
            // A reader that is gone needs no waking.
            let _ = self.reader.send(Ask::Refresh);
        }
    }

    fn refuse(&mut self, commands: Vec<Command>, failure: &Failure) {
        tracing::debug!(error = failure.text(), "transaction failed");
        self.note(match failure {
            Failure::Full(text) => Health::Blocked(text.clone()),
            Failure::Failed(text) | Failure::Unknown(text) => Health::Down(text.clone()),
        });
        self.failed = true;
        // It may know queues that were rolled back.
        self.queues = Queues::default();
        for command in commands {
            self.again.extend(command.refuse(failure, &self.reader));
        }
    }

    fn note(&self, health: Health) {
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = health;
    }

    fn end(self) {
        let _ = self.reader.send(Ask::Stop);
        let checkpoint = self
            .sql
            .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        if let Err(error) = checkpoint {
            tracing::debug!(%error, "store not checkpointed");
        }
    }
}

/// The ends of the channels that a writer holds.
pub(crate) struct Ends {
    pub(crate) inbox: Receiver<Command>,
    pub(crate) reader: Sender<Ask>,
    pub(crate) health: Arc<Mutex<Health>>,
}

/// What applying a command may look at besides the transaction.
pub(crate) struct Context<'a> {
    pub(crate) queues: &'a mut Queues,
    rows: &'a HashMap<u64, i64>,
    /// Rows made in this transaction.
    pub(crate) fresh: HashMap<u64, i64>,
    pub(crate) peers: &'a std::path::Path,
    /// Whether a task that was kept back is due.
    due: bool,
}

impl Context<'_> {
    /// The row of a consumer of this process.
    pub(crate) fn row(&self, key: u64) -> Option<i64> {
        self.fresh
            .get(&key)
            .or_else(|| self.rows.get(&key))
            .copied()
    }

    /// The rows of all consumers of this process.
    pub(crate) fn all_rows(&self) -> Vec<i64> {
        self.rows
            .values()
            .chain(self.fresh.values())
            .copied()
            .collect()
    }

    /// Whether the instance has a living process.
    pub(crate) fn is_alive(&self, instance: &str) -> bool {
        peers::is_alive(self.peers, instance)
    }
}

fn is_due(due: &mut Due, sql: &Connection) -> bool {
    due.is_now(sql).unwrap_or_else(|error| {
        tracing::debug!(%error, "store not readable");
        false
    })
}

type Written = (Vec<Applied>, News);

fn write(
    sql: &Connection,
    context: &mut Context<'_>,
    commands: &mut [Command],
) -> Result<Written, Failure> {
    if commands.is_empty() && !context.due {
        return Ok((Vec::new(), News::default()));
    }
    let filled = fill(sql, context, commands).map_err(|error| Failure::before_commit(&error));
    let committed = filled.and_then(|written| {
        sql.prepare_cached("COMMIT")
            .and_then(|mut commit| commit.execute([]))
            .map(|_| written)
            .map_err(|error| Failure::of_commit(&error))
    });
    if committed.is_err()
        && !sql.is_autocommit()
        && let Err(error) = sql.execute_batch("ROLLBACK")
    {
        tracing::debug!(%error, "transaction not rolled back");
    }
    committed
}

fn fill(
    sql: &Connection,
    context: &mut Context<'_>,
    commands: &mut [Command],
) -> rusqlite::Result<Written> {
    let mut batch = Batch::begin(sql)?;
    let applied = commands
        .iter_mut()
        .map(|command| command.apply(&mut batch, context))
        .collect::<Result<_, _>>()?;
    if context.due {
        delay::make_ready(&mut batch)?;
    }
    let mut news = batch.finish()?;
    news.made_ready = context.due;
    Ok((applied, news))
}
