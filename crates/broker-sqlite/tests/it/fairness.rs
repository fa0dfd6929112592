//! Worker processes that compete for one store all get their part, also in a short run.

use crate::support::{LIMIT, consume, open, publish, queue};
use futures_util::{StreamExt, future::join_all};
use pumasi_broker_sqlite::SqliteBroker;
use pumasi_common::{Broker, PublishOutcome, Settlement};
use std::{
    io::{BufRead, BufReader, Lines},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};
use tempfile::tempdir;
use tokio::time::{sleep, timeout};

const STORE: &str = "PUMASI_TEST_SHARED_STORE";
/// As many as it took to see plain claiming starve somebody in more than half of them.
const RUNS: usize = 18;
const WORKERS: usize = 4;
const TASKS: usize = 200;
/// A tenth of an equal part: far below what turns give, far above nothing.
const PART_MIN: usize = TASKS / WORKERS / 10;

/// The worker process: does tasks until its input ends, then says how many.
#[tokio::test(flavor = "multi_thread")]
async fn sharing_process() {
    let Some(path) = std::env::var_os(STORE) else {
        return;
    };
    let broker = open(Path::new(&path)).await;
    let mut consumer = consume(&broker, &queue(), 1).await;
    println!("\nREADY");
    let mut end = tokio::task::spawn_blocking(|| std::io::stdin().lines().count());
    let mut took = 0;
    loop {
        tokio::select! {
            delivery = consumer.next() => {
                delivery.unwrap().settle(Settlement::Ack).unwrap();
                took += 1;
            }
            _ = &mut end => break,
        }
    }
    consumer.close().await;
    println!("\nTOOK {took}");
}

struct Worker {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Worker {
    fn start(path: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "fairness::sharing_process", "--nocapture"])
            .env(STORE, path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// What follows this word on the line that begins with it.
    fn says(&mut self, word: &str) -> String {
        self.lines
            .find_map(|line| line.unwrap().strip_prefix(word).map(str::to_owned))
            .unwrap_or_else(|| panic!("the worker did not say {word}"))
    }

    fn finish(mut self) -> usize {
        drop(self.child.stdin.take());
        self.says("TOOK ").parse().unwrap()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn four_worker_processes_all_get_their_part_in_eighteen_short_runs() {
    for run in 1..=RUNS {
        let dir = tempdir().unwrap();
        let path = dir.path().join("s.db");
        let broker = open(&path).await;
        let mut workers: Vec<Worker> = (0..WORKERS).map(|_| Worker::start(&path)).collect();
        for worker in &mut workers {
            worker.says("READY");
        }
        let outcomes = join_all((0..TASKS).map(|_| publish(&broker, "x"))).await;
        assert!(
            outcomes
                .iter()
                .all(|outcome| matches!(outcome, PublishOutcome::Accepted(_)))
        );
        until_done(&broker).await;
        let took: Vec<usize> = workers.into_iter().map(Worker::finish).collect();
        println!("run {run}: {took:?}");
        assert_eq!(took.iter().sum::<usize>(), TASKS, "{took:?}");
        assert!(took.iter().all(|part| *part >= PART_MIN), "{took:?}");
    }
}

async fn until_done(broker: &SqliteBroker) {
    timeout(LIMIT * 3, async {
        loop {
            let status = broker.admin().queue(&queue()).await.unwrap();
            if (status.ready, status.in_flight) == (0, Some(0)) {
                return;
            }
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("all tasks done in time");
}
