//! A store of an older version is brought to ours, whole or not at all.

use crate::support::{consume, next, open, queue, settings, text};
use pumasi_broker_sqlite::SqliteBroker;
use pumasi_common::{Broker, ErrorCode, Settlement};
use rusqlite::Connection;
use std::{fs::File, path::Path};
use tempfile::tempdir;

const FIRST: &str = include_str!("../../migrations/0001_create.sql");

/// A store as version 1 left it: ready tasks of several priorities, one held by a dead worker.
fn made_by_version_1(path: &Path) -> Connection {
    let sql = Connection::open(path).unwrap();
    sql.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))
        .unwrap();
    sql.execute_batch(FIRST).unwrap();
    sql.execute_batch(
        "PRAGMA application_id = 0x50754d61; PRAGMA user_version = 1;
         UPDATE clock SET last = 7;
         INSERT INTO queues (name, kind, delivery_limit) VALUES ('q.dead', 'quorum', 2147483647);
         INSERT INTO queues (name, kind, dead_letter, delivery_limit, length, bytes)
         VALUES ('q', 'quorum', 'q.dead', 100, 5, 5);
         INSERT INTO consumers (instance, queue_id, name, prefetch, free, ticket)
         VALUES ('gone', 2, 'w', 1, 0, 6);
         INSERT INTO tasks (queue_id, consumer, delivery, bytes, id, priority, payload) VALUES
         (2, 0, 0, 1, 'a', NULL, x'61'), (2, 0, 0, 1, 'b', 0, x'62'), (2, 0, 0, 1, 'c', 4, x'63'),
         (2, 1, 7, 1, 'd', NULL, x'64'), (2, 0, 0, 1, 'e', 200, x'65');",
    )
    .unwrap();
    sql
}

fn version(sql: &Connection) -> i32 {
    sql.query_row("PRAGMA user_version", [], |row| row.get(0))
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_version_1_is_migrated_and_its_priorities_count_from_then_on() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("s.db");
    drop(made_by_version_1(&path));
    let broker = open(&path).await;
    assert_eq!(version(&Connection::open(&path).unwrap()), 2);
    let status = broker.admin().queue(&queue()).await.unwrap();
    assert_eq!(
        (status.ready, status.in_flight, status.delayed),
        (4, Some(1), Some(0))
    );
    let mut consumer = consume(&broker, &queue(), 5).await;
    let mut order = Vec::new();
    for _ in 0..5 {
        let delivery = next(&mut consumer).await;
        order.push(text(&delivery));
        delivery.settle(Settlement::Ack).unwrap();
    }
    assert_eq!(order, ["e", "a", "c", "d", "b"]);
    consumer.close().await;
    let status = broker.admin().queue(&queue()).await.unwrap();
    assert_eq!((status.ready, status.in_flight), (0, Some(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_fails_leaves_the_store_as_it_was() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("s.db");
    let sql = made_by_version_1(&path);
    sql.execute_batch("CREATE TABLE controls (x)").unwrap();
    let error = SqliteBroker::open(&settings(), &path).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::StoreUnusable);
    assert_eq!(version(&sql), 1);
    sql.execute_batch("DROP TABLE controls").unwrap();
    drop(sql);
    open(&path).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_with_workers_of_an_older_version_is_not_migrated_under_them() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("s.db");
    let sql = made_by_version_1(&path);
    let peers = dir.path().join("s.db-peers");
    std::fs::create_dir(&peers).unwrap();
    let alive = File::create(peers.join("gone.alive")).unwrap();
    alive.lock().unwrap();
    let error = SqliteBroker::open(&settings(), &path).await.unwrap_err();
    assert!(error.problem.contains("older version"), "{error}");
    assert_eq!(version(&sql), 1);
    drop(alive);
    open(&path).await;
    assert_eq!(version(&sql), 2);
}
