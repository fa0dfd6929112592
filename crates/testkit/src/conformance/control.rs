//! What operators ask of workers.

use super::{LIMIT, Subject, consume, next, publish, until_ready, with_queue};
use futures_util::StreamExt;
use pumasi_common::{
    QueueName, Settlement, Task, TaskId,
    broker::{BoxStream, Cancelled, Control, Pause},
};

async fn listen(subject: &Subject, queue: &QueueName) -> BoxStream<Control> {
    subject.control(vec![queue.clone()]).await.unwrap()
}

async fn told(listener: &mut BoxStream<Control>) -> Control {
    tokio::time::timeout(LIMIT, listener.next())
        .await
        .expect("nothing was told in time")
        .expect("listening ended")
}

pub(super) async fn a_paused_queue_is_told_to_who_comes_later_and_so_is_its_resuming(
    subject: Subject,
) {
    let queue = with_queue(&subject).await;
    let paused = async || subject.admin().queue(&queue).await.unwrap().paused;
    let mut early = listen(&subject, &queue).await;
    assert!(!paused().await);
    subject.admin().pause(&queue, Pause::On).await.unwrap();
    assert!(paused().await);
    let mut late = listen(&subject, &queue).await;
    for listener in [&mut early, &mut late] {
        assert_eq!(told(listener).await, Control::Pause(queue.clone()));
    }
    // Tasks are submitted as before.
    publish(&subject, &queue, Task::new("x")).await;
    subject.admin().pause(&queue, Pause::Off).await.unwrap();
    for listener in [&mut early, &mut late] {
        assert_eq!(told(listener).await, Control::Resume(queue.clone()));
    }
    assert!(!paused().await);
}

/// Until the cancellation of this task is told.
async fn until_cancelled(listener: &mut BoxStream<Control>, task: &TaskId) {
    loop {
        if let Control::Cancel { id, at_ms } = told(listener).await
            && id == *task
        {
            assert!(at_ms > 1_600_000_000_000, "{at_ms}");
            return;
        }
    }
}

pub(super) async fn a_cancelled_task_is_gone_or_workers_are_told(subject: Subject) {
    let queue = with_queue(&subject).await;
    let mut listener = listen(&subject, &queue).await;
    let waits = Task::new("waits");
    publish(&subject, &queue, waits.clone()).await;
    match subject.admin().cancel(&waits.id).await.unwrap() {
        Cancelled::Done => until_ready(&subject, &queue, 0).await,
        Cancelled::Requested => until_cancelled(&mut listener, &waits.id).await,
        Cancelled::Missing => panic!("a task that waits is not missing"),
    }
    subject.admin().purge(&queue).await.unwrap();
    let held = Task::new("held");
    publish(&subject, &queue, held.clone()).await;
    let mut consumer = consume(&subject, &queue, 1).await;
    let delivery = next(&mut consumer).await;
    let cancelled = subject.admin().cancel(&held.id).await.unwrap();
    assert_eq!(cancelled, Cancelled::Requested);
    until_cancelled(&mut listener, &held.id).await;
    // A worker that comes later may be handed the task again.
    let mut late = listen(&subject, &queue).await;
    until_cancelled(&mut late, &held.id).await;
    assert!(delivery.is_current());
    delivery.settle(Settlement::Ack).unwrap();
    consumer.close().await;
}

pub(super) async fn a_worker_is_asked_to_drain_by_its_name(subject: Subject) {
    let queue = with_queue(&subject).await;
    let mut listener = listen(&subject, &queue).await;
    subject.admin().drain("worker-7").await.unwrap();
    let asked = told(&mut listener).await;
    assert_eq!(asked, Control::Drain("worker-7".to_owned()));
}
