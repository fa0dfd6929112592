//! Draining a full queue with the worker's runtime: acknowledged after the work.

use super::place::{open, queue};
use pumasi_common::{Broker, broker::BoxFuture};
use pumasi_service::shutdown::Shutdown;
use pumasi_testkit::bench::{Measured, Order, Watch};
use pumasi_worker::{
    Context, Handler, HandlerResult, Output, Worker, WorkerConfig,
    config::Prefetch,
    handler::exec::{Exec, lifeline},
};
use std::{
    num::NonZeroU16,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Handlers at once, where they take no time of their own.
const CONCURRENCY: u16 = 64;

/// Stops the worker after so many runs of a handler.
struct Counted<H> {
    handler: H,
    left: AtomicUsize,
    shutdown: Shutdown,
}

impl<H: Handler> Handler for Counted<H> {
    fn handle(&self, context: Context) -> BoxFuture<'_, HandlerResult<Output>> {
        Box::pin(async move {
            let done = self.handler.handle(context).await;
            assert!(done.is_ok(), "{:?}", done.err());
            if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
                self.shutdown.advance();
            }
            done
        })
    }
}

/// A handler that does nothing.
pub async fn nothing(order: &Order) -> Measured {
    let broker = open(order).await;
    let watch = Watch::start();
    work(&broker, order, CONCURRENCY, async |_: Context| Ok(())).await;
    let measured = watch.stop(order.count);
    broker.close().await;
    measured
}

/// A program for each task, as many at once as the window: `true`, which does nothing.
pub async fn exec(order: &Order) -> Measured {
    let broker = open(order).await;
    lifeline::start().unwrap();
    let program = Exec::new(&["true".to_owned()]).unwrap();
    let watch = Watch::start();
    work(&broker, order, order.window, program).await;
    let measured = watch.stop(order.count);
    broker.close().await;
    measured
}

/// Works until the order's tasks are done and settled.
pub async fn work(
    broker: &Arc<dyn Broker>,
    order: &Order,
    concurrency: u16,
    handler: impl Handler,
) {
    let config = WorkerConfig {
        queues: vec![queue()],
        concurrency: NonZeroU16::new(concurrency).unwrap(),
        prefetch: Prefetch::Fixed(NonZeroU16::new(order.window).unwrap()),
        ..WorkerConfig::default()
    };
    let shutdown = Shutdown::default();
    let counted = Counted {
        handler,
        left: AtomicUsize::new(order.count),
        shutdown: shutdown.clone(),
    };
    let worker = Worker::builder(Arc::clone(broker), config)
        .handler(None, Arc::new(counted))
        .build()
        .unwrap();
    worker.run(shutdown).await.unwrap();
}
