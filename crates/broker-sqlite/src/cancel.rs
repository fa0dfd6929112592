//! Cancelling a task: gone where it waits, told to workers where it is held.
//!
//! There is no index on ids, so it is looked for a stretch of rows at a time, between other reads.
//! A task keeps its row for life, wherever it is moved, so none slips through. Whether it waits is
//! looked at again in the transaction that removes it, so it is either handed over or cancelled.

use crate::{
    Inner,
    batch::Batch,
    control::{self, Entry},
    convert,
    settle::Reply,
    writer::Queues,
};
use pumasi_common::{TaskId, broker::Cancelled, outcome::Outcome};
use rusqlite::{Connection, OptionalExtension, params};

/// How many rows are looked at in one go.
const STRETCH: i64 = 10_000;
/// Most tasks of one id ended in one transaction.
const ENDED_MAX: usize = 1_000;

/// Cancels every task of this id that has not ended.
pub(crate) async fn cancel(inner: &Inner, id: &TaskId) -> Result<Cancelled, String> {
    let mut waited = false;
    let mut held = false;
    for rows in find(inner, id).await?.chunks(ENDED_MAX) {
        let (rows, id) = (rows.to_vec(), id.clone());
        let ended = inner
            .write(move |batch, context| end(batch, context.queues, &rows, &id))
            .await?;
        waited |= ended.waited;
        held |= ended.held;
    }
    Ok(match (held, waited) {
        (true, _) => Cancelled::Requested,
        (false, true) => Cancelled::Done,
        (false, false) => Cancelled::Missing,
    })
}

async fn find(inner: &Inner, id: &TaskId) -> Result<Vec<i64>, String> {
    let mut found = Vec::new();
    let mut from = 0;
    loop {
        let id = id.clone();
        let (rows, last) = inner.read(move |sql| look(sql, from, &id)).await?;
        found.extend(rows);
        match last {
            Some(last) => from = last,
            None => return Ok(found),
        }
    }
}

/// The rows of this id among the next ones, and where these end, unless all were looked at.
fn look(sql: &Connection, from: i64, id: &TaskId) -> rusqlite::Result<(Vec<i64>, Option<i64>)> {
    let last: Option<i64> = sql
        .prepare_cached("SELECT seq FROM tasks WHERE seq > ?1 ORDER BY seq LIMIT 1 OFFSET ?2")?
        .query_row([from, STRETCH - 1], |row| row.get(0))
        .optional()?;
    let rows = sql
        .prepare_cached("SELECT seq FROM tasks WHERE seq > ?1 AND seq <= ?2 AND id = ?3")?
        .query_map(
            params![from, last.unwrap_or(i64::MAX), id.as_str()],
            |row| row.get(0),
        )?
        .collect::<Result<_, _>>()?;
    Ok((rows, last))
}

struct Ended {
    waited: bool,
    held: bool,
}

fn end(
    batch: &mut Batch<'_>,
    queues: &mut Queues,
    rows: &[i64],
    id: &TaskId,
) -> rusqlite::Result<Ended> {
    let mut ended = Ended {
        waited: false,
        held: false,
    };
    // A dead letter has ended; only work queues have dead letters of their own.
    let read = format!(
        "SELECT {}, consumer, bytes FROM tasks WHERE seq = ?1 AND id = ?2 AND EXISTS \
         (SELECT 1 FROM queues q WHERE q.id = queue_id AND q.dead_letter IS NOT NULL)",
        convert::COLUMNS
    );
    for seq in rows {
        let found = batch
            .sql
            .prepare_cached(&read)?
            .query_row(params![seq, id.as_str()], |row| {
                let (consumer, bytes): (i64, i64) = (row.get(17)?, row.get(18)?);
                Ok((convert::delivered(row)?, consumer, bytes))
            })
            .optional()?;
        let Some((found, consumer, bytes)) = found else {
            continue;
        };
        if consumer > 0 {
            ended.held = true;
            continue;
        }
        batch
            .sql
            .prepare_cached("DELETE FROM tasks WHERE seq = ?1")?
            .execute([seq])?;
        batch.grow(found.queue, -1, -bytes);
        if let Some(told) = Outcome::Cancelled.message(&found.task) {
            Reply::of(told).store(batch, queues)?;
        }
        ended.waited = true;
    }
    if ended.held {
        control::write(batch, Entry::Cancel(id))?;
    }
    Ok(ended)
}
