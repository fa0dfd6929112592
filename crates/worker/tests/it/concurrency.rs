//! How many handlers run at once.

use crate::bench::{Bench, name, start, until};
use pumasi_worker::Context;
use std::{
    num::NonZeroU16,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::sync::Semaphore;

/// Counts who is inside, and lets out whom it is told to.
#[derive(Clone)]
struct Room {
    inside: Arc<AtomicUsize>,
    out: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    way_out: Arc<Semaphore>,
}

impl Room {
    fn new() -> Self {
        Self {
            inside: Arc::default(),
            out: Arc::default(),
            most: Arc::default(),
            way_out: Arc::new(Semaphore::new(0)),
        }
    }

    async fn stay(&self) {
        let inside = self.inside.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(inside, Ordering::SeqCst);
        self.way_out.acquire().await.unwrap().forget();
        self.inside.fetch_sub(1, Ordering::SeqCst);
        self.out.fetch_add(1, Ordering::SeqCst);
    }

    /// How many are inside, and how many have left.
    fn count(&self) -> (usize, usize) {
        let inside = self.inside.load(Ordering::SeqCst);
        (inside, self.out.load(Ordering::SeqCst))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_queues_of_a_worker_share_its_concurrency() {
    let bench = Bench::new().await;
    bench.declare("other").await;
    let room = Room::new();
    let inside = room.clone();
    let worker = bench
        .worker(|config| {
            config.queues.push(name("other"));
            config.concurrency = NonZeroU16::new(3).unwrap();
        })
        .handle("stay", move |_: Context| {
            let room = inside.clone();
            async move {
                room.stay().await;
                Ok(())
            }
        })
        .unwrap();
    for queue in ["work", "other"] {
        for _ in 0..10 {
            bench.submit(queue, "stay", "x").await;
        }
    }
    let running = start(worker);
    for out in 0..=17 {
        until("three inside", async || room.count() == (3, out)).await;
        room.way_out.add_permits(1);
    }
    room.way_out.add_permits(2);
    until("all out", async || {
        bench.ready("work").await + bench.ready("other").await == 0
            && room.inside.load(Ordering::SeqCst) == 0
    })
    .await;
    running.stop().await;
    assert_eq!(room.most.load(Ordering::SeqCst), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn cpu_bound_handlers_run_side_by_side_and_leave_the_others_alone() {
    let bench = Bench::new().await;
    let meeting = Arc::new(std::sync::Barrier::new(8));
    let worker = bench
        .worker(|config| config.concurrency = NonZeroU16::new(9).unwrap())
        // They meet only when eight threads are inside at one moment, whatever the cores.
        .handle_blocking("meet", {
            let meeting = Arc::clone(&meeting);
            move |_| {
                meeting.wait();
                Ok(())
            }
        })
        .and_then(|worker| worker.handle("quick", async |_: Context| Ok(())))
        .unwrap();
    let running = start(worker);
    for _ in 0..7 {
        bench.submit("work", "meet", "x").await;
    }
    for _ in 0..20 {
        bench.submit("work", "quick", "x").await;
    }
    let in_flight = async || {
        let status = bench.broker.admin().queue(&name("work")).await.unwrap();
        status.ready + status.in_flight.unwrap_or(0)
    };
    until("the quick ones", async || in_flight().await == 7).await;
    bench.submit("work", "meet", "x").await;
    until("the meeting", async || in_flight().await == 0).await;
    running.stop().await;
}
