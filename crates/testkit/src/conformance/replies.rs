//! Outcomes go back to whoever asked for them.

use super::{Subject, consume, next, publish, until_ready, with_queue};
use pumasi_common::{
    DeadLetter, DeadReason, Destination, PublishOutcome, Refusal, Settlement, Task, TaskId,
    broker::{Publication, Replies},
};

fn reply(to: &str, text: &'static str) -> Publication {
    let mut task = Task::new(text);
    task.correlation_id = Some("asked".to_owned());
    Publication::new(Destination::Reply(to.to_owned()), task)
}

fn dead() -> Settlement {
    let letter = DeadLetter::new(DeadReason::Rejected, "no", "case");
    Settlement::DeadLetter(Box::new(letter))
}

pub(super) async fn a_settlement_sends_its_reply_first(subject: Subject) {
    let queue = with_queue(&subject).await;
    let Replies {
        to,
        consumer: mut replies,
    } = subject.replies().await.unwrap();
    let mut consumer = consume(&subject, &queue, 10).await;
    let retry = |id: &TaskId| {
        let copy = Task::with_id(id.clone(), "again");
        let destination = Destination::Queue(queue.clone());
        Settlement::Retry(Box::new(Publication::new(destination, copy)))
    };
    for text in ["done", "dead", "retried"] {
        let mut task = Task::new(text);
        task.reply_to = Some(to.clone());
        publish(&subject, &queue, task).await;
        let delivery = next(&mut consumer).await;
        assert_eq!(delivery.task().reply_to.as_ref(), Some(&to));
        let settlement = match text {
            "done" => Settlement::Ack,
            "dead" => dead(),
            _ => retry(&delivery.task().id),
        };
        let answer = Box::new(reply(&to, text));
        delivery.settle_with(settlement, Some(answer)).unwrap();
        let answer = next(&mut replies).await;
        assert_eq!(answer.task().payload, text);
        assert_eq!(answer.task().correlation_id.as_deref(), Some("asked"));
        answer.settle(Settlement::Ack).unwrap();
    }
    assert_eq!(next(&mut consumer).await.task().payload, "again");
    consumer.close().await;
    until_ready(&subject, &queue, 1).await;
    until_ready(&subject, &queue.dead(), 1).await;
    replies.close().await;
}

pub(super) async fn a_requester_that_is_gone_does_not_hold_up_the_settlement(subject: Subject) {
    let queue = with_queue(&subject).await;
    let mut consumer = consume(&subject, &queue, 10).await;
    for settlement in [Settlement::Ack, dead()] {
        publish(&subject, &queue, Task::new("x")).await;
        let delivery = next(&mut consumer).await;
        let answer = Box::new(reply("nobody.is.there", "x"));
        delivery.settle_with(settlement, Some(answer)).unwrap();
    }
    consumer.close().await;
    until_ready(&subject, &queue, 0).await;
    until_ready(&subject, &queue.dead(), 1).await;
}

pub(super) async fn a_closed_reply_queue_is_gone(subject: Subject) {
    let Replies { to, consumer } = subject.replies().await.unwrap();
    let outcome = subject.publish(reply(&to, "x")).await;
    assert!(
        matches!(outcome, PublishOutcome::Accepted(_)),
        "{outcome:?}"
    );
    consumer.close().await;
    let outcome = subject.publish(reply(&to, "x")).await;
    let gone = matches!(
        &outcome,
        PublishOutcome::Refused(_, Refusal::Unroutable { .. })
    );
    assert!(gone, "{outcome:?}");
}
