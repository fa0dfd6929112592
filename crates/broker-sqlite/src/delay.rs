//! Tasks that are kept back: when the next one is due, and making it ready.
//!
//! When a task is due is in the file, and in no process's memory. Whoever has a consumer waits
//! for the earliest, whatever its queue; the transaction at that moment makes ready what is due
//! and assigns it. Time is the clock of the machine: set forward, tasks are due earlier; set
//! back, later.

use crate::{
    batch::Batch,
    convert::{self, signed},
};
use rusqlite::Connection;
use std::time::Duration;

/// Most tasks made ready in one transaction.
const DUE_MAX: i64 = 1_000;
/// The longest wait before the clock is looked at again: it may be set, and it does not stand
/// still while the machine sleeps, as waiting does.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// The time in milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    signed(convert::since_1970().as_millis())
}

/// When the earliest kept-back task is due, as far as this process knows.
#[derive(Debug, Default)]
pub(crate) struct Due {
    at: Option<i64>,
    known: bool,
}

impl Due {
    /// Something may have changed.
    pub(crate) fn forget(&mut self) {
        self.known = false;
    }

    /// How long to wait for the next; nothing to wait for where nothing is kept back.
    pub(crate) fn wait(&mut self, sql: &Connection) -> rusqlite::Result<Option<Duration>> {
        if !self.known {
            self.at = earliest(sql)?;
            self.known = true;
        }
        Ok(self.at.map(|at| {
            let left = u64::try_from(at.saturating_sub(now_ms())).unwrap_or_default();
            Duration::from_millis(left).min(LOOK_AGAIN)
        }))
    }

    /// Whether one is due now. Others may have been faster, so it is read again.
    pub(crate) fn is_now(&mut self, sql: &Connection) -> rusqlite::Result<bool> {
        let now = now_ms();
        if self.at.is_none_or(|at| at > now) {
            return Ok(false);
        }
        self.at = earliest(sql)?;
        Ok(self.at.is_some_and(|at| at <= now))
    }
}

/// When the earliest kept-back task is due.
pub(crate) fn earliest(sql: &Connection) -> rusqlite::Result<Option<i64>> {
    sql.prepare_cached("SELECT min(ready_at) FROM tasks WHERE consumer = -1")?
        .query_row([], |row| row.get(0))
}

/// Makes ready what is due, the earliest first; says whether there may be more.
pub(crate) fn make_ready(batch: &mut Batch<'_>) -> rusqlite::Result<bool> {
    let queues: Vec<i64> = batch
        .sql
        .prepare_cached(
            "UPDATE tasks SET consumer = 0, ready_at = NULL WHERE seq IN \
             (SELECT seq FROM tasks WHERE consumer = -1 AND ready_at <= ?1 \
              ORDER BY ready_at LIMIT ?2) RETURNING queue_id",
        )?
        .query_map([now_ms(), DUE_MAX], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for queue in &queues {
        batch.touch(*queue);
    }
    Ok(signed(queues.len()) >= DUE_MAX)
}
