//! What operators ask of running workers.

use crate::world::{World, task};
use pumasi_common::{
    Broker, Task, TaskId,
    broker::{Cancelled, Pause},
    outcome::Outcome,
};
use pumasi_worker::{Context, HandlerError, HandlerResult};
use std::{
    collections::HashMap,
    num::NonZeroU16,
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

#[tokio::test(start_paused = true)]
async fn ten_thousand_cancellations_at_random_moments_leave_each_task_one_end() {
    const TASKS: u64 = 10_000;
    fastrand::seed(7);
    let world = World::new().await;
    let worker = world
        .worker(|config| {
            config.concurrency = NonZeroU16::new(400).unwrap();
        })
        .handle("short", async |context: Context| {
            let work = tokio::time::sleep(Duration::from_millis(fastrand::u64(0..400)));
            tokio::select! {
                () = work => HandlerResult::Ok(()),
                () = context.cancellation.cancelled() => Err(HandlerError::fail("told to stop")),
            }
        })
        .unwrap();
    let running = world.start(worker);
    let mut ids = Vec::new();
    for _ in 0..TASKS {
        let sent = asking("short");
        ids.push(sent.id.clone());
        let delay = Duration::from_millis(fastrand::u64(0..60) * fastrand::u64(0..2));
        world.submit_after(sent, delay).await;
    }
    let answers = ids.iter().map(|id| async {
        tokio::time::sleep(Duration::from_millis(fastrand::u64(0..5_000))).await;
        world.model.admin().cancel(id).await.unwrap()
    });
    let said = futures_util::future::join_all(answers).await;
    world.until("work", 0).await;
    running.stop().await;
    let count = |what| said.iter().filter(|it| **it == what).count();
    let (gone, asked, late) = (
        count(Cancelled::Done),
        count(Cancelled::Requested),
        count(Cancelled::Missing),
    );
    println!("cancelled while waiting {gone}, asked while running {asked}, too late {late}");
    assert!(gone > 0 && asked > 0 && late > 0, "no race was run");

    let mut ends: HashMap<TaskId, Vec<&'static str>> = HashMap::new();
    for step in world.model.steps() {
        if step.to == "done" || step.to == "cancelled" {
            ends.entry(step.id).or_default().push(step.to);
        }
    }
    for (id, said) in ids.iter().zip(said) {
        let end = &ends[id];
        assert_eq!(end.len(), 1, "{id} ended as {end:?}");
        match said {
            Cancelled::Done => assert_eq!(end[0], "cancelled"),
            Cancelled::Missing => assert_eq!(end[0], "done"),
            Cancelled::Requested => {}
        }
    }
    assert_eq!(world.answers().await.len() as u64, TASKS);
}
