//! Several processes at one store. A worker process is this test binary, run again.

use crate::support::{
    LIMIT, accepted, consume, next, open, open_with, queue, settings, submit, text, to_queue,
};
use pumasi_common::{
    Broker, ConnectionSettings, QueueName, Settlement, Task,
    outcome::{Outcome, Output},
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::tempdir;

const STORE: &str = "PUMASI_TEST_STORE";

/// The worker process: takes one task, says so, holds it; settles it when its
/// input ends, and takes another.
#[tokio::test(flavor = "multi_thread")]
async fn worker_process() {
    let Some(path) = std::env::var_os(STORE) else {
        return;
    };
    let broker = open(Path::new(&path)).await;
    let mut consumer = consume(&broker, &queue(), 1).await;
    println!("\nREADY");
    let delivery = next(&mut consumer).await;
    println!("\nHOLDS {}", text(&delivery));
    tokio::task::spawn_blocking(|| std::io::stdin().lines().count())
        .await
        .unwrap();
    // Not looked at before: it may be late without knowing.
    let told = Outcome::Done(Output::default()).message(delivery.task());
    let settled = delivery.settle_with(Settlement::Ack, told.map(Box::new));
    println!("\nSETTLED {}", settled.is_ok());
    let more = next(&mut consumer).await;
    println!("\nTHEN {}", text(&more));
    more.settle(Settlement::Ack).unwrap();
    consumer.close().await;
    println!("\nCLOSED");
}

struct Worker {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Worker {
    fn start(path: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "processes::worker_process", "--nocapture"])
            .env(STORE, path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn says(&mut self, what: &str) {
        let said = self.lines.any(|line| line.unwrap().starts_with(what));
        assert!(said, "the worker did not say {what}");
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_of_a_killed_worker_is_redelivered_long_before_it_would_count_as_stalled() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("s.db");
    let patient = ConnectionSettings {
        stall_timeout: LIMIT * 3,
        ..settings()
    };
    let broker = open_with(&patient, &path).await;
    let mut worker = Worker::start(&path);
    worker.says("READY");
    submit(&broker, "1").await;
    worker.says("HOLDS 1");
    let mut consumer = consume(&broker, &queue(), 1).await;
    worker.signal(Signal::KILL);
    let delivery = next(&mut consumer).await;
    assert_eq!(text(&delivery), "1");
    assert!(delivery.redelivered());
    assert_eq!(delivery.delivery_count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_settlement_of_a_stalled_worker_does_nothing_and_it_works_on() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("s.db");
    let broker = open(&path).await;
    let replies = broker.replies().await.unwrap();
    let mut worker = Worker::start(&path);
    worker.says("READY");
    let mut task = Task::new("1");
    task.reply_to = Some(replies.to.clone());
    accepted(&broker, to_queue(task)).await;
    worker.says("HOLDS 1");
    let mut consumer = consume(&broker, &queue(), 1).await;
    worker.signal(Signal::STOP);
    let delivery = next(&mut consumer).await;
    assert!(delivery.redelivered());
    drop(worker.child.stdin.take());
    worker.signal(Signal::CONT);
    worker.says("SETTLED");
    let status = broker.admin().queue(&queue()).await.unwrap();
    assert_eq!((status.ready, status.in_flight), (0, Some(1)));
    // Our consumer has no room: only the stalled one, made known again, can take it.
    submit(&broker, "2").await;
    worker.says("THEN 2");
    worker.says("CLOSED");
    // Whoever asked has heard nothing from a worker that no longer had the task.
    let answers = QueueName::new(&replies.to).unwrap();
    let told = broker.admin().queue(&answers).await.unwrap();
    assert_eq!((told.ready, told.in_flight), (0, Some(0)));
    delivery.settle(Settlement::Ack).unwrap();
    consumer.close().await;
    let status = broker.admin().queue(&queue()).await.unwrap();
    assert_eq!((status.ready, status.in_flight), (0, Some(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_worker_in_another_process_is_woken_promptly() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("s.db");
    // Two brokers share nothing but the files, as two processes do.
    let (publisher, worker) = (open(&path).await, open(&path).await);
    let mut consumer = consume(&worker, &queue(), 1).await;
    let mut waits = Vec::new();
    for n in 0..50 {
        submit(&publisher, &n.to_string()).await;
        let confirmed = Instant::now();
        let delivery = tokio::time::timeout(LIMIT, next(&mut consumer))
            .await
            .unwrap();
        waits.push(confirmed.elapsed());
        delivery.settle(Settlement::Ack).unwrap();
    }
    waits.sort();
    println!("wake p50 {:?}, p99 {:?}", waits[25], waits[49]);
    // A worker that was not woken looks every 250 ms.
    assert!(waits[25] < Duration::from_millis(60), "{:?}", waits[25]);
}
