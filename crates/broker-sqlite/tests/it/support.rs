//! What the tests share.

use futures_util::StreamExt;
use pumasi_broker_sqlite::SqliteBroker;
use pumasi_common::{
    Broker, Consumer, Delivery, Destination, Publication, PublishOutcome, QueueName, Task,
    Topology, broker::ConsumeOptions, connection::ConnectionSettings,
};
use std::{num::NonZeroU16, path::Path, sync::Arc, time::Duration};

/// The limit of every wait.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn queue() -> QueueName {
    QueueName::new("q").unwrap()
}

pub(crate) fn settings() -> ConnectionSettings {
    ConnectionSettings {
        stall_timeout: Duration::from_secs(1),
        ..ConnectionSettings::default()
    }
}

/// A broker with the queue `q`.
pub(crate) async fn open(path: &Path) -> Arc<SqliteBroker> {
    open_with(&settings(), path).await
}

/// A broker with the queue `q` and these settings.
pub(crate) async fn open_with(settings: &ConnectionSettings, path: &Path) -> Arc<SqliteBroker> {
    let broker = SqliteBroker::open(settings, path).await.unwrap();
    let topology = Topology::of_queues([queue()]);
    broker.ensure_topology(&topology).await.unwrap();
    broker
}

pub(crate) async fn publish(broker: &SqliteBroker, text: &str) -> PublishOutcome {
    let publication = Publication::new(Destination::Queue(queue()), Task::new(text.to_owned()));
    broker.publish(publication).await
}

/// Publishes and sees it accepted.
pub(crate) async fn accepted(broker: &SqliteBroker, publication: Publication) {
    let outcome = broker.publish(publication).await;
    assert!(
        matches!(outcome, PublishOutcome::Accepted(_)),
        "{outcome:?}"
    );
}

pub(crate) fn to_queue(task: Task) -> Publication {
    Publication::new(Destination::Queue(queue()), task)
}

/// Waits until a condition holds.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(LIMIT, wait).await;
    assert!(waited.is_ok(), "not in time: {what}");
}

pub(crate) async fn submit(broker: &SqliteBroker, text: &str) {
    let outcome = publish(broker, text).await;
    assert!(
        matches!(outcome, PublishOutcome::Accepted(_)),
        "{outcome:?}"
    );
}

pub(crate) async fn consume(
    broker: &SqliteBroker,
    of: &QueueName,
    prefetch: u16,
) -> Box<dyn Consumer> {
    let options = ConsumeOptions {
        queue: of.clone(),
        prefetch: NonZeroU16::new(prefetch).unwrap(),
        consumer: "test".to_owned(),
        ack_timeout: None,
    };
    broker.consume(options).await.unwrap()
}

pub(crate) async fn next(consumer: &mut Box<dyn Consumer>) -> Delivery {
    tokio::time::timeout(LIMIT, consumer.next())
        .await
        .expect("a delivery in time")
        .expect("a delivery, not the end")
}

pub(crate) fn text(delivery: &Delivery) -> String {
    String::from_utf8(delivery.task().payload.to_vec()).unwrap()
}
