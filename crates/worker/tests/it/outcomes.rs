//! What a handler may do, and what becomes of its task and of its neighbours.

use crate::bench::{Bench, start};
use pumasi_worker::{Context, HandlerError, HandlerResult};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

#[derive(serde::Deserialize)]
struct Resize {
    width: u32,
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_handler_does_costs_its_own_task_only() {
    let bench = Bench::new().await;
    let good = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&good);
    let worker = bench
        .worker(|config| config.timeout = Duration::from_millis(300))
        .handle("fail", async |_: Context| {
            Err::<(), _>(HandlerError::fail("no"))
        })
        .and_then(|w| {
            w.handle("reject", async |_: Context| {
                Err::<(), _>(HandlerError::reject("never"))
            })
        })
        .and_then(|w| {
            w.handle("panic", async |_: Context| -> HandlerResult {
                panic!("boom")
            })
        })
        .and_then(|w| {
            w.handle("hang", async |_: Context| -> HandlerResult {
                std::future::pending().await
            })
        })
        .and_then(|w| {
            w.handle("json", async |context: Context| {
                let resize: Resize = context.json()?;
                assert!(resize.width > 0);
                Ok(())
            })
        })
        .and_then(|w| {
            w.handle_blocking("good", move |_| {
                seen.fetch_add(1, Ordering::SeqCst);
                Ok(())
            })
        })
        .unwrap();
    for kind in ["fail", "reject", "panic", "hang", "nobody"] {
        bench.submit("work", kind, kind).await;
        bench.submit("work", "good", "good").await;
    }
    bench.submit("work", "json", "{\"width\": \"wide\"}").await;
    bench.submit("work", "json", "{\"width\": 10}").await;
    let running = start(worker);
    let mut dead = bench.dead(6).await;
    dead.sort();
    let expected = [
        ("fail", "attempts-spent"),
        ("hang", "attempts-spent"),
        ("nobody", "unknown-kind"),
        ("panic", "crashed"),
        ("reject", "rejected"),
        ("{\"width\": \"wide\"}", "malformed"),
    ];
    assert_eq!(
        dead,
        expected.map(|(payload, reason)| (payload.to_owned(), reason.to_owned()))
    );
    running.stop().await;
    assert_eq!(good.load(Ordering::SeqCst), 5);
    assert_eq!(bench.ready("work").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_learns_that_its_time_is_up_and_may_still_finish() {
    let bench = Bench::new().await;
    let worker = bench
        .worker(|config| config.timeout = Duration::from_millis(100))
        .handle("polite", async |context: Context| {
            context.cancellation.cancelled().await;
            Ok(())
        })
        .unwrap();
    bench.submit("work", "polite", "x").await;
    let running = start(worker);
    crate::bench::until("the task's end", async || bench.left("work").await == 0).await;
    running.stop().await;
    assert_eq!(bench.left("work").await, 0);
    assert_eq!(bench.ready("work.dead").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_may_ask_for_less_time_than_the_worker_grants() {
    let bench = Bench::new().await;
    let worker = bench
        .worker(|_| {})
        .handle("hang", async |_: Context| -> HandlerResult {
            std::future::pending().await
        })
        .unwrap();
    let mut task = pumasi_common::Task::new("x").with_kind("hang".parse().unwrap());
    task.timeout = Some(Duration::from_millis(50));
    let destination = pumasi_common::Destination::Queue(crate::bench::name("work"));
    let publication = pumasi_common::Publication::new(destination, task);
    bench.broker.publish(publication).await;
    let running = start(worker);
    assert_eq!(bench.dead(1).await[0].1, "attempts-spent");
    running.stop().await;
}
