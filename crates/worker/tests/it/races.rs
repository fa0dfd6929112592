//! Cancellations against real brokers, at random moments: each task has one end, whoever is first.

use crate::bench::{LIMIT, name, start};
use futures_util::StreamExt;
use pumasi_common::{
    Broker, ConnectionSettings, Destination, Publication, PublishOutcome, QueueSpec, Settlement,
    Task, TaskId, TaskKind, Topology, broker::Cancelled, outcome::Outcome,
};
use pumasi_testkit::rabbitmq::{RabbitMq, Version};
use pumasi_worker::{Context, HandlerError, HandlerResult, Worker, WorkerConfig};
use std::{collections::HashMap, num::NonZeroU16, sync::Arc, time::Duration};

const TASKS: usize = 10_000;
/// Cancellations and submits on their way at once.
const AT_ONCE: usize = 500;

async fn race(url: &str) {
    let broker = pumasi_broker::open(&ConnectionSettings::of_url(url))
        .await
        .unwrap();
    let topology = Topology {
        queues: vec![QueueSpec::new(name("work"))],
        topics: vec![],
    };
    broker.ensure_topology(&topology).await.unwrap();
    let config = WorkerConfig {
        queues: vec![name("work")],
        concurrency: NonZeroU16::new(100).unwrap(),
        ..WorkerConfig::default()
    };
    let worker = Worker::builder(Arc::clone(&broker), config)
        .handle("short", async |context: Context| {
            let work = tokio::time::sleep(Duration::from_millis(fastrand::u64(0..20)));
            tokio::select! {
                () = work => HandlerResult::Ok(()),
                () = context.cancellation.cancelled() => Err(HandlerError::fail("told to stop")),
            }
        })
        .unwrap();
    let running = start(worker);
    let mut replies = broker.replies().await.unwrap();
    let submitted = futures_util::stream::iter(0..TASKS)
        .map(|_| submit_and_cancel(&*broker, &replies.to))
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<_>>();
    let listening = async {
        let mut ends: HashMap<TaskId, Vec<&'static str>> = HashMap::new();
        while ends.len() < TASKS {
            let reply = tokio::time::timeout(LIMIT, replies.consumer.next()).await;
            let reply = reply.expect("an outcome in time").unwrap();
            let (id, outcome) = Outcome::read(reply.task()).unwrap();
            ends.entry(id).or_default().push(outcome.as_str());
            reply.settle(Settlement::Ack).unwrap();
        }
        ends
    };
    let (said, ends) = tokio::join!(submitted, listening);
    running.stop().await;
    let left = broker.admin().queue(&name("work")).await.unwrap();
    assert_eq!(left.ready, 0);
    let count = |what| ends.values().filter(|it| ***it == [what]).count();
    println!(
        "{url}: done {}, cancelled {}",
        count("done"),
        count("cancelled")
    );
    assert_eq!(
        count("done") + count("cancelled"),
        TASKS,
        "a task has two ends"
    );
    assert!(
        count("done") > 0 && count("cancelled") > 0,
        "no race was run"
    );
    for (id, said) in said {
        match said {
            Cancelled::Done => assert_eq!(ends[&id], ["cancelled"]),
            Cancelled::Missing => assert_eq!(ends[&id], ["done"]),
            Cancelled::Requested => {}
        }
    }
    replies.consumer.close().await;
    broker.close().await;
}

async fn submit_and_cancel(broker: &dyn Broker, reply_to: &str) -> (TaskId, Cancelled) {
    let mut task = Task::new("x").with_kind(TaskKind::new("short").unwrap());
    task.reply_to = Some(reply_to.to_owned());
    let id = task.id.clone();
    let publication = Publication::new(Destination::Queue(name("work")), task);
    let outcome = broker.publish(publication).await;
    assert!(
        matches!(outcome, PublishOutcome::Accepted(_)),
        "{outcome:?}"
    );
    // Up to 1.6 s, most of them soon: before the task is begun, while it runs, after its end.
    let wait = fastrand::u64(0..40).pow(2);
    tokio::time::sleep(Duration::from_millis(wait)).await;
    let said = broker.admin().cancel(&id).await.unwrap();
    (id, said)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_is_cancelled_at_any_moment_has_one_end_on_the_embedded_broker() {
    let folder = tempfile::tempdir().unwrap();
    race(&format!("sqlite:{}", folder.path().join("q.db").display())).await;
}

async fn race_on(version: Version) {
    if let Err(missing) = version.available() {
        eprintln!("left out: {missing}");
        return;
    }
    race(&RabbitMq::shared(version).new_vhost_url()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_is_cancelled_at_any_moment_has_one_end_on_rabbitmq_3_10() {
    race_on(Version::V3_10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_is_cancelled_at_any_moment_has_one_end_on_rabbitmq_4_3() {
    race_on(Version::V4_3).await;
}
