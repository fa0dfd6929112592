//! Tasks that take their worker down, and those that happen to be beside them.

use crate::{
    bench::name,
    world::{World, task},
};
use pumasi_common::{Broker, Destination, Publication, QueueSpec, Topology, wire};
use pumasi_worker::{Context, HandlerError, HandlerResult, WorkerBuilder};
use std::{
    collections::HashMap,
    num::{NonZeroU16, NonZeroU32},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

type Runs = Arc<Mutex<HashMap<String, u32>>>;

fn worker(world: &World, runs: &Runs, killed: &UnboundedSender<()>) -> WorkerBuilder {
    let (seen, killed) = (Arc::clone(runs), killed.clone());
    let innocent = move |context: Context| {
        let id = context.task.id.to_string();
        *seen.lock().unwrap().entry(id).or_default() += 1;
        async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            HandlerResult::Ok(())
        }
    };
    let killer = move |_: Context| {
        killed.send(()).unwrap();
        std::future::pending::<HandlerResult>()
    };
    world
        .worker(|config| {
            config.prefetch = pumasi_worker::Prefetch::Fixed(NonZeroU16::new(20).unwrap());
            config.crashes_max = NonZeroU32::new(3).unwrap();
        })
        .handle("innocent", innocent)
        .and_then(|worker| worker.handle("killer", killer))
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_task_that_kills_its_workers_dies_of_its_own_crashes_and_its_neighbours_are_done() {
    for place in [0, 100, 199] {
        let world = World::new().await;
        let runs = Runs::default();
        let (killed, mut kills) = unbounded_channel();
        for number in 0..200 {
            if number == place {
                world.submit(task("killer")).await;
            }
            world.submit(task("innocent")).await;
        }
        let mut running = world.start(worker(&world, &runs, &killed));
        let mut crashes = 0;
        loop {
            tokio::select! {
                Some(()) = kills.recv() => {
                    crashes += 1;
                    running.kill().await;
                    running = world.start(worker(&world, &runs, &killed));
                }
                () = world.until("work.dead", 1) => break,
            }
        }
        world.until("work", 0).await;
        world.until("work.suspects", 0).await;
        running.stop().await;
        let dead = world.tasks("work.dead").remove(0);
        let text = |name| dead.headers.get(name).and_then(|it| it.as_text()).unwrap();
        assert_eq!(dead.payload, "killer");
        assert_eq!(text(wire::DEAD_REASON), "crashed");
        assert_eq!(text(wire::DEAD_QUEUE), "work");
        let error = "its worker died 3 times while it ran this task alone";
        assert_eq!(text(wire::DEAD_ERROR), error);
        assert_eq!(crashes, 5, "two among others, three alone");
        assert_eq!(runs.lock().unwrap().len(), 200);
    }
}

#[tokio::test(start_paused = true)]
async fn suspects_take_turns_with_others_and_are_not_blamed_for_stops() {
    let world = World::new().await;
    world.model.count_releases();
    let suspects = QueueSpec::new(name("work")).suspects();
    let topology = Topology {
        queues: vec![suspects.clone()],
        topics: vec![],
    };
    world.model.ensure_topology(&topology).await.unwrap();
    for _ in 0..10 {
        let destination = Destination::Queue(suspects.name.clone());
        let publication = Publication::new(destination, task("slow"));
        world.model.publish(publication).await;
        world.submit(task("slow")).await;
    }
    let start = || {
        let worker = world.worker(|config| {
            config.concurrency = NonZeroU16::MIN;
            config.drain_timeout = Duration::from_millis(100);
        });
        let worker = worker.handle("slow", async |_: Context| {
            tokio::time::sleep(Duration::from_secs(4)).await;
            HandlerResult::Ok(())
        });
        world.start(worker.unwrap())
    };
    // Stopped again and again in the middle of the first one.
    for _ in 0..6 {
        let running = start();
        tokio::time::sleep(Duration::from_secs(2)).await;
        running.stop().await;
    }
    assert_eq!(world.tasks("work.suspects").len(), 10);
    let running = start();
    tokio::time::sleep(Duration::from_secs(45)).await;
    let left = |queue| world.tasks(queue).len();
    let (suspects, others) = (left("work.suspects"), left("work"));
    println!("after 45 s {suspects} suspects and {others} others are left, of ten each");
    assert!((1..8).contains(&suspects) && (1..8).contains(&others));
    world.until("work", 0).await;
    world.until("work.suspects", 0).await;
    running.stop().await;
    assert_eq!(left("work.dead"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_suspect_is_not_blamed_for_connections_that_its_worker_lost_and_survived() {
    let world = World::new().await;
    let suspects = QueueSpec::new(name("work")).suspects();
    let topology = Topology {
        queues: vec![suspects.clone()],
        topics: vec![],
    };
    world.model.ensure_topology(&topology).await.unwrap();
    let destination = Destination::Queue(suspects.name.clone());
    let publication = Publication::new(destination, task("slow"));
    world.model.publish(publication).await;
    let worker = world.worker(|_| {}).handle("slow", async |_: Context| {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Err::<(), _>(HandlerError::fail("not done"))
    });
    let running = world.start(worker.unwrap());
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(900)).await;
        world.model.reset("w");
    }
    // The last one that is begun is settled: it failed, and is tried again.
    world.until("work.suspects", 0).await;
    assert_eq!(world.tasks("work.dead"), []);
    assert_eq!(world.tasks("work")[0].attempt.get(), 2);
    running.stop().await;
}
