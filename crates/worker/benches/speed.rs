//! A whole worker: consume, dispatch, a handler that does nothing, settle, drain.
#![allow(clippy::unwrap_used, clippy::panic, reason = "development only")]

use pumasi_common::{ConnectionSettings, QueueName};
use pumasi_service::shutdown::Shutdown;
use pumasi_testkit::bench::{Order, Watch};
use pumasi_worker::{Context, Worker, WorkerConfig, config::Prefetch};
use std::{
    num::NonZeroU16,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Handlers at once.
const CONCURRENCY: u16 = 64;

#[tokio::main]
async fn main() {
    // The queue has been filled.
    let Some(order) = Order::or_explain() else {
        return;
    };
    let broker = pumasi_broker::open(&ConnectionSettings::of_url(&order.at))
        .await
        .unwrap();
    let config = WorkerConfig {
        queues: vec![QueueName::new("bench").unwrap()],
        concurrency: NonZeroU16::new(CONCURRENCY).unwrap(),
        prefetch: Prefetch::Fixed(NonZeroU16::new(order.window).unwrap()),
        ..WorkerConfig::default()
    };
    let shutdown = Shutdown::default();
    let (left, enough) = (Arc::new(AtomicUsize::new(order.count)), shutdown.clone());
    let handler = move |_: Context| {
        if left.fetch_sub(1, Ordering::Relaxed) == 1 {
            enough.advance();
        }
        async { Ok(()) }
    };
    let worker = Worker::builder(Arc::clone(&broker), config)
        .handler(None, Arc::new(handler))
        .build()
        .unwrap();
    let watch = Watch::start();
    worker.run(shutdown).await.unwrap();
    watch.stop();
    broker.close().await;
}
