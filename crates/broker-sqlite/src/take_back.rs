//! Taking back what a consumer holds: it goes, or its process died or stands still.

use crate::{
    batch::Batch,
    convert,
    settle::{self, Reply},
    writer::Queues,
};
use pumasi_common::{DeadLetter, DeadReason, QueueName};
use rusqlite::OptionalExtension;

/// Removes a consumer; what it holds is ready again and not counted.
pub(crate) fn release_all(batch: &mut Batch<'_>, consumer: i64) -> rusqlite::Result<()> {
    batch
        .sql
        .prepare_cached(
            "UPDATE tasks SET consumer = 0, delivery = 0, redelivered = 1 \
             WHERE consumer = ?1 AND consumer > 0",
        )?
        .execute([consumer])?;
    forget(batch, consumer)
}

/// Removes every consumer of an instance that died or stalled; what they hold is ready again and
/// counted, and moved aside when it was counted too often.
pub(crate) fn reap(
    batch: &mut Batch<'_>,
    queues: &mut Queues,
    instance: &str,
) -> rusqlite::Result<usize> {
    let consumers: Vec<i64> = batch
        .sql
        .prepare_cached("SELECT id FROM consumers WHERE instance = ?1")?
        .query_map([instance], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for consumer in &consumers {
        move_aside_often_returned(batch, queues, *consumer)?;
        batch
            .sql
            .prepare_cached(
                "UPDATE tasks SET consumer = 0, delivery = 0, redelivered = 1, \
                 delivery_count = delivery_count + 1 WHERE consumer = ?1 AND consumer > 0",
            )?
            .execute([consumer])?;
        forget(batch, *consumer)?;
    }
    Ok(consumers.len())
}

fn move_aside_often_returned(
    batch: &mut Batch<'_>,
    queues: &mut Queues,
    consumer: i64,
) -> rusqlite::Result<()> {
    let sql = batch.sql;
    let spent: Vec<i64> = sql
        .prepare_cached(
            "SELECT t.seq FROM tasks t JOIN queues q ON q.id = t.queue_id \
             WHERE t.consumer = ?1 AND t.consumer > 0 AND t.delivery_count >= q.delivery_limit \
             AND q.dead_letter IS NOT NULL",
        )?
        .query_map([consumer], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let read = format!(
        "SELECT {}, (SELECT name FROM queues q WHERE q.id = queue_id), \
         (SELECT name FROM consumers c WHERE c.id = consumer) FROM tasks WHERE seq = ?1",
        convert::COLUMNS
    );
    for seq in spent {
        let (found, queue, worker) = sql.prepare_cached(&read)?.query_row([seq], |row| {
            let queue: String = row.get(17)?;
            let worker: String = row.get(18)?;
            Ok((convert::delivered(row)?, queue, worker))
        })?;
        let letter = DeadLetter::new(
            DeadReason::Crashed,
            "its worker died or stalled too often while it held the task",
            &worker,
        );
        let Ok(queue) = QueueName::new(&queue) else {
            continue;
        };
        let told = settle::dead_outcome(&letter).message(&found.task);
        let headers = settle::dead_headers(found.task, &queue, &letter);
        settle::move_aside(batch, seq, found.delivery, headers.as_deref())?;
        if let Some(told) = told {
            Reply::of(told).store(batch, queues)?;
        }
    }
    Ok(())
}

fn forget(batch: &mut Batch<'_>, consumer: i64) -> rusqlite::Result<()> {
    let queue: Option<i64> = batch
        .sql
        .prepare_cached("DELETE FROM consumers WHERE id = ?1 RETURNING queue_id")?
        .query_row([consumer], |row| row.get(0))
        .optional()?;
    if let Some(queue) = queue {
        batch.touch(queue);
    }
    Ok(())
}
