//! Queues for outcomes.

use crate::support::{accepted, next, open, settings, until};
use futures_util::FutureExt;
use pumasi_broker_sqlite::SqliteBroker;
use pumasi_common::{
    Broker, Destination, Publication, PublishOutcome, QueueName, Refusal, Settlement, Task,
};
use rusqlite::Connection;
use std::path::Path;
use tempfile::tempdir;
use uuid::{NoContext, Timestamp, Uuid};

fn to(name: &str) -> Publication {
    Publication::new(Destination::Reply(name.to_owned()), Task::new("x"))
}

fn names(path: &Path) -> Vec<String> {
    let sql = Connection::open(path).unwrap();
    let mut all = sql
        .prepare("SELECT name FROM queues WHERE id < 0 ORDER BY name")
        .unwrap();
    all.query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

fn tasks(path: &Path) -> i64 {
    let sql = Connection::open(path).unwrap();
    sql.query_row("SELECT count(*) FROM tasks", [], |row| row.get(0))
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_queue_is_gone_with_its_consumer_and_everything_in_it() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("s.db");
    // The worker, who publishes outcomes, is another process.
    let (requester, worker) = (open(&path).await, open(&path).await);
    let mut one = requester.replies().await.unwrap();
    let other = requester.replies().await.unwrap();
    assert!(one.to.starts_with("pumasi.reply."), "{}", one.to);
    assert_ne!(one.to, other.to);
    accepted(&worker, to(&one.to)).await;
    accepted(&worker, to(&one.to)).await;
    accepted(&worker, to(&other.to)).await;
    next(&mut one.consumer)
        .await
        .settle(Settlement::Ack)
        .unwrap();
    let shown = requester.admin().queues(&[]).await.unwrap();
    assert_eq!(shown.len(), 2, "an operator's list has work queues only");
    let name = QueueName::new(&one.to).unwrap();
    let status = requester.admin().queue(&name).await.unwrap();
    assert_eq!((status.kind, status.consumers), (None, 1));
    one.consumer.close().await;
    assert_eq!(names(&path), std::slice::from_ref(&other.to));
    assert_eq!(tasks(&path), 1, "that of the other");
    let outcome = worker.publish(to(&one.to)).await;
    assert!(
        matches!(
            outcome,
            PublishOutcome::Refused(_, Refusal::Unroutable { .. })
        ),
        "{outcome:?}"
    );
    drop(other);
    until("dropping is enough", async || names(&path).is_empty()).await;
    // A new one is never taken for an old one.
    let mut third = requester.replies().await.unwrap();
    assert!(third.consumer.next_now().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_requester_left_is_removed_after_an_hour() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("s.db");
    drop(open(&path).await);
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let name = |ago: u64| {
        let made = Timestamp::from_unix(NoContext, now - ago, 0);
        format!("pumasi.reply.{}", Uuid::new_v7(made))
    };
    let (old, young) = (name(3_700), name(3_500));
    let sql = Connection::open(&path).unwrap();
    let leave = |id: i64, name: &str| {
        sql.execute(
            "INSERT INTO queues (id, name, kind, length) VALUES (?1, ?2, 'reply', 2)",
            rusqlite::params![id, name],
        )
        .unwrap();
        sql.execute(
            "INSERT INTO consumers (id, instance, queue_id, name, prefetch, free, ticket) \
             VALUES (-?1, 'gone', ?1, 'reply', 9, 8, 1)",
            [id],
        )
        .unwrap();
        for consumer in [0, -id] {
            sql.execute(
                "INSERT INTO tasks (queue_id, consumer, bytes, id, payload) \
                 VALUES (?1, ?2, 0, 'a', x'')",
                [id, consumer],
            )
            .unwrap();
        }
    };
    leave(-501, &old);
    leave(-502, &young);
    let broker = SqliteBroker::open(&settings(), &path).await.unwrap();
    until("the old one is gone", async || {
        names(&path) == [young.clone()]
    })
    .await;
    assert_eq!(tasks(&path), 2);
    // Making one removes what was left too.
    leave(-503, &old);
    let replies = broker.replies().await.unwrap();
    let mut expected = [young, replies.to];
    expected.sort();
    assert_eq!(names(&path), expected);
}

trait NextNow {
    fn next_now(&mut self) -> Option<pumasi_common::Delivery>;
}

impl NextNow for Box<dyn pumasi_common::Consumer> {
    fn next_now(&mut self) -> Option<pumasi_common::Delivery> {
        futures_util::StreamExt::next(self).now_or_never().flatten()
    }
}
