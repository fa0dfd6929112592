//! The operator's side: looking at queues and emptying them.

use crate::{
    SqliteBroker,
    batch::Batch,
    browse, cancel,
    control::{self, Entry},
    convert::signed,
    delay::{self, now_ms},
    writer::Context,
};
use pumasi_common::{
    BrokerAdmin, Consumer, QueueKind, QueueName, TaskId,
    broker::{AdminError, BoxFuture, Cancelled, Pause, QueueStatus},
};
use rusqlite::{Connection, OptionalExtension, Row, params};

const STATUS: &str = "SELECT q.name, q.kind, q.length, \
     (SELECT count(*) FROM consumers c CROSS JOIN tasks t \
      ON t.consumer = c.id AND t.consumer > 0 WHERE c.queue_id = q.id AND t.queue_id = q.id), \
     (SELECT count(*) FROM consumers c WHERE c.queue_id = q.id), \
     (SELECT count(*) FROM tasks t WHERE t.consumer = -1 AND t.queue_id = q.id \
      AND t.ready_at > ?1), q.paused FROM queues q";

impl BrokerAdmin for SqliteBroker {
    fn queues<'a>(
        &'a self,
        _known: &'a [QueueName],
    ) -> BoxFuture<'a, Result<Vec<QueueStatus>, AdminError>> {
        Box::pin(async move {
            let rows = |sql: &Connection| -> rusqlite::Result<Vec<Option<QueueStatus>>> {
                sql.prepare_cached(&format!("{STATUS} WHERE q.id > 0 ORDER BY q.name"))?
                    .query_map([now_ms()], status)?
                    .collect()
            };
            let found = self.0.read(rows).await.map_err(failed)?;
            Ok(found.into_iter().flatten().collect())
        })
    }

    fn queue<'a>(&'a self, name: &'a QueueName) -> BoxFuture<'a, Result<QueueStatus, AdminError>> {
        Box::pin(async move {
            let queue = name.clone();
            let row = move |sql: &Connection| {
                sql.prepare_cached(&format!("{STATUS} WHERE q.name = ?2"))?
                    .query_row(params![now_ms(), queue.as_str()], status)
                    .optional()
            };
            let found = self.0.read(row).await.map_err(failed)?;
            found.flatten().ok_or_else(|| missing(name))
        })
    }

    fn purge<'a>(&'a self, name: &'a QueueName) -> BoxFuture<'a, Result<u64, AdminError>> {
        Box::pin(async move {
            let queue = name.clone();
            let purge =
                move |batch: &mut Batch<'_>, _: &mut Context<'_>| purge(batch, queue.as_str());
            let purged = self.0.write(purge).await.map_err(failed)?;
            purged.ok_or_else(|| missing(name))
        })
    }

    fn browse<'a>(
        &'a self,
        name: &'a QueueName,
    ) -> BoxFuture<'a, Result<Box<dyn Consumer>, AdminError>> {
        Box::pin(async move {
            let browser = browse::browse(&self.0, name).await.map_err(failed)?;
            browser.ok_or_else(|| missing(name))
        })
    }

    fn pause<'a>(
        &'a self,
        name: &'a QueueName,
        pause: Pause,
    ) -> BoxFuture<'a, Result<(), AdminError>> {
        Box::pin(async move {
            let queue = name.clone();
            let mark = move |batch: &mut Batch<'_>, _: &mut Context<'_>| {
                control::mark(batch, queue.as_str(), pause)
            };
            let found = self.0.write(mark).await.map_err(failed)?;
            found.then_some(()).ok_or_else(|| missing(name))
        })
    }

    fn cancel<'a>(&'a self, id: &'a TaskId) -> BoxFuture<'a, Result<Cancelled, AdminError>> {
        Box::pin(async move { cancel::cancel(&self.0, id).await.map_err(failed) })
    }

    fn drain<'a>(&'a self, worker: &'a str) -> BoxFuture<'a, Result<(), AdminError>> {
        Box::pin(async move {
            let worker = worker.to_owned();
            let write = move |batch: &mut Batch<'_>, _: &mut Context<'_>| {
                control::write(batch, Entry::Drain(&worker))
            };
            self.0.write(write).await.map_err(failed)
        })
    }
}

fn failed(problem: String) -> AdminError {
    AdminError::Failed {
        problem,
        source: None,
    }
}

fn missing(name: &QueueName) -> AdminError {
    AdminError::QueueMissing {
        queue: name.clone(),
    }
}

/// Nothing for a name that is not ours to have written.
fn status(row: &Row<'_>) -> rusqlite::Result<Option<QueueStatus>> {
    let count = |number: i64| u64::try_from(number).unwrap_or_default();
    let name: String = row.get(0)?;
    let kind: String = row.get(1)?;
    let length: i64 = row.get(2)?;
    let held: i64 = row.get(3)?;
    let delayed: i64 = row.get(5)?;
    let paused = row.get(6)?;
    let kind = [QueueKind::Quorum, QueueKind::Classic]
        .into_iter()
        .find(|known| known.to_string() == kind);
    Ok(QueueName::new(&name)
        .or_else(|error| dead_name(&name).ok_or(error))
        .ok()
        .map(|name| QueueStatus {
            name,
            kind,
            ready: count(length - held - delayed),
            in_flight: Some(count(held)),
            consumers: row.get(4).map(count).unwrap_or_default(),
            delayed: Some(count(delayed)),
            paused,
        }))
}

/// The dead letters of a queue with a very long name have one that is longer than allowed.
fn dead_name(name: &str) -> Option<QueueName> {
    let of = name.strip_suffix(".dead")?;
    QueueName::new(of).ok().map(|queue| queue.dead())
}

fn purge(batch: &mut Batch<'_>, name: &str) -> rusqlite::Result<Option<u64>> {
    while delay::make_ready(batch)? {}
    let found: Option<(i64, i64)> = batch
        .sql
        .query_row(
            "SELECT q.id, coalesce(sum(t.bytes), 0) FROM queues q \
             LEFT JOIN tasks t ON t.queue_id = q.id AND t.consumer = 0 \
             WHERE q.name = ?1 GROUP BY q.id",
            [name],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    let Some((queue, bytes)) = found else {
        return Ok(None);
    };
    let count = batch.sql.execute(
        "DELETE FROM tasks WHERE queue_id = ?1 AND consumer = 0",
        [queue],
    )?;
    batch.grow(queue, -signed(count), -bytes);
    Ok(u64::try_from(count).ok())
}
