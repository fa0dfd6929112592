//! Going through a queue without consuming it.

use super::{LIMIT, Subject, consume, next, publish, until_ready, with_queue};
use futures_util::StreamExt;
use pumasi_common::{Consumer, Delivery, QueueName, Settlement, Task, broker::AdminError};

fn text(delivery: &Delivery) -> String {
    String::from_utf8_lossy(&delivery.task().payload).into_owned()
}

/// Everything that is shown, until the end.
async fn all(browser: &mut Box<dyn Consumer>) -> Vec<Delivery> {
    let shown = browser.by_ref().collect();
    tokio::time::timeout(LIMIT, shown)
        .await
        .expect("browsing did not end in time")
}

async fn with_tasks(subject: &Subject, count: u64) -> QueueName {
    let queue = with_queue(subject).await;
    for number in 0..count {
        publish(subject, &queue, Task::new(number.to_string())).await;
    }
    until_ready(subject, &queue, count).await;
    queue
}

pub(super) async fn browsing_shows_each_ready_task_once_and_leaves_it_where_it_is(
    subject: Subject,
) {
    let queue = with_tasks(&subject, 5).await;
    for _ in 0..2 {
        let mut browser = subject.admin().browse(&queue).await.unwrap();
        let shown = all(&mut browser).await;
        let texts: Vec<String> = shown.iter().map(text).collect();
        assert_eq!(texts, ["0", "1", "2", "3", "4"]);
        assert!(browser.is_live());
        drop(shown);
        browser.close().await;
        until_ready(&subject, &queue, 5).await;
    }
    let mut consumer = consume(&subject, &queue, 1).await;
    for number in 0..5 {
        let delivery = next(&mut consumer).await;
        assert_eq!(text(&delivery), number.to_string());
        delivery.settle(Settlement::Ack).unwrap();
    }
    consumer.close().await;
}

pub(super) async fn a_browsed_task_that_is_acked_is_gone_and_the_others_stay(subject: Subject) {
    let queue = with_tasks(&subject, 5).await;
    let mut browser = subject.admin().browse(&queue).await.unwrap();
    for delivery in all(&mut browser).await {
        let settlement = match text(&delivery).as_str() {
            "1" | "3" => Settlement::Ack,
            _ => Settlement::Release,
        };
        delivery.settle(settlement).unwrap();
    }
    browser.close().await;
    until_ready(&subject, &queue, 3).await;
    let mut browser = subject.admin().browse(&queue).await.unwrap();
    let left: Vec<String> = all(&mut browser).await.iter().map(text).collect();
    assert_eq!(left, ["0", "2", "4"]);
    browser.close().await;
}

pub(super) async fn browsing_an_empty_queue_ends_and_a_missing_one_is_told(subject: Subject) {
    let queue = with_queue(&subject).await;
    let mut browser = subject.admin().browse(&queue).await.unwrap();
    assert!(all(&mut browser).await.is_empty());
    browser.close().await;
    let nowhere = QueueName::new("nowhere").unwrap();
    match subject.admin().browse(&nowhere).await {
        Err(AdminError::QueueMissing { queue }) => assert_eq!(queue, nowhere),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("a queue that does not exist was browsed"),
    }
}
