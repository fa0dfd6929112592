//! Where the tasks go: the queue, declared and filled before what is measured.

use futures_util::{StreamExt, stream};
use pumasi_common::{
    Broker, ConnectionSettings, PublishOutcome, QueueName, Topology, broker::Publication,
};
use pumasi_producer::{Client, Request};
use pumasi_testkit::bench::Order;
use std::{num::NonZeroUsize, sync::Arc};

/// The same as in `bench/c/bench.h`.
pub const QUEUE: &str = "bench";

/// The queue of every work.
pub fn queue() -> QueueName {
    QueueName::new(QUEUE).unwrap()
}

/// The broker, with the order's window for publishes; the queue is there.
pub async fn open(order: &Order) -> Arc<dyn Broker> {
    let settings = ConnectionSettings {
        publish_window: order.window,
        ..ConnectionSettings::of_url(&order.at)
    };
    let broker = pumasi_broker::open(&settings).await.unwrap();
    let topology = Topology::of_queues([queue()]);
    broker.ensure_topology(&topology).await.unwrap();
    broker
}

/// Declares the queue and fills it with the order's tasks.
pub async fn prepare(order: &Order) {
    let broker = open(order).await;
    fill(&Client::new(Arc::clone(&broker)), order).await;
    broker.close().await;
}

/// Submits the order's tasks, a window of them in flight.
pub async fn fill(client: &Client, order: &Order) {
    let queue = queue();
    let payload = bytes::Bytes::from(order.payload());
    let tasks = stream::iter(0..order.count).map(|_| task(&queue, payload.clone()));
    let window = NonZeroUsize::new(order.window.into()).unwrap();
    let mut outcomes = std::pin::pin!(client.submit_many(tasks, window));
    while let Some(outcome) = outcomes.next().await {
        accepted(&outcome);
    }
}

/// A task as a caller makes it.
pub fn task(queue: &QueueName, payload: bytes::Bytes) -> Publication {
    Request::new(payload).to_queue(queue).unwrap()
}

/// A measurement with a refused task says nothing.
pub fn accepted(outcome: &PublishOutcome) {
    assert!(
        matches!(outcome, PublishOutcome::Accepted(_)),
        "{outcome:?}"
    );
}
