//! Ids that callers gave, remembered for a while: the same one is the same task.
//!
//! Only publications with `once` pay for it. What is too old is forgotten in passing, a few with
//! each that is new, so that the table is never larger than what one window brings.

use crate::{batch::Batch, convert::signed, delay::now_ms};
use pumasi_common::TaskId;
use rusqlite::params;
use std::time::Duration;

/// Most old ids forgotten with each new one.
const FORGOTTEN_MAX: i64 = 4;

/// Whether the queue has accepted this id within its window.
pub(crate) fn is_known(batch: &Batch<'_>, queue: i64, id: &TaskId) -> rusqlite::Result<bool> {
    batch
        .sql
        .prepare_cached("SELECT 1 FROM accepted WHERE queue_id = ?1 AND id = ?2 AND until > ?3")?
        .exists(params![queue, id.as_str(), now_ms()])
}

/// Remembers that the queue accepts this id.
pub(crate) fn remember(
    batch: &Batch<'_>,
    queue: i64,
    id: &TaskId,
    window: Duration,
) -> rusqlite::Result<()> {
    let now = now_ms();
    let until = now.saturating_add(signed(window.as_millis()));
    batch
        .sql
        .prepare_cached(
            "DELETE FROM accepted WHERE rowid IN \
             (SELECT rowid FROM accepted WHERE until <= ?1 ORDER BY until LIMIT ?2)",
        )?
        .execute([now, FORGOTTEN_MAX])?;
    batch
        .sql
        .prepare_cached(
            "INSERT INTO accepted (queue_id, id, until) VALUES (?1, ?2, ?3) \
             ON CONFLICT (queue_id, id) DO UPDATE SET until = excluded.until",
        )?
        .execute(params![queue, id.as_str(), until])
        .map(drop)
}
