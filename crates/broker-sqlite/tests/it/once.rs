//! The same id, given by a caller.

use crate::support::{accepted, consume, next, open, queue, settings, submit, to_queue};
use pumasi_broker_sqlite::SqliteBroker;
use pumasi_common::{
    Broker, ConnectionSettings, Destination, Publication, PublishOutcome, QueueName, Refusal,
    Settlement, SubscriptionName, Task, TaskId, TopicName, Topology, queue::TopicSpec,
};
use rusqlite::Connection;
use std::{num::NonZeroU64, time::Duration};
use tempfile::tempdir;

fn once(id: &str) -> Publication {
    Publication {
        once: true,
        ..to_queue(Task::with_id(TaskId::new(id).unwrap(), "x"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_was_accepted_is_not_stored_again_even_when_the_task_is_done() {
    let dir = tempdir().unwrap();
    let broker = open(&dir.path().join("s.db")).await;
    accepted(&broker, once("1")).await;
    accepted(&broker, once("1")).await;
    accepted(&broker, once("2")).await;
    let ready = async || broker.admin().queue(&queue()).await.unwrap().ready;
    assert_eq!(ready().await, 2);
    let mut consumer = consume(&broker, &queue(), 2).await;
    for _ in 0..2 {
        next(&mut consumer).await.settle(Settlement::Ack).unwrap();
    }
    consumer.close().await;
    accepted(&broker, once("1")).await;
    assert_eq!(ready().await, 0);
    // Without `once` nobody asks.
    let mut again = once("1");
    again.once = false;
    accepted(&broker, again).await;
    assert_eq!(ready().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_was_refused_is_stored_the_next_time() {
    let dir = tempdir().unwrap();
    let broker = SqliteBroker::open(&settings(), &dir.path().join("s.db"))
        .await
        .unwrap();
    let mut topology = Topology::of_queues([queue()]);
    topology.queues[0].length_max = NonZeroU64::new(1);
    broker.ensure_topology(&topology).await.unwrap();
    submit(&broker, "in the way").await;
    let outcome = broker.publish(once("1")).await;
    assert!(
        matches!(outcome, PublishOutcome::Refused(_, Refusal::Full { .. })),
        "{outcome:?}"
    );
    broker.admin().purge(&queue()).await.unwrap();
    accepted(&broker, once("1")).await;
    assert_eq!(broker.admin().queue(&queue()).await.unwrap().ready, 1);
    // Accepted before: that the queue is full now is no reason to refuse.
    accepted(&broker, once("1")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_is_forgotten_after_its_window_and_the_table_does_not_grow() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("s.db");
    let settings = ConnectionSettings {
        duplicate_window: Duration::from_millis(1),
        ..settings()
    };
    let broker = SqliteBroker::open(&settings, &path).await.unwrap();
    broker
        .ensure_topology(&Topology::of_queues([queue()]))
        .await
        .unwrap();
    for number in 0..20 {
        // Each twice in a row: the first is too old to count when the second comes.
        let task = (number / 2).to_string();
        accepted(&broker, once(&task)).await;
        // A commit takes longer than the window is.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    accepted(&broker, once("0")).await;
    assert_eq!(broker.admin().queue(&queue()).await.unwrap().ready, 21);
    let known: i64 = Connection::open(&path)
        .unwrap()
        .query_row("SELECT count(*) FROM accepted", [], |row| row.get(0))
        .unwrap();
    assert!(known <= 2, "{known}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_stored_once_in_each_subscription_that_has_not_got_it() {
    let dir = tempdir().unwrap();
    let broker = open(&dir.path().join("s.db")).await;
    let name = TopicName::new("orders").unwrap();
    let with = |subscriptions: &[&str]| Topology {
        queues: vec![],
        topics: vec![TopicSpec {
            name: name.clone(),
            subscriptions: subscriptions
                .iter()
                .map(|name| SubscriptionName::new(name).unwrap())
                .collect(),
        }],
    };
    let event = Publication {
        destination: Destination::Topic(name.clone()),
        ..once("1")
    };
    broker.ensure_topology(&with(&["mail"])).await.unwrap();
    accepted(&broker, event.clone()).await;
    broker
        .ensure_topology(&with(&["mail", "bill"]))
        .await
        .unwrap();
    accepted(&broker, event).await;
    for queue in ["orders.mail", "orders.bill"] {
        let queue = QueueName::new(queue).unwrap();
        assert_eq!(broker.admin().queue(&queue).await.unwrap().ready, 1);
    }
}
