//! What operators ask of workers, across processes.

use crate::support::{LIMIT, open, queue};
use futures_util::{FutureExt, StreamExt};
use pumasi_common::{
    Broker, QueueName, TaskId,
    broker::{AdminError, BoxStream, Cancelled, Control, Pause},
};
use rusqlite::Connection;
use std::{
    path::Path,
    time::{Duration, Instant},
};
use tempfile::tempdir;

async fn told(listener: &mut BoxStream<Control>) -> Option<Control> {
    tokio::time::timeout(LIMIT, listener.next())
        .await
        .expect("something is told in time")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_only_listens_is_woken_promptly() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("s.db");
    // Two brokers share nothing but the files, as two processes do.
    let (operator, worker) = (open(&path).await, open(&path).await);
    let mut listener = worker.control(vec![queue()]).await.unwrap();
    let mut waits = Vec::new();
    for round in 0..20 {
        let pause = [Pause::On, Pause::Off][round % 2];
        operator.admin().pause(&queue(), pause).await.unwrap();
        let asked = Instant::now();
        let expected = match pause {
            Pause::On => Control::Pause(queue()),
            Pause::Off => Control::Resume(queue()),
        };
        assert_eq!(told(&mut listener).await, Some(expected));
        waits.push(asked.elapsed());
    }
    waits.sort();
    println!("told after p50 {:?}, p95 {:?}", waits[10], waits[18]);
    // Far below the beat, which is the net for a lost wake.
    assert!(waits[10] < Duration::from_millis(60), "{:?}", waits[10]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_outlives_every_process_and_is_told_only_for_the_queues_asked_for() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("s.db");
    let broker = open(&path).await;
    broker.admin().pause(&queue(), Pause::On).await.unwrap();
    broker.admin().pause(&queue(), Pause::On).await.unwrap();
    broker.close().await;
    let broker = open(&path).await;
    let dead = queue().dead();
    let mut other = broker.control(vec![dead]).await.unwrap();
    let mut listener = broker.control(vec![queue()]).await.unwrap();
    assert_eq!(told(&mut listener).await, Some(Control::Pause(queue())));
    assert!(broker.admin().queue(&queue()).await.unwrap().paused);
    assert!(listener.next().now_or_never().is_none());
    assert!(other.next().now_or_never().is_none());
    let nowhere = QueueName::new("nowhere").unwrap();
    let error = broker.admin().pause(&nowhere, Pause::On).await.unwrap_err();
    assert!(matches!(error, AdminError::QueueMissing { .. }), "{error}");
    broker.close().await;
    assert_eq!(told(&mut listener).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_later_hears_of_cancellations_of_a_day_and_of_no_drain() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("s.db");
    let broker = open(&path).await;
    write_entries(&path, "old", Duration::from_secs(25 * 3600), 30);
    write_entries(&path, "young", Duration::from_secs(23 * 3600), 3);
    broker.admin().drain("w").await.unwrap();
    let mut listener = broker.control(vec![queue()]).await.unwrap();
    for number in 0..3 {
        let Some(Control::Cancel { id, .. }) = told(&mut listener).await else {
            panic!("not a cancellation");
        };
        assert_eq!(id.as_str(), format!("young-{number}"));
    }
    broker.admin().drain("w").await.unwrap();
    let drain = Some(Control::Drain("w".to_owned()));
    assert_eq!(told(&mut listener).await, drain);
    for _ in 0..3 {
        broker.admin().drain("w").await.unwrap();
        assert_eq!(told(&mut listener).await, drain);
    }
    let left = "SELECT count(*) FROM controls WHERE subject LIKE 'old-%'";
    let left: i64 = Connection::open(&path)
        .unwrap()
        .query_row(left, [], |row| row.get(0))
        .unwrap();
    assert_eq!(left, 0, "old entries are forgotten in passing");
}

/// As if cancelled that long ago.
fn write_entries(path: &Path, name: &str, ago: Duration, count: usize) {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let at = i64::try_from((now - ago).as_millis()).unwrap();
    let sql = Connection::open(path).unwrap();
    for number in 0..count {
        sql.execute(
            "INSERT INTO controls (what, subject, at_ms) VALUES ('cancel', ?1, ?2)",
            rusqlite::params![format!("{name}-{number}"), at],
        )
        .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_nobody_knows_is_missing_and_nobody_is_told() {
    let dir = tempdir().unwrap();
    let broker = open(&dir.path().join("s.db")).await;
    let id = TaskId::new("nobody").unwrap();
    let cancelled = broker.admin().cancel(&id).await.unwrap();
    assert_eq!(cancelled, Cancelled::Missing);
    broker.admin().drain("w").await.unwrap();
    let mut listener = broker.control(vec![queue()]).await.unwrap();
    broker.admin().drain("marker").await.unwrap();
    let first = told(&mut listener).await;
    assert_eq!(first, Some(Control::Drain("marker".to_owned())));
}
