//! Queues that the writer has looked up. Work queues are never deleted nor changed, so a hit is
//! true for ever; those for replies are not remembered; subscriptions can be added, so they are always read.

use rusqlite::{Connection, OptionalExtension, Row};
use std::collections::HashMap;

/// Most queues remembered; beyond that all are looked up again.
const REMEMBERED_MAX: usize = 10_000;

/// A queue's row, as publishing needs it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Queue {
    pub(crate) id: i64,
    pub(crate) length_max: Option<i64>,
    pub(crate) bytes_max: Option<i64>,
}

fn queue(row: &Row<'_>) -> rusqlite::Result<Queue> {
    Ok(Queue {
        id: row.get(0)?,
        length_max: row.get(1)?,
        bytes_max: row.get(2)?,
    })
}

/// Queues by name.
#[derive(Debug, Default)]
pub(crate) struct Queues(HashMap<String, Queue>);

impl Queues {
    /// The queue of this name.
    pub(crate) fn find(&mut self, sql: &Connection, name: &str) -> rusqlite::Result<Option<Queue>> {
        if let Some(known) = self.0.get(name) {
            return Ok(Some(*known));
        }
        let found = sql
            .prepare_cached("SELECT id, length_max, bytes_max FROM queues WHERE name = ?1")?
            .query_row([name], queue)
            .optional()?;
        if let Some(found) = found.filter(|queue| queue.id > 0) {
            if self.0.len() >= REMEMBERED_MAX {
                self.0.clear();
            }
            self.0.insert(name.to_owned(), found);
        }
        Ok(found)
    }

    /// The queues of a topic's subscriptions.
    pub(crate) fn behind(&self, sql: &Connection, topic: &str) -> rusqlite::Result<Vec<Queue>> {
        sql.prepare_cached(
            "SELECT q.id, q.length_max, q.bytes_max FROM subscriptions s \
             JOIN queues q ON q.id = s.queue_id WHERE s.topic = ?1",
        )?
        .query_map([topic], queue)?
        .collect()
    }
}
