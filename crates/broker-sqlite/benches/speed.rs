//! What SQLite alone does in one loop, for `cargo xtask bench`: the same columns, index and
//! durability as the store needs, and nothing else.
#![allow(clippy::unwrap_used, clippy::panic, reason = "development only")]

use pumasi_common::TaskId;
use pumasi_testkit::bench::{Latency, Measured, Order, Watch};
use rusqlite::{Connection, params};
use std::time::Instant;

fn main() {
    let Some(order) = Order::or_explain() else {
        return;
    };
    match order.work.as_str() {
        "prepare" => fill(&connect(&order), &order),
        "publish" => publish(&order).print(),
        "publish-one" => publish_one(&order).print(),
        "consume" => consume(&order).print(),
        other => panic!("there is no work `{other}`"),
    }
}

fn connect(order: &Order) -> Connection {
    let sql = Connection::open(&order.at).unwrap();
    sql.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         CREATE TABLE IF NOT EXISTS tasks (seq INTEGER PRIMARY KEY, queue_id INTEGER NOT NULL, \
         consumer INTEGER NOT NULL DEFAULT 0, id TEXT NOT NULL, payload BLOB NOT NULL);
         CREATE INDEX IF NOT EXISTS tasks_ready ON tasks (queue_id, seq) WHERE consumer = 0;",
    )
    .unwrap();
    sql
}

/// Group commit: one prepared statement for each task, a window of tasks for each transaction.
fn fill(sql: &Connection, order: &Order) {
    let payload = order.payload();
    let mut left = order.count;
    while left > 0 {
        let batch = left.min(order.window.into());
        left -= batch;
        sql.execute_batch("BEGIN IMMEDIATE").unwrap();
        let mut insert = sql
            .prepare_cached("INSERT INTO tasks (queue_id, id, payload) VALUES (?1, ?2, ?3)")
            .unwrap();
        for _ in 0..batch {
            let id = TaskId::generate();
            insert.execute(params![1, id.as_str(), payload]).unwrap();
        }
        sql.execute_batch("COMMIT").unwrap();
    }
}

fn publish(order: &Order) -> Measured {
    let sql = connect(order);
    let watch = Watch::start();
    fill(&sql, order);
    watch.stop(order.count)
}

/// A transaction for each task.
fn publish_one(order: &Order) -> Measured {
    let sql = connect(order);
    let payload = order.payload();
    let mut times = Vec::with_capacity(order.count);
    let watch = Watch::start();
    for _ in 0..order.count {
        let begun = Instant::now();
        let id = TaskId::generate();
        sql.prepare_cached("INSERT INTO tasks (queue_id, id, payload) VALUES (?1, ?2, ?3)")
            .unwrap()
            .execute(params![1, id.as_str(), payload])
            .unwrap();
        times.push(begun.elapsed());
    }
    let measured = watch.stop(order.count);
    Measured {
        latency: Latency::of(times),
        ..measured
    }
}

/// The same for consuming: one transaction takes a window of tasks, one removes them.
fn consume(order: &Order) -> Measured {
    let sql = connect(order);
    let watch = Watch::start();
    let mut left = order.count;
    while left > 0 {
        sql.execute_batch("BEGIN IMMEDIATE").unwrap();
        let taken: Vec<(i64, String, Vec<u8>)> = sql
            .prepare_cached(
                "UPDATE tasks SET consumer = 1 WHERE seq IN (SELECT seq FROM tasks \
                 WHERE queue_id = 1 AND consumer = 0 ORDER BY seq LIMIT ?1) \
                 RETURNING seq, id, payload",
            )
            .unwrap()
            .query_map([order.window], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        sql.execute_batch("COMMIT; BEGIN IMMEDIATE").unwrap();
        left -= taken.len();
        let mut remove = sql
            .prepare_cached("DELETE FROM tasks WHERE seq = ?1")
            .unwrap();
        for (seq, _, _) in taken {
            remove.execute([seq]).unwrap();
        }
        sql.execute_batch("COMMIT").unwrap();
    }
    watch.stop(order.count)
}
