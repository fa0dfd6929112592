//! Queues for outcomes: made for one requester, gone with its consumer.
//!
//! One whose requester was killed is removed by whoever opens the store or makes such a queue an
//! hour later.

use crate::{
    Inner,
    batch::Batch,
    consume, convert, peers,
    writer::{Command, Context},
};
use pumasi_common::{
    QueueName,
    broker::{ConsumeError, ConsumeOptions, Replies},
};
use rusqlite::{Connection, params};
use std::{num::NonZeroU16, path::Path, sync::Arc, time::Duration};
use tokio::sync::oneshot;
use uuid::Uuid;

/// What their names begin with; a UUIDv7 follows, which says when it was made.
const PREFIX: &str = "pumasi.reply.";
const KIND: &str = "reply";
/// Most outcomes held at once.
const PREFETCH: NonZeroU16 = NonZeroU16::new(1_000).unwrap();
/// How long one without a consumer is left alone: its requester may not have got so far.
const LEFT_AFTER: Duration = Duration::from_secs(3600);
/// Most that are removed in one transaction.
const REMOVED_MAX: usize = 100;

/// Makes a queue for outcomes and consumes it.
pub(crate) async fn replies(inner: &Inner) -> Result<Replies, ConsumeError> {
    let queue = QueueName::fresh_reply();
    let to = queue.as_str().to_owned();
    let row = to.clone();
    let made = inner.write(move |batch, context| {
        remove_left(batch, context)?;
        make(batch, &row)
    });
    made.await.map_err(|problem| ConsumeError::Failed {
        queue: queue.clone(),
        problem,
        source: None,
    })?;
    let options = ConsumeOptions {
        queue,
        prefetch: PREFETCH,
        consumer: KIND.to_owned(),
        ack_timeout: None,
    };
    let mut consumer = consume::consume(inner, options).await?;
    consumer.takes_queue_along();
    Ok(Replies {
        to,
        consumer: Box::new(consumer),
    })
}

fn make(batch: &mut Batch<'_>, name: &str) -> rusqlite::Result<()> {
    let id = -batch.tick();
    batch
        .sql
        .prepare_cached("INSERT INTO queues (id, name, kind) VALUES (?1, ?2, ?3)")?
        .execute(params![id, name, KIND])
        .map(drop)
}

/// Whether there is any that may have been left.
pub(crate) fn are_any(sql: &Connection) -> rusqlite::Result<bool> {
    sql.prepare_cached("SELECT 1 FROM queues WHERE id < 0")?
        .exists([])
}

/// What removes those that were left.
pub(crate) fn removing() -> Command {
    Command::Job(Some(Box::new(|batch, context| {
        remove_left(batch, context)?;
        Ok(Box::new(|| ()))
    })))
}

/// Removes those that are old and have no living consumer.
fn remove_left(batch: &mut Batch<'_>, context: &Context<'_>) -> rusqlite::Result<()> {
    let now = convert::since_1970();
    let all: Vec<(i64, String)> = batch
        .sql
        .prepare_cached("SELECT id, name FROM queues WHERE id < 0 ORDER BY id DESC")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let is_old = |name: &str| made_at(name).is_none_or(|at| at + LEFT_AFTER < now);
    let old = all.into_iter().filter(|(_, name)| is_old(name));
    for (id, _) in old.take(REMOVED_MAX) {
        if !is_used(batch, id, context.peers)? {
            discard(batch, id)?;
        }
    }
    Ok(())
}

/// Since 1970.
fn made_at(name: &str) -> Option<Duration> {
    let id = Uuid::try_parse(name.strip_prefix(PREFIX)?).ok()?;
    let (seconds, nanos) = id.get_timestamp()?.to_unix();
    Some(Duration::new(seconds, nanos))
}

fn is_used(batch: &Batch<'_>, queue: i64, peers: &Path) -> rusqlite::Result<bool> {
    let instances: Vec<String> = batch
        .sql
        .prepare_cached("SELECT DISTINCT instance FROM consumers WHERE queue_id = ?1")?
        .query_map([queue], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    Ok(instances
        .iter()
        .any(|instance| peers::is_alive(peers, instance)))
}

/// What removes the queue and everything in it, and then tells who waits.
pub(crate) fn discarding(queue: Arc<QueueName>, answer: Option<oneshot::Sender<()>>) -> Command {
    Command::Job(Some(Box::new(move |batch, _| {
        let found: Vec<i64> = batch
            .sql
            .prepare_cached("SELECT id FROM queues WHERE name = ?1 AND id < 0")?
            .query_map([queue.as_str()], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        for id in found {
            discard(batch, id)?;
        }
        Ok(Box::new(move || {
            // Who no longer waits needs no answer.
            let _ = answer.map(|answer| answer.send(()));
        }))
    })))
}

fn discard(batch: &mut Batch<'_>, queue: i64) -> rusqlite::Result<()> {
    for statement in [
        "DELETE FROM tasks WHERE consumer > 0 AND consumer IN \
         (SELECT id FROM consumers WHERE queue_id = ?1)",
        "DELETE FROM tasks WHERE queue_id = ?1 AND consumer = 0",
        "DELETE FROM tasks WHERE queue_id = ?1 AND consumer = -1",
        "DELETE FROM consumers WHERE queue_id = ?1",
        "DELETE FROM accepted WHERE queue_id = ?1",
        "DELETE FROM queues WHERE id = ?1",
    ] {
        batch.sql.prepare_cached(statement)?.execute([queue])?;
    }
    Ok(())
}
