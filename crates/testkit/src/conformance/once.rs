//! The same id, given by a caller.

use super::{Subject, consume, next, until_ready, with_queue};
use pumasi_common::{
    Destination, Publication, PublishOutcome, QueueName, Settlement, Task, TaskId,
};

async fn publish_once(subject: &Subject, queue: &QueueName, id: &TaskId) {
    let destination = Destination::Queue(queue.clone());
    let publication = Publication {
        once: true,
        ..Publication::new(destination, Task::with_id(id.clone(), "x"))
    };
    let outcome = subject.publish(publication).await;
    assert!(
        matches!(&outcome, PublishOutcome::Accepted(accepted) if accepted == id),
        "{outcome:?}"
    );
}

/// Stored once where the broker can know.
pub(super) async fn an_id_that_is_given_twice_is_accepted_twice(subject: Subject) {
    let queue = with_queue(&subject).await;
    let id = TaskId::new("order-17").unwrap();
    publish_once(&subject, &queue, &id).await;
    publish_once(&subject, &queue, &id).await;
    let stored = if subject.capabilities().knows_duplicates {
        1
    } else {
        2
    };
    until_ready(&subject, &queue, stored).await;
    let mut consumer = consume(&subject, &queue, 1).await;
    for _ in 0..stored {
        let delivery = next(&mut consumer).await;
        assert_eq!(delivery.task().id, id);
        delivery.settle(Settlement::Ack).unwrap();
    }
    consumer.close().await;
    until_ready(&subject, &queue, 0).await;
    publish_once(&subject, &queue, &id).await;
    until_ready(&subject, &queue, stored - 1).await;
}
