//! Submitting and consuming, beside what SQLite alone does in one loop.
#![allow(clippy::unwrap_used, clippy::panic, reason = "development only")]

use pumasi_broker_sqlite::SqliteBroker;
use pumasi_common::{Broker, ConnectionSettings, QueueName, TaskId, Topology};
use pumasi_testkit::bench::{Order, Watch, drain, fill};
use rusqlite::{Connection, params};
use std::{path::Path, sync::Arc};

#[tokio::main]
async fn main() {
    let Some(order) = Order::or_explain() else {
        return;
    };
    match (order.work.as_str(), order.contender.as_str()) {
        ("publish", "plain") => {
            let watch = Watch::start();
            fill_plain(&order);
            watch.stop();
        }
        ("publish", "pumasi") => publish(&order).await,
        ("fill", _) => {
            let broker = open(&order).await;
            fill(&*broker, &queue(), &order).await;
            broker.close().await;
        }
        ("consume", "plain") => {
            fill_plain(&order);
            consume_plain(&order);
        }
        ("consume", "pumasi") => {
            let broker = open(&order).await;
            fill(&*broker, &queue(), &order).await;
            broker.close().await;
            drop(broker);
            consume(&order).await;
        }
        other => panic!("unknown: {other:?}"),
    }
}

fn queue() -> QueueName {
    QueueName::new("bench").unwrap()
}

async fn open(order: &Order) -> Arc<SqliteBroker> {
    let settings = ConnectionSettings {
        publish_window: order.window,
        ..ConnectionSettings::default()
    };
    let broker = SqliteBroker::open(&settings, Path::new(&order.at))
        .await
        .unwrap();
    let topology = Topology::of_queues([queue()]);
    broker.ensure_topology(&topology).await.unwrap();
    broker
}

async fn publish(order: &Order) {
    let broker = open(order).await;
    let watch = Watch::start();
    fill(&*broker, &queue(), order).await;
    watch.stop();
    broker.close().await;
}

async fn consume(order: &Order) {
    let broker = open(order).await;
    let watch = Watch::start();
    drain(&*broker, &queue(), order).await;
    watch.stop();
    broker.close().await;
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
fn fill_plain(order: &Order) {
    let sql = connect(order);
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

/// The same for consuming: one transaction takes a window of tasks, one removes them.
fn consume_plain(order: &Order) {
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
    watch.stop();
}
