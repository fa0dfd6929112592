//! When failed tasks are tried again: hours of schedule in milliseconds.

use crate::world::{World, attempts, task};
use pumasi_common::{QueueSpec, RetryPolicy, RetryRules, dead, outcome::Outcome, wire};
use pumasi_worker::{Context, HandlerError, Rules, Unknown};
use std::{
    num::NonZeroU32,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::Instant;

type Attempts = Arc<Mutex<Vec<(u32, Instant)>>>;

/// A handler that fails each time and notes when it was started.
fn failing(
    seen: &Attempts,
    retry_after: Option<Duration>,
) -> impl Fn(Context) -> std::future::Ready<Result<(), HandlerError>> + Send + Sync + 'static {
    let seen = Arc::clone(seen);
    move |context: Context| {
        seen.lock()
            .unwrap()
            .push((context.attempt(), Instant::now()));
        std::future::ready(Err(match retry_after {
            Some(delay) => HandlerError::retry_after("no route", delay),
            None => HandlerError::fail("no route"),
        }))
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_task_is_tried_again_with_growing_delays_and_is_dead_after_its_last_attempt() {
    let world = World::new().await;
    let seen = Attempts::default();
    let policy = RetryPolicy {
        delay_base: Duration::from_secs(60),
        delay_max: Duration::from_secs(3600),
        ..attempts(9)
    };
    let worker = world
        .worker(|config| config.retry = policy)
        .handle("mail", failing(&seen, None))
        .unwrap();
    let running = world.start(worker);
    let sent = task("mail");
    world.submit(sent.clone()).await;
    world.until("work.dead", 1).await;
    running.stop().await;

    let seen = seen.lock().unwrap().clone();
    let numbers: Vec<u32> = seen.iter().map(|(attempt, _)| *attempt).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    for (before, after) in seen.iter().zip(seen.iter().skip(1)) {
        let bound = policy.delay_bound(NonZeroU32::new(before.0).unwrap());
        let waited = after.1 - before.1;
        // The clock moves in milliseconds.
        assert!(
            waited <= bound + Duration::from_millis(50),
            "{waited:?} of {bound:?}"
        );
    }
    let whole = seen.last().unwrap().1 - seen[0].1;
    println!("nine attempts over {whole:?}");
    assert!(
        whole > Duration::from_secs(600),
        "jitter leaves delays: {whole:?}"
    );

    let dead = world.tasks("work.dead").remove(0);
    let text = |name| dead.headers.get(name).and_then(|it| it.as_text());
    assert_eq!(dead.id, sent.id);
    assert_eq!(dead.payload, sent.payload);
    assert_eq!(dead.attempt.get(), 9);
    assert!(dead.failed_since.is_some());
    assert_eq!(text(wire::DEAD_REASON), Some("attempts-spent"));
    assert_eq!(text(wire::DEAD_ERROR), Some("no route"));
    assert_eq!(world.tasks("work"), []);
}

#[tokio::test(start_paused = true)]
async fn a_handlers_own_delay_is_kept_to_and_the_attempt_counted() {
    let world = World::new().await;
    let seen = Attempts::default();
    let own = Duration::from_secs(7200);
    let worker = world
        .worker(|config| config.retry = attempts(3))
        .handle("mail", failing(&seen, Some(own)))
        .unwrap();
    let running = world.start(worker);
    world.submit(task("mail")).await;
    world.until("work.dead", 1).await;
    running.stop().await;
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 3);
    for (before, after) in seen.iter().zip(seen.iter().skip(1)) {
        let waited = after.1 - before.1;
        assert!(
            waited >= own && waited < own + Duration::from_millis(50),
            "{waited:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn rules_of_a_kind_win_over_those_of_its_queue_and_these_over_the_workers() {
    let world = World::new().await;
    let (of_kind, of_queue) = (Attempts::default(), Attempts::default());
    let rules = |count: u32| RetryRules {
        attempts_max: NonZeroU32::new(count),
        delay_base: Some(Duration::from_millis(1)),
        ..RetryRules::default()
    };
    let spec = QueueSpec {
        retry: rules(3),
        ..QueueSpec::new(crate::bench::name("work"))
    };
    let kind = "special".parse().unwrap();
    let worker = world
        .worker(|config| config.retry = attempts(9))
        .handle("special", failing(&of_kind, None))
        .and_then(|worker| worker.handle("usual", failing(&of_queue, None)))
        .unwrap()
        .rules(
            Some(&kind),
            Rules {
                retry: rules(2),
                ..Rules::default()
            },
        )
        .queues(vec![spec]);
    let running = world.start(worker);
    world.submit(task("special")).await;
    world.submit(task("usual")).await;
    world.until("work.dead", 2).await;
    running.stop().await;
    assert_eq!(of_kind.lock().unwrap().len(), 2);
    assert_eq!(of_queue.lock().unwrap().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_nobody_knows_yet_waits_for_a_worker_that_does() {
    let world = World::new().await;
    let old = world.worker(|config| {
        config.unknown = Unknown::RequeueLater;
        config.retry = attempts(1);
    });
    let running = world.start(old);
    world.submit(task("new")).await;
    // Offered twenty times, and no attempt is lost.
    tokio::time::sleep(Duration::from_secs(600)).await;
    running.stop().await;
    assert_eq!(world.tasks("work").len(), 1);
    assert_eq!(world.tasks("work")[0].attempt.get(), 1);
    let seen = Attempts::default();
    let new = world
        .worker(|config| config.retry = attempts(1))
        .handle("new", failing(&seen, None))
        .unwrap();
    let running = world.start(new);
    world.until("work.dead", 1).await;
    running.stop().await;
    assert_eq!(seen.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn whoever_asked_hears_of_each_attempt_and_of_the_end() {
    let world = World::new().await;
    let worker = world
        .worker(|config| config.retry = attempts(3))
        .handle("third", async |context: Context| {
            context.progress("looking");
            tokio::time::sleep(Duration::from_secs(1)).await;
            match context.attempt() {
                3 => Ok("found".to_owned()),
                _ => Err(HandlerError::fail("not there")),
            }
        })
        .unwrap();
    let running = world.start(worker);
    let mut sent = task("third");
    sent.reply_to = Some("answers".to_owned());
    sent.correlation_id = Some("call 7".to_owned());
    sent.wants_progress = true;
    world.submit(sent).await;
    world.until("work", 0).await;
    running.stop().await;
    let answers = world.answers().await;
    assert!(
        answers
            .iter()
            .all(|(it, _)| it.correlation_id.as_deref() == Some("call 7"))
    );
    let words: Vec<&str> = answers.iter().map(|(_, it)| it.as_str()).collect();
    let attempt = ["started", "progress"];
    let expected = [
        &attempt[..],
        &["retry"],
        &attempt,
        &["retry"],
        &attempt,
        &["done"],
    ]
    .concat();
    assert_eq!(words, expected);
    let expected = Outcome::Done("found".to_owned().into());
    assert_eq!(answers.last().unwrap().1, expected);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_done_is_not_done_again_within_the_window() {
    let world = World::new().await;
    let count = Arc::new(Mutex::new(0));
    let seen = Arc::clone(&count);
    let worker = world
        .worker(|_| {})
        .handle("once", move |_: Context| {
            *seen.lock().unwrap() += 1;
            std::future::ready(Ok(()))
        })
        .unwrap()
        .duplicate_window(Duration::from_secs(3600));
    let running = world.start(worker);
    let mut sent = task("once");
    sent.reply_to = Some("answers".to_owned());
    for _ in 0..3 {
        world.submit(sent.clone()).await;
        world.until("work", 0).await;
    }
    assert_eq!(*count.lock().unwrap(), 1);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    world.submit(sent).await;
    world.until("work", 0).await;
    running.stop().await;
    assert_eq!(*count.lock().unwrap(), 2);
    let answers = world.answers().await;
    assert_eq!(answers.len(), 4, "each submit is answered");
    assert!(answers.iter().all(|(_, it)| matches!(it, Outcome::Done(_))));
}

/// Copies of a task with one id, as a submit without an answer leaves them when it is repeated.
async fn two_copies(concurrency: u16) -> (World, Attempts) {
    let world = World::new().await;
    let seen = Attempts::default();
    let noted = Arc::clone(&seen);
    let rejecting = move |context: Context| {
        let noted = Arc::clone(&noted);
        async move {
            let at = (context.attempt(), Instant::now());
            noted.lock().unwrap().push(at);
            tokio::time::sleep(Duration::from_secs(1)).await;
            Err::<(), _>(HandlerError::reject("never"))
        }
    };
    let worker = world
        .worker(|config| config.concurrency = concurrency.try_into().unwrap())
        .handle("mail", rejecting)
        .unwrap();
    let mut sent = task("mail");
    sent.reply_to = Some("answers".to_owned());
    world.submit(sent.clone()).await;
    world.submit(sent.clone()).await;
    let running = world.start(worker);
    world.until("answers", 2).await;
    world.until("work", 0).await;
    assert_eq!(world.tasks("work.dead").len(), 1);
    let is_dead = |(_, told): &(_, Outcome)| matches!(told, Outcome::Dead { .. });
    assert!(world.answers().await.iter().all(is_dead));

    // Replayed, it is run, and may die again.
    let mut again = dead::replayed(&world.tasks("work.dead")[0], 1_700_000_000_000);
    again.reply_to = None;
    world.submit(again).await;
    world.until("work.dead", 2).await;
    running.stop().await;
    (world, seen)
}

#[tokio::test(start_paused = true)]
async fn a_second_copy_of_what_is_dead_is_not_run_and_no_second_dead_letter() {
    let (_world, seen) = two_copies(1).await;
    assert_eq!(seen.lock().unwrap().len(), 2, "one copy, and the replay");
}

#[tokio::test(start_paused = true)]
async fn copies_that_die_at_the_same_time_are_one_dead_letter() {
    let (_world, seen) = two_copies(4).await;
    assert_eq!(seen.lock().unwrap().len(), 3, "both copies, and the replay");
}
