//! Workers that are killed while they retry and finish tasks: each task is told done once, since
//! outcome and settlement are one commit.

use crate::support::{LIMIT, consume, next, open, queue, to_queue};
use futures_util::future::join_all;
use pumasi_common::{
    Broker, Delivery, PublishOutcome, Settlement, Task, TaskId,
    outcome::{Outcome, Output},
};
use std::{
    collections::HashMap,
    num::NonZeroU32,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::tempdir;

const STORE: &str = "PUMASI_TEST_KILLED_STORE";
const TASKS: usize = 1_000;
/// Often enough to hit every kind of moment, seldom enough to get on.
const LIFE: Duration = Duration::from_millis(120);
const LIVES_MIN: usize = 5;

/// The worker process: each first attempt fails, each second one is done.
#[tokio::test(flavor = "multi_thread")]
async fn worker_to_kill() {
    let Some(path) = std::env::var_os(STORE) else {
        return;
    };
    let broker = open(Path::new(&path)).await;
    let mut consumer = consume(&broker, &queue(), 8).await;
    loop {
        settle(next(&mut consumer).await);
        // So that there is something left to do when it is killed.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn settle(delivery: Delivery) {
    let task = Task::clone(delivery.task());
    let (settlement, outcome) = if task.attempt == NonZeroU32::MIN {
        let error = "first".to_owned();
        let delay = Duration::from_millis(5);
        let mut copy = task.clone();
        copy.attempt = NonZeroU32::new(2).unwrap();
        let again = Settlement::Retry(Box::new(to_queue(copy).after(delay)));
        (again, Outcome::Retry { error, delay })
    } else {
        (Settlement::Ack, Outcome::Done(Output::default()))
    };
    let reply = outcome.message(&task).map(Box::new);
    // One that was taken for dead is told so.
    let _ = delivery.settle_with(settlement, reply);
}

struct Worker(Child);

impl Worker {
    fn start(path: &Path) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed::worker_to_kill"])
            .env(STORE, path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_task_is_told_done_once_however_often_its_workers_are_killed() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("s.db");
    let broker = open(&path).await;
    let mut replies = broker.replies().await.unwrap();
    let outcomes = join_all((0..TASKS).map(|_| {
        let mut task = Task::new("x");
        task.reply_to = Some(replies.to.clone());
        task.wants_progress = true;
        broker.publish(to_queue(task))
    }))
    .await;
    let accepted = |outcome: &PublishOutcome| matches!(outcome, PublishOutcome::Accepted(_));
    assert!(outcomes.iter().all(accepted));
    let mut told: HashMap<TaskId, Vec<&'static str>> = HashMap::new();
    let mut done = 0;
    let mut lives = 0;
    let end = Instant::now() + LIMIT;
    while done < TASKS {
        assert!(Instant::now() < end, "{done} done after {lives} lives");
        lives += 1;
        let workers = [Worker::start(&path), Worker::start(&path)];
        let life = Instant::now() + LIFE + Duration::from_millis(lives * 7 % 50);
        while done < TASKS
            && let Ok(delivery) =
                tokio::time::timeout_at(life.into(), next(&mut replies.consumer)).await
        {
            let (id, outcome) = Outcome::read(delivery.task()).unwrap();
            done += usize::from(outcome.is_final());
            told.entry(id).or_default().push(outcome.as_str());
            delivery.settle(Settlement::Ack).unwrap();
        }
        drop(workers);
    }
    println!("{TASKS} tasks, {lives} pairs of workers killed");
    assert!(lives >= LIVES_MIN as u64, "{lives}");
    assert_eq!(told.len(), TASKS);
    for (id, words) in told {
        assert_eq!(words, ["retry", "done"], "{id}");
    }
    let status = broker.admin().queue(&queue()).await.unwrap();
    assert_eq!((status.ready, status.delayed), (0, Some(0)));
}
