//! What operators ask of running workers.

use crate::world::{World, task};
use pumasi_common::{
    Broker, Task,
    broker::{Cancelled, Pause},
    outcome::Outcome,
};
use pumasi_worker::{Context, HandlerError, HandlerResult};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

fn asking(kind: &str) -> Task {
    let mut task = task(kind);
    task.reply_to = Some("answers".to_owned());
    task
}

async fn polite(context: Context) -> HandlerResult {
    context.cancellation.cancelled().await;
    Err(HandlerError::fail("told to stop"))
}

async fn deaf(_: Context) -> HandlerResult {
    std::future::pending().await
}

async fn stubborn(context: Context) -> HandlerResult {
    context.cancellation.cancelled().await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_running_task_is_told_to_stop_and_ends_cancelled_unless_it_finishes() {
    for (kind, expected) in [
        ("polite", "cancelled"),
        ("deaf", "cancelled"),
        ("stubborn", "done"),
    ] {
        let world = World::new().await;
        let worker = world
            .worker(|_| {})
            .handle("polite", polite)
            .and_then(|worker| worker.handle("deaf", deaf))
            .and_then(|worker| worker.handle("stubborn", stubborn))
            .unwrap();
        let running = world.start(worker);
        let sent = asking(kind);
        world.submit(sent.clone()).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let asked = world.model.admin().cancel(&sent.id).await.unwrap();
        assert_eq!(asked, Cancelled::Requested);
        world.until("work", 0).await;
        running.stop().await;
        let answers = world.answers().await;
        let words: Vec<&str> = answers.iter().map(|(_, it)| it.as_str()).collect();
        assert_eq!(words, [expected], "{kind}");
        assert_eq!(world.tasks("work.dead"), []);
    }
}

#[tokio::test(start_paused = true)]
async fn a_paused_queue_rests_for_all_workers_and_what_runs_finishes() {
    let world = World::new().await;
    let started = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&started);
    let handler = move |_: Context| {
        seen.fetch_add(1, Ordering::SeqCst);
        async {
            tokio::time::sleep(Duration::from_secs(10)).await;
            HandlerResult::Ok(())
        }
    };
    let admin = world.model.admin();
    let work = crate::bench::name("work");
    let running = world.start(
        world
            .worker(|_| {})
            .handle("slow", handler.clone())
            .unwrap(),
    );
    for _ in 0..10 {
        world.submit(asking("slow")).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    admin.pause(&work, Pause::On).await.unwrap();
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(started.load(Ordering::SeqCst), 4);
    assert_eq!(
        world.answers().await.len(),
        4,
        "what ran is done, once each"
    );
    assert!(admin.queue(&work).await.unwrap().paused);

    // A worker that comes meanwhile finds the queue paused.
    let second = world.start(world.worker(|_| {}).handle("slow", handler).unwrap());
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(started.load(Ordering::SeqCst), 4);
    admin.pause(&work, Pause::Off).await.unwrap();
    world.until("work", 0).await;
    assert_eq!(started.load(Ordering::SeqCst), 10);
    // Paused with old consumers still known, it ends all the same.
    admin.pause(&work, Pause::On).await.unwrap();
    running.stop().await;
    second.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_asked_by_its_name_drains_and_ends() {
    let world = World::new().await;
    let worker = world.worker(|_| {}).handle("slow", async |_: Context| {
        tokio::time::sleep(Duration::from_secs(10)).await;
        HandlerResult::Ok(())
    });
    let running = world.start(worker.unwrap());
    world.submit(asking("slow")).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.model.admin().drain("somebody else").await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!running.shutdown.intake.is_cancelled());
    world.model.admin().drain("w").await.unwrap();
    running.ended().await;
    assert_eq!(world.answers().await.len(), 1);
    assert!(matches!(world.answers().await[0].1, Outcome::Done(_)));
}
