//! How a worker ends: within its grace, after it, and at once.

use crate::bench::{Bench, Running, start, until};
use pumasi_worker::{Context, HandlerResult};
use std::{
    num::NonZeroU16,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// A worker whose one handler never ends, and has begun.
async fn hanging(bench: &Bench, grace: Duration) -> Running {
    let begun = Arc::new(AtomicBool::new(false));
    let began = Arc::clone(&begun);
    let worker = bench
        .worker(|config| config.drain_timeout = grace)
        .handle("hang", move |_: Context| {
            began.store(true, Ordering::SeqCst);
            std::future::pending::<HandlerResult>()
        })
        .unwrap();
    bench.submit("work", "hang", "x").await;
    let running = start(worker);
    until("the handler", async || begun.load(Ordering::SeqCst)).await;
    running
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_outlives_the_grace_is_ended_and_its_task_goes_back() {
    let bench = Bench::new().await;
    let running = hanging(&bench, Duration::from_millis(50)).await;
    running.stop().await;
    assert_eq!(bench.ready("work").await, 1);
    assert_eq!(bench.ready("work.dead").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_the_worker_before_its_grace() {
    let bench = Bench::new().await;
    let running = hanging(&bench, Duration::from_secs(3600)).await;
    running.shutdown.advance();
    running.stop().await;
    assert_eq!(bench.ready("work").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_blocks_its_thread_does_not_keep_the_worker_from_ending() {
    let bench = Bench::new().await;
    let (begun, free) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let (began, freed) = (Arc::clone(&begun), Arc::clone(&free));
    let worker = bench
        .worker(|config| {
            config.drain_timeout = Duration::from_millis(50);
            config.concurrency = NonZeroU16::MIN;
        })
        .handle("block", move |_: Context| {
            began.store(true, Ordering::SeqCst);
            while !freed.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(5));
            }
            async { Ok(()) }
        })
        .unwrap();
    bench.submit("work", "block", "x").await;
    bench.submit("work", "block", "y").await;
    let running = start(worker);
    until("the handler", async || begun.load(Ordering::SeqCst)).await;
    running.stop().await;
    assert_eq!(bench.ready("work").await, 2);
    free.store(true, Ordering::SeqCst);
}
