//! How late a task comes that was kept back, while a hundred thousand others go on waiting.

use futures_util::StreamExt;
use pumasi_common::{
    Broker, ConnectionSettings, Destination, Publication, PublishOutcome, QueueName, Settlement,
    Task, Topology, broker::ConsumeOptions,
};
use std::{
    num::NonZeroU16,
    time::{Duration, Instant},
};

const WAITING: u64 = 100_000;
const MEASURED: u64 = 200;
/// Publishes on their way at once.
const AT_ONCE: usize = 1_000;

async fn keep_back(broker: &dyn Broker, queue: &QueueName, task: Task, delay: Duration) {
    let destination = Destination::Queue(queue.clone());
    let publication = Publication::new(destination, task).after(delay);
    let outcome = broker.publish(publication).await;
    assert!(
        matches!(outcome, PublishOutcome::Accepted(_)),
        "{outcome:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_that_wait_make_no_other_late_on_the_embedded_broker() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("q.db").display());
    let broker = pumasi_broker::open(&ConnectionSettings::of_url(&url))
        .await
        .unwrap();
    let queue = QueueName::new("late").unwrap();
    broker
        .ensure_topology(&Topology::of_queues([queue.clone()]))
        .await
        .unwrap();
    let hour = 3600 * 1000;
    let begun = Instant::now();
    futures_util::stream::iter(0..WAITING)
        .map(|number| {
            let delay = Duration::from_millis(hour + number * 7_919 % (8760 * hour));
            keep_back(&*broker, &queue, Task::new("x"), delay)
        })
        .buffer_unordered(AT_ONCE)
        .collect::<()>()
        .await;
    println!("{WAITING} kept back in {:?}", begun.elapsed());

    let options = ConsumeOptions {
        queue: queue.clone(),
        prefetch: NonZeroU16::new(10).unwrap(),
        consumer: "test".to_owned(),
        ack_timeout: None,
    };
    let mut consumer = broker.consume(options).await.unwrap();
    let zero = Instant::now();
    let submits = futures_util::stream::iter(0..MEASURED).map(|number| {
        let delay = Duration::from_millis(50 + number * 20);
        let due = zero.elapsed() + delay;
        let payload = due.as_micros().to_string();
        keep_back(&*broker, &queue, Task::new(payload), delay)
    });
    let submits = submits.buffer_unordered(AT_ONCE).collect::<()>();
    let arrivals = async {
        let mut late = Vec::new();
        while late.len() < usize::try_from(MEASURED).unwrap() {
            let next = tokio::time::timeout(Duration::from_secs(30), consumer.next()).await;
            let delivery = next.expect("a task in time").unwrap();
            let payload = String::from_utf8(delivery.task().payload.to_vec()).unwrap();
            let due = Duration::from_micros(payload.parse().unwrap());
            late.push(zero.elapsed().saturating_sub(due));
            delivery.settle(Settlement::Ack).unwrap();
        }
        late
    };
    let ((), mut late) = tokio::join!(submits, arrivals);
    late.sort();
    let (median, p99) = (late[late.len() / 2], late[late.len() * 99 / 100]);
    println!("late by {median:?} in the middle, {p99:?} at most but for one in a hundred");
    let allowed = broker.capabilities().delay_resolution + Duration::from_secs(1);
    assert!(p99 <= allowed, "{p99:?} late");
    let status = broker.admin().queue(&queue).await.unwrap();
    assert_eq!(status.delayed, Some(WAITING));
    consumer.close().await;
    broker.close().await;
}
