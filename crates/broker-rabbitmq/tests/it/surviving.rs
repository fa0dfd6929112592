//! What is still there after the broker was killed at once and started again.

use super::*;
use pumasi_common::{
    Settlement,
    broker::{Control, Pause, Replies},
};

#[test]
fn delayed_tasks_pauses_and_reply_queues_survive_a_killed_broker() {
    apart(killed);
}

async fn killed(node: &RabbitMq) {
    let mut settings = ConnectionSettings::of_url(&node.url());
    settings.publish_timeout = Duration::from_secs(90);
    let broker = open_with(settings).await.unwrap();
    let queue = name("work");
    declare(&broker, "work", QueueKind::Quorum).await;
    let mut replies: Replies = broker.replies().await.unwrap();
    let mut listener = broker.control(vec![queue.clone()]).await.unwrap();
    let after = |seconds: u64| {
        let delay = Duration::from_secs(seconds);
        broker.publish(publication("work", &seconds.to_string()).after(delay))
    };
    // It makes the ladder, whose queues must be known to be there.
    let outcomes = [after(1).await, after(3600).await];
    broker.admin().pause(&queue, Pause::On).await.unwrap();
    tokio::task::block_in_place(|| node.sync_directory());
    let mut outcomes = Vec::from(outcomes);
    for seconds in [3, 5, 9] {
        outcomes.push(after(seconds).await);
    }
    for outcome in outcomes {
        assert!(
            matches!(outcome, PublishOutcome::Accepted(_)),
            "{outcome:?}"
        );
    }
    tokio::task::block_in_place(|| node.restart());

    let mut consumer = consume_when_there(&broker, "work").await;
    let mut came = Vec::new();
    while came.len() < 4 {
        let delivery = timeout(Duration::from_secs(60), consumer.next()).await;
        let delivery = delivery.unwrap().unwrap();
        came.push(payload(&delivery));
        delivery.settle(Settlement::Ack).unwrap();
    }
    came.sort();
    assert_eq!(came, ["1", "3", "5", "9"]);
    assert!(broker.admin().queue(&queue).await.unwrap().paused);
    let told = timeout(LIMIT, listener.next()).await.unwrap().unwrap();
    assert_eq!(told, Control::Pause(queue));
    let reply = Publication::new(Destination::Reply(replies.to.clone()), Task::new("done"));
    let outcome = broker.publish(reply).await;
    assert!(
        matches!(outcome, PublishOutcome::Accepted(_)),
        "{outcome:?}"
    );
    let answer = next(&mut replies.consumer).await;
    assert_eq!(payload(&answer), "done");
    answer.settle(Settlement::Ack).unwrap();
    replies.consumer.close().await;
    consumer.close().await;
    broker.close().await;
}

/// A broker that has just started may not have its queues yet.
async fn consume_when_there(broker: &RabbitMqBroker, queue: &str) -> Box<dyn Consumer> {
    let options = ConsumeOptions {
        queue: name(queue),
        prefetch: NonZeroU16::new(10).unwrap(),
        consumer: "test".to_owned(),
        ack_timeout: None,
    };
    let trying = async {
        loop {
            if let Ok(consumer) = broker.consume(options.clone()).await {
                return consumer;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(LIMIT, trying).await.expect("the queue in time")
}
