//! Cancelling, also while workers take and finish the same tasks.

use crate::support::{LIMIT, accepted, consume, next, open, queue, settings, to_queue};
use futures_util::{StreamExt, stream};
use pumasi_broker_sqlite::SqliteBroker;
use pumasi_common::{
    Broker, Consumer, DeadLetter, DeadReason, QueueName, Settlement, Task, TaskId,
    broker::{Cancelled, Replies},
    outcome::{Outcome, Output},
};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tempfile::tempdir;

async fn cancel(broker: &SqliteBroker, id: &TaskId) -> Cancelled {
    broker.admin().cancel(id).await.unwrap()
}

async fn outcome(replies: &mut Replies) -> (TaskId, Outcome) {
    let delivery = next(&mut replies.consumer).await;
    let read = Outcome::read(delivery.task()).unwrap();
    delivery.settle(Settlement::Ack).unwrap();
    read
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_gone_and_whoever_asked_hears_it() {
    let dir = tempdir().unwrap();
    let broker = open(&dir.path().join("s.db")).await;
    let mut replies = broker.replies().await.unwrap();
    for delay in [Duration::ZERO, Duration::from_secs(3600)] {
        let mut task = Task::new("x");
        task.reply_to = Some(replies.to.clone());
        let id = task.id.clone();
        accepted(&broker, to_queue(task).after(delay)).await;
        assert_eq!(cancel(&broker, &id).await, Cancelled::Done);
        assert_eq!(
            outcome(&mut replies).await,
            (id.clone(), Outcome::Cancelled)
        );
        assert_eq!(cancel(&broker, &id).await, Cancelled::Missing);
        let status = broker.admin().queue(&queue()).await.unwrap();
        assert_eq!((status.ready, status.delayed), (0, Some(0)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_stays_with_its_worker_and_a_dead_letter_has_ended() {
    let dir = tempdir().unwrap();
    let broker = open(&dir.path().join("s.db")).await;
    let task = Task::new("x");
    accepted(&broker, to_queue(task.clone())).await;
    let mut consumer = consume(&broker, &queue(), 1).await;
    let delivery = next(&mut consumer).await;
    assert_eq!(cancel(&broker, &task.id).await, Cancelled::Requested);
    assert!(delivery.is_current());
    let letter = DeadLetter::new(DeadReason::Rejected, "no", "w");
    let dead = Settlement::DeadLetter(Box::new(letter));
    delivery.settle(dead).unwrap();
    consumer.close().await;
    assert_eq!(cancel(&broker, &task.id).await, Cancelled::Missing);
    let status = broker.admin().queue(&queue().dead()).await.unwrap();
    assert_eq!(status.ready, 1);
}

const RACES: usize = 10_000;
const AT_ONCE: usize = 64;

/// A worker that finishes everything that it is handed, after a moment that varies.
async fn work(mut consumer: Box<dyn Consumer>, seed: Arc<AtomicU64>) {
    while let Some(delivery) = consumer.next().await {
        wait_a_moment(&seed).await;
        let done = Outcome::Done(Output::default());
        let reply = done.message(delivery.task()).map(Box::new);
        // One that is no longer ours tells nothing.
        let _ = delivery.settle_with(Settlement::Ack, reply);
    }
}

/// Some turns of the scheduler, 0 to 15.
async fn wait_a_moment(seed: &AtomicU64) {
    let number = seed.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
    for _ in 0..(number ^ (number >> 31)) % 16 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_ten_thousand_tasks_that_are_cancelled_and_finished_at_once_each_has_one_outcome() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("s.db");
    // Two brokers share nothing but the files, as two processes do.
    let operator = open(&path).await;
    let worker = SqliteBroker::open(&settings(), &path).await.unwrap();
    let mut replies = operator.replies().await.unwrap();
    let seed = Arc::new(AtomicU64::new(1));
    let mut workers = Vec::new();
    for _ in 0..4 {
        let consumer = consume(&worker, &queue(), 2).await;
        workers.push(tokio::spawn(work(consumer, Arc::clone(&seed))));
    }
    let to = replies.to.clone();
    let races = (0..RACES).map(|_| {
        let (operator, seed) = (Arc::clone(&operator), Arc::clone(&seed));
        let mut task = Task::new("x");
        task.reply_to = Some(to.clone());
        let id = task.id.clone();
        async move {
            accepted(&operator, to_queue(task)).await;
            wait_a_moment(&seed).await;
            let cancelled = cancel(&operator, &id).await;
            (id, cancelled)
        }
    });
    let racing = stream::iter(races)
        .map(tokio::spawn)
        .buffer_unordered(AT_ONCE)
        .map(Result::unwrap)
        .collect::<HashMap<TaskId, Cancelled>>();
    let hearing = async {
        let mut heard: HashMap<TaskId, Vec<Outcome>> = HashMap::new();
        while heard.len() < RACES {
            let (id, outcome) = outcome(&mut replies).await;
            heard.entry(id).or_default().push(outcome);
        }
        heard
    };
    let both = futures_util::future::join(racing, hearing);
    let (asked, mut heard) = tokio::time::timeout(LIMIT * 6, both).await.unwrap();
    worker.close().await;
    for task in workers {
        task.abort();
    }
    // Whatever comes after the last: there is room for a second outcome to be seen.
    let status = operator.admin().queues(&[]).await.unwrap();
    assert!(status.iter().all(|queue| queue.ready == 0), "{status:?}");
    let answers = QueueName::new(&to).unwrap();
    loop {
        let rest = operator.admin().queue(&answers).await.unwrap();
        if (rest.ready, rest.in_flight) == (0, Some(0)) {
            break;
        }
        let soon = Duration::from_millis(20);
        if let Ok((id, outcome)) = tokio::time::timeout(soon, outcome(&mut replies)).await {
            heard.entry(id).or_default().push(outcome);
        }
    }
    let mut tally = HashMap::new();
    for (id, cancelled) in asked {
        let outcomes = heard.remove(&id).unwrap_or_default();
        let words: Vec<&str> = outcomes.iter().map(Outcome::as_str).collect();
        let expected = match cancelled {
            Cancelled::Done => ["cancelled"],
            Cancelled::Requested | Cancelled::Missing => ["done"],
        };
        assert_eq!(words, expected, "{id} {cancelled:?}");
        *tally.entry(format!("{cancelled:?}")).or_insert(0) += 1;
    }
    println!("{tally:?}");
    assert!(tally.len() == 3, "{tally:?}");
}
