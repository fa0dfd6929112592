//! Operators reach workers, whenever these start and whatever their connection does.

use super::*;
use futures_util::FutureExt;
use pumasi_common::{
    TaskId,
    broker::{AdminError, BoxStream, Cancelled, Control, Pause},
};

async fn listen(broker: &RabbitMqBroker, queue: &str) -> BoxStream<Control> {
    broker.control(vec![name(queue)]).await.unwrap()
}

async fn told(listener: &mut BoxStream<Control>) -> Control {
    timeout(LIMIT, listener.next()).await.unwrap().unwrap()
}

async fn cancel(broker: &RabbitMqBroker, id: &str) {
    let id = TaskId::new(id).unwrap();
    let cancelled = broker.admin().cancel(&id).await.unwrap();
    assert_eq!(cancelled, Cancelled::Requested);
}

fn cancelled(control: Control) -> String {
    match control {
        Control::Cancel { id, .. } => id.to_string(),
        other @ (Control::Pause(_) | Control::Resume(_) | Control::Drain(_)) => panic!("{other:?}"),
    }
}

#[test]
fn a_worker_that_starts_is_told_of_cancellations_and_not_of_drains_before() {
    together(|node| async move {
        let broker = open(&node.new_vhost_url()).await;
        declare(&broker, "work", QueueKind::Quorum).await;
        for number in 0..30 {
            cancel(&broker, &format!("before-{number}")).await;
            if number % 10 == 0 {
                broker.admin().drain("worker-1").await.unwrap();
            }
        }
        let mut listener = listen(&broker, "work").await;
        // They are there at once: no task is started before they are known.
        for number in 0..30 {
            let told = listener.next().now_or_never().unwrap().unwrap();
            assert_eq!(cancelled(told), format!("before-{number}"));
        }
        broker.admin().drain("worker-1").await.unwrap();
        cancel(&broker, "after").await;
        assert_eq!(
            told(&mut listener).await,
            Control::Drain("worker-1".to_owned())
        );
        assert_eq!(cancelled(told(&mut listener).await), "after");
        broker.close().await;
        assert!(timeout(LIMIT, listener.next()).await.unwrap().is_none());
    });
}

#[test]
fn a_lost_connection_misses_nothing_and_repeats_nothing() {
    together(|node| async move {
        let vhost = node.new_vhost();
        let worker = open(&node.url_of(&vhost)).await;
        let operator = open(&node.url_of(&vhost)).await;
        declare(&operator, "work", QueueKind::Classic).await;
        cancel(&operator, "a").await;
        let mut listener = listen(&worker, "work").await;
        assert_eq!(cancelled(told(&mut listener).await), "a");
        cut_connections(node, &vhost);
        cancel(&operator, "b").await;
        let queue = name("work");
        operator.admin().pause(&queue, Pause::On).await.unwrap();
        operator.admin().drain("worker-1").await.unwrap();
        // The pause may be seen before its entry is read.
        let mut all = Vec::new();
        for _ in 0..3 {
            all.push(match told(&mut listener).await {
                Control::Cancel { id, .. } => id.to_string(),
                Control::Pause(queue) => format!("pause {queue}"),
                Control::Resume(queue) => format!("resume {queue}"),
                Control::Drain(worker) => format!("drain {worker}"),
            });
        }
        all.sort();
        assert_eq!(all, ["b", "drain worker-1", "pause work"]);
        operator.admin().pause(&queue, Pause::On).await.unwrap();
        operator.admin().pause(&queue, Pause::Off).await.unwrap();
        operator.admin().pause(&queue, Pause::Off).await.unwrap();
        cancel(&operator, "c").await;
        assert_eq!(told(&mut listener).await, Control::Resume(queue));
        assert_eq!(cancelled(told(&mut listener).await), "c");
        worker.close().await;
        operator.close().await;
    });
}

#[test]
fn a_worker_that_may_not_read_the_stream_still_hears_of_pauses() {
    together(|node| async move {
        let url = node.new_vhost_url();
        let operator = open(&url).await;
        declare(&operator, "work", QueueKind::Classic).await;
        let queue = name("work");
        operator.admin().pause(&queue, Pause::On).await.unwrap();
        let worker = open(&node.new_user_url(&url, ["^work", ".*", "^work"])).await;
        let mut listener = listen(&worker, "work").await;
        assert_eq!(told(&mut listener).await, Control::Pause(queue.clone()));
        operator.admin().pause(&queue, Pause::Off).await.unwrap();
        assert_eq!(told(&mut listener).await, Control::Resume(queue));
        worker.close().await;
        operator.close().await;
    });
}

#[test]
fn a_broker_without_streams_says_so_and_pauses_all_the_same() {
    if let Err(reason) = Version::V4_3.available() {
        println!("skipped: {reason}");
        return;
    }
    let node = RabbitMq::start(Version::V4_3);
    node.ctl(&[
        "eval",
        "application:set_env(rabbit, stream_queues_enabled, false).",
    ]);
    runtime().block_on(async {
        let broker = open(&node.new_vhost_url()).await;
        declare(&broker, "work", QueueKind::Classic).await;
        let refused = broker.admin().drain("worker-1").await;
        assert!(
            matches!(refused, Err(AdminError::Unsupported { .. })),
            "{refused:?}"
        );
        let queue = name("work");
        broker.admin().pause(&queue, Pause::On).await.unwrap();
        let mut listener = listen(&broker, "work").await;
        assert_eq!(told(&mut listener).await, Control::Pause(queue));
        broker.close().await;
    });
}

#[test]
fn pausing_a_queue_that_does_not_exist_is_refused() {
    together(|node| async move {
        let broker = open(&node.new_vhost_url()).await;
        let refused = broker.admin().pause(&name("nowhere"), Pause::On).await;
        assert!(
            matches!(refused, Err(AdminError::QueueMissing { .. })),
            "{refused:?}"
        );
        broker.close().await;
    });
}
