//! Submitting and working at once, on two connections of one process.

use super::{
    drain::work,
    place::{accepted, fill, open, queue, task},
};
use pumasi_producer::Client;
use pumasi_testkit::bench::{Latency, Measured, Order, Watch};
use pumasi_worker::Context;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

/// Handlers at once.
const CONCURRENCY: u16 = 64;
/// The same as in `bench/c/both.c`.
const PER_SECOND: u32 = 200;
/// Bytes of the time in a payload.
const STAMP: usize = 8;

/// As fast as both go.
pub async fn at_once(order: &Order) -> Measured {
    let (broker, other) = (open(order).await, open(order).await);
    let client = Client::new(Arc::clone(&broker));
    let watch = Watch::start();
    tokio::join!(
        fill(&client, order),
        work(&other, order, CONCURRENCY, async |_: Context| Ok(())),
    );
    let measured = watch.stop(order.count);
    broker.close().await;
    other.close().await;
    measured
}

/// At a fixed rate: from the call of submit to the start of the handler. Not from its return: a
/// delivery often overtakes the confirm.
pub async fn queue_time(order: &Order) -> Measured {
    let (broker, other) = (open(order).await, open(order).await);
    let client = Client::new(Arc::clone(&broker));
    let begun = Instant::now();
    let times = Arc::new(Mutex::new(Vec::with_capacity(order.count)));
    let known = Arc::clone(&times);
    let handler = move |context: Context| {
        let waited = begun.elapsed().saturating_sub(stamp(&context.task.payload));
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        known.push(waited);
        async { Ok(()) }
    };
    let watch = Watch::start();
    tokio::join!(
        submit_steadily(&client, order, begun),
        work(&other, order, CONCURRENCY, handler),
    );
    let measured = watch.stop(order.count);
    broker.close().await;
    other.close().await;
    let times = std::mem::take(&mut *times.lock().unwrap_or_else(PoisonError::into_inner));
    Measured {
        latency: Latency::of(times),
        ..measured
    }
}

async fn submit_steadily(client: &Client, order: &Order, begun: Instant) {
    let mut due = interval(Duration::from_secs(1) / PER_SECOND);
    due.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut submits = JoinSet::new();
    for _ in 0..order.count {
        due.tick().await;
        let client = client.clone();
        let mut payload = order.payload();
        payload.resize(payload.len().max(STAMP), 0);
        submits.spawn(async move {
            let now = u64::try_from(begun.elapsed().as_nanos()).unwrap();
            payload[..STAMP].copy_from_slice(&now.to_le_bytes());
            accepted(&client.submit(task(&queue(), payload.into())).await);
        });
    }
    while let Some(ended) = submits.join_next().await {
        ended.unwrap();
    }
}

/// When the task was submitted.
pub fn stamp(payload: &[u8]) -> Duration {
    let stamp = payload.first_chunk::<STAMP>().expect("a task of ours");
    Duration::from_nanos(u64::from_le_bytes(*stamp))
}
