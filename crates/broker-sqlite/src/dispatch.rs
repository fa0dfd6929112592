//! Which consumer gets which ready task.
//!
//! Runs inside every write transaction that may have made a task ready or a consumer free, so
//! that submit and dispatch, or settle and next dispatch, are one commit.

use crate::{batch::Batch, convert::signed};
use std::collections::VecDeque;

struct Idle {
    id: i64,
    instance: String,
    free: i64,
    ticket: i64,
}

/// A ready task and its place: lower ranks come first.
#[derive(Clone, Copy)]
struct Ready {
    seq: i64,
    rank: i64,
}

/// Assigns ready tasks of a queue, highest priority first and oldest first within one, to
/// consumers with room, in turn.
pub(crate) fn assign(batch: &mut Batch<'_>, queue: i64) -> rusqlite::Result<()> {
    let mut idle = idle_consumers(batch, queue)?;
    let room: i64 = idle.iter().map(|consumer| consumer.free).sum();
    if room == 0 {
        return Ok(());
    }
    let ready = ready_tasks(batch, queue, room)?;
    if ready.is_empty() {
        return Ok(());
    }
    if let [only] = idle.make_contiguous() {
        return hand_all_over(batch, queue, only, &ready);
    }
    let mut hand_over = batch
        .sql
        .prepare_cached("UPDATE tasks SET consumer = ?2, delivery = ?3 WHERE seq = ?1")?;
    let mut served: Vec<Idle> = Vec::new();
    for task in ready {
        let Some(mut next) = idle.pop_front() else {
            break;
        };
        next.ticket = batch.tick();
        hand_over.execute([task.seq, next.id, next.ticket])?;
        batch.assigned(next.id, &next.instance);
        next.free -= 1;
        if next.free > 0 {
            idle.push_back(next);
        } else {
            served.push(next);
        }
    }
    served.extend(idle);
    for consumer in served {
        note(batch, &consumer)?;
    }
    Ok(())
}

/// Hands all of `ready` to one consumer, with one statement for each priority.
fn hand_all_over(
    batch: &mut Batch<'_>,
    queue: i64,
    consumer: &mut Idle,
    ready: &[Ready],
) -> rusqlite::Result<()> {
    for equal in ready.chunk_by(|one, other| one.rank == other.rank) {
        let (Some(first), Some(last)) = (equal.first(), equal.last()) else {
            continue;
        };
        // Each delivery's number is as far from the first as its task is from the first task:
        // they rise in the tasks' order, and the clock moves past them all.
        let span = last.seq - first.seq;
        let delivery = batch.ticks(span);
        let handed = batch
            .sql
            .prepare_cached(
                "UPDATE tasks SET consumer = ?1, delivery = ?2 + seq \
                 WHERE queue_id = ?3 AND consumer = 0 AND rank = ?4 AND seq <= ?5",
            )?
            .execute([
                consumer.id,
                delivery - first.seq,
                queue,
                last.rank,
                last.seq,
            ])?;
        consumer.free -= signed(handed);
        consumer.ticket = delivery + span;
    }
    batch.assigned(consumer.id, &consumer.instance);
    note(batch, consumer)
}

fn note(batch: &Batch<'_>, consumer: &Idle) -> rusqlite::Result<()> {
    batch
        .sql
        .prepare_cached("UPDATE consumers SET free = ?2, ticket = ?3 WHERE id = ?1")?
        .execute([consumer.id, consumer.free, consumer.ticket])
        .map(drop)
}

fn ready_tasks(batch: &Batch<'_>, queue: i64, room: i64) -> rusqlite::Result<Vec<Ready>> {
    batch
        .sql
        .prepare_cached(
            "SELECT seq, rank FROM tasks WHERE queue_id = ?1 AND consumer = 0 \
             ORDER BY rank, seq LIMIT ?2",
        )?
        .query_map([queue, room], |row| {
            Ok(Ready {
                seq: row.get(0)?,
                rank: row.get(1)?,
            })
        })?
        .collect()
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
