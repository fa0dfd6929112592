//! Which consumer gets which ready task.
//!
//! Runs inside every write transaction that may have made a task ready or a consumer free, so
//! that submit and dispatch, or settle and next dispatch, are one commit.

use crate::{batch::Batch, convert::signed};
use rusqlite::params;
use std::collections::VecDeque;

struct Idle {
    id: i64,
    instance: String,
    free: i64,
    ticket: i64,
}

/// Assigns ready tasks of a queue, oldest first, to consumers with room, in turn.
pub(crate) fn assign(batch: &mut Batch<'_>, queue: i64) -> rusqlite::Result<()> {
    let sql = batch.sql;
    let mut idle = idle_consumers(batch, queue)?;
    let room: i64 = idle.iter().map(|consumer| consumer.free).sum();
    if room == 0 {
        return Ok(());
    }
    let ready: Vec<i64> = sql
        .prepare_cached(
            "SELECT seq FROM tasks WHERE queue_id = ?1 AND consumer = 0 ORDER BY seq LIMIT ?2",
        )?
        .query_map([queue, room], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    if ready.is_empty() {
        return Ok(());
    }
    if let [only] = idle.make_contiguous() {
        return hand_all_over(batch, queue, only, &ready);
    }
    let mut hand_over =
        sql.prepare_cached("UPDATE tasks SET consumer = ?2, delivery = ?3 WHERE seq = ?1")?;
    let mut served: Vec<Idle> = Vec::new();
    for seq in ready {
        let Some(mut next) = idle.pop_front() else {
            break;
        };
        next.ticket = batch.tick();
        hand_over.execute([seq, next.id, next.ticket])?;
        batch.assigned(next.id, &next.instance);
        next.free -= 1;
        if next.free > 0 {
            idle.push_back(next);
        } else {
            served.push(next);
        }
    }
    served.extend(idle);
    let mut note =
        sql.prepare_cached("UPDATE consumers SET free = ?2, ticket = ?3 WHERE id = ?1")?;
    for consumer in served {
        note.execute(params![consumer.id, consumer.free, consumer.ticket])?;
    }
    Ok(())
}

/// Hands all of `ready` to one consumer, with one statement.
fn hand_all_over(
    batch: &mut Batch<'_>,
    queue: i64,
    consumer: &Idle,
    ready: &[i64],
) -> rusqlite::Result<()> {
    let (Some(first), Some(last)) = (ready.first(), ready.last()) else {
        return Ok(());
    };
    // Each delivery's number is as far from the first as its task is from the first task: they
    // rise in the tasks' order, and the clock moves past them all.
    let span = last - first;
    let delivery = batch.ticks(span);
    let handed = batch
        .sql
        .prepare_cached(
            "UPDATE tasks SET consumer = ?1, delivery = ?2 + seq \
             WHERE queue_id = ?3 AND consumer = 0 AND seq <= ?4",
        )?
        .execute([consumer.id, delivery - first, queue, *last])?;
    batch.assigned(consumer.id, &consumer.instance);
    batch
        .sql
        .prepare_cached("UPDATE consumers SET free = ?2, ticket = ?3 WHERE id = ?1")?
        .execute(params![
            consumer.id,
            consumer.free - signed(handed),
            delivery + span
        ])?;
    Ok(())
}

fn idle_consumers(batch: &Batch<'_>, queue: i64) -> rusqlite::Result<VecDeque<Idle>> {
    batch
        .sql
        .prepare_cached(
            "SELECT id, instance, free, ticket FROM consumers \
             WHERE queue_id = ?1 AND free > 0 AND stopped = 0 ORDER BY ticket",
        )?
        .query_map([queue], |row| {
            Ok(Idle {
                id: row.get(0)?,
                instance: row.get(1)?,
                free: row.get(2)?,
                ticket: row.get(3)?,
            })
        })?
        .collect()
}
