//! Submitting with the client library.

use super::place::{accepted, fill, open, queue, task};
use pumasi_producer::Client;
use pumasi_testkit::bench::{Latency, Measured, Order, Watch};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};
use tokio::task::JoinSet;

/// One stream of tasks, a window of them unconfirmed.
pub async fn many(order: &Order) -> Measured {
    let broker = open(order).await;
    let client = Client::new(Arc::clone(&broker));
    let watch = Watch::start();
    fill(&client, order).await;
    let measured = watch.stop(order.count);
    broker.close().await;
    measured
}

/// As many callers as the window, each waiting for its own confirm before the next submit.
pub async fn callers(order: &Order) -> Measured {
    let broker = open(order).await;
    let client = Client::new(Arc::clone(&broker));
    let payload = bytes::Bytes::from(order.payload());
    let left = Arc::new(AtomicUsize::new(order.count));
    let watch = Watch::start();
    let mut callers = JoinSet::new();
    for _ in 0..order.window {
        let (client, left, payload) = (client.clone(), Arc::clone(&left), payload.clone());
        callers.spawn(async move {
            let queue = queue();
            let take = |left: usize| left.checked_sub(1);
            while left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
                .is_ok()
            {
                accepted(&client.submit(task(&queue, payload.clone())).await);
            }
        });
    }
    while let Some(ended) = callers.join_next().await {
        ended.unwrap();
    }
    let measured = watch.stop(order.count);
    broker.close().await;
    measured
}

/// One caller, one task at a time.
pub async fn one(order: &Order) -> Measured {
    let broker = open(order).await;
    let client = Client::new(Arc::clone(&broker));
    let (queue, payload) = (queue(), bytes::Bytes::from(order.payload()));
    let mut times = Vec::with_capacity(order.count);
    let watch = Watch::start();
    for _ in 0..order.count {
        let begun = Instant::now();
        accepted(&client.submit(task(&queue, payload.clone())).await);
        times.push(begun.elapsed());
    }
    let measured = watch.stop(order.count);
    broker.close().await;
    Measured {
        latency: Latency::of(times),
        ..measured
    }
}
