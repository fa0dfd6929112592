//! `prefetch = "auto"` on the model broker, on a clock that stands still until everybody waits:
//! fast tasks are held in advance, and none of them waits behind a slow one for long.

use crate::{
    bench::name,
    world::{Alive, World},
};
use futures_util::future::join_all;
use pumasi_common::{
    Broker, ConnectionSettings, Destination, Publication, PublishOutcome, Task, Topology,
    broker::Pause,
};
use pumasi_testkit::rabbitmq::{RabbitMq, Version};
use pumasi_worker::{AckMode, Context, Prefetch, Worker, WorkerConfig};
use std::{
    num::NonZeroU16,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

const FAST: Duration = Duration::from_millis(1);
const SLOW: Duration = Duration::from_secs(1);
/// How long a worker may be idle while a task waits at another one.
const IDLE_MAX: Duration = Duration::from_millis(100);

/// One handler's run.
#[derive(Clone, Copy, Debug)]
struct Run {
    task: usize,
    worker: usize,
    start: Instant,
    end: Instant,
}

#[derive(Clone, Default)]
struct Book(Arc<Mutex<Vec<Run>>>);

impl Book {
    fn runs(&self) -> Vec<Run> {
        self.0.lock().unwrap().clone()
    }
}

/// Starts a worker with one handler, whose tasks say how long they take.
fn start(world: &World, number: usize, prefetch: Prefetch, ack: AckMode, book: &Book) -> Alive {
    let name = format!("w{number}");
    let worker = world.worker(|config| {
        config.name = Some(name.clone());
        config.concurrency = NonZeroU16::MIN;
        config.prefetch = prefetch;
        config.ack = ack;
    });
    let book = book.clone();
    let handler = move |context: Context| {
        let book = book.clone();
        async move {
            let text = String::from_utf8(context.task.payload.to_vec()).unwrap();
            let (task, micros) = text.split_once(' ').unwrap();
            let start = Instant::now();
            sleep(Duration::from_micros(micros.parse().unwrap())).await;
            book.0.lock().unwrap().push(Run {
                task: task.parse().unwrap(),
                worker: number,
                start,
                end: Instant::now(),
            });
            Ok(())
        }
    };
    world.start_as(&name, worker.handler(None, Arc::new(handler)))
}

async fn submit(world: &World, times: &[Duration]) {
    for (number, time) in times.iter().enumerate() {
        let payload = format!("{number} {}", time.as_micros());
        world.submit(Task::new(payload)).await;
    }
}

/// Has four workers do tasks; gives their runs in the order they started.
async fn work(times: &[Duration], prefetch: Prefetch) -> Vec<Run> {
    let (world, book) = (World::new().await, Book::default());
    submit(&world, times).await;
    let workers: Vec<Alive> = (0..4)
        .map(|number| start(&world, number, prefetch, AckMode::AfterWork, &book))
        .collect();
    world.until("work", 0).await;
    for worker in workers {
        worker.stop().await;
    }
    for queue in ["work.dead", "work.suspects"] {
        assert_eq!(world.model.count_of(&name(queue)), 0, "{queue}");
    }
    let mut runs = book.runs();
    assert_eq!(runs.len(), times.len(), "each of them once");
    runs.sort_by_key(|run| run.start);
    runs
}

/// A long stretch of fast tasks, and then a slow one among so many.
fn mix(among: usize) -> Vec<Duration> {
    let fast = std::iter::repeat_n(FAST, 400);
    let mixed = (0..800).map(|number| match number % among {
        0 => SLOW,
        _ => FAST,
    });
    fast.chain(mixed).collect()
}

/// How much longer it took than giving each task to whoever is free first.
fn over_the_ideal(runs: &[Run], times: &[Duration]) -> f64 {
    let mut free = [Duration::ZERO; 4];
    for time in times {
        let next = free.iter_mut().min().unwrap();
        *next += *time;
    }
    let ideal = free.into_iter().max().unwrap();
    let begun = runs.first().unwrap().start;
    let ended = runs.iter().map(|run| run.end).max().unwrap();
    ended.duration_since(begun).as_secs_f64() / ideal.as_secs_f64()
}

/// The longest that a worker had nothing to do while a task was not started yet.
fn idle(runs: &[Run]) -> Duration {
    let last = runs.last().unwrap().start;
    let of = |worker| {
        let theirs: Vec<&Run> = runs.iter().filter(|run| run.worker == worker).collect();
        let after = theirs.last().map_or(Duration::ZERO, |run| {
            last.saturating_duration_since(run.end)
        });
        let between = theirs
            .windows(2)
            .map(|pair| pair[1].start.duration_since(pair[0].end));
        between.chain([after]).max().unwrap()
    };
    (0..4).map(of).max().unwrap()
}

#[tokio::test(start_paused = true)]
async fn no_task_waits_behind_a_slow_one_while_another_worker_is_free() {
    for among in [2, 10, 40, 100, 400, 799] {
        let times = mix(among);
        let runs = work(&times, Prefetch::Auto).await;
        let (ratio, idle) = (over_the_ideal(&runs, &times), idle(&runs));
        println!("a slow one among {among}: {ratio:.3} of the ideal, idle for {idle:?}");
        assert!(ratio <= 1.05, "one slow among {among}: {ratio}");
        assert!(idle <= IDLE_MAX, "one slow among {among}: {idle:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn with_a_large_prefetch_tasks_do_wait() {
    let times = mix(40);
    let prefetch = Prefetch::Fixed(NonZeroU16::new(100).unwrap());
    let runs = work(&times, prefetch).await;
    assert!(over_the_ideal(&runs, &times) > 1.2);
    assert!(idle(&runs) > SLOW);
}

/// A worker that has done hundreds of fast tasks, and has more of them.
async fn busy(world: &World, ack: AckMode, book: &Book) -> Alive {
    submit(world, &[FAST; 1_000]).await;
    let worker = start(world, 0, Prefetch::Auto, ack, book);
    while book.runs().len() < 500 {
        sleep(FAST).await;
    }
    worker
}

async fn in_flight(world: &World) -> u64 {
    let status = world.model.admin().queue(&name("work")).await.unwrap();
    status.in_flight.unwrap()
}

#[tokio::test(start_paused = true)]
async fn fast_tasks_are_held_in_advance() {
    let (world, book) = (World::new().await, Book::default());
    let worker = busy(&world, AckMode::AfterWork, &book).await;
    let held = in_flight(&world).await;
    assert!((10..=22).contains(&held), "{held}");
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn where_what_goes_back_counts_no_more_is_held_than_handlers_run() {
    let (world, book) = (World::new().await, Book::default());
    world.model.count_releases();
    let worker = busy(&world, AckMode::AfterWork, &book).await;
    assert!(in_flight(&world).await <= 1);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_acked_on_receipt_is_not_held_in_advance() {
    let (world, book) = (World::new().await, Book::default());
    let worker = busy(&world, AckMode::OnReceipt, &book).await;
    assert!(in_flight(&world).await <= 1);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_wide_window_is_given_back_at_a_pause_and_at_a_drain() {
    let (world, book) = (World::new().await, Book::default());
    let worker = busy(&world, AckMode::AfterWork, &book).await;
    let admin = world.model.admin();
    admin.pause(&name("work"), Pause::On).await.unwrap();
    while in_flight(&world).await > 0 {
        sleep(FAST).await;
    }
    let done = book.runs().len();
    assert!(done < 600, "{done}");
    assert_eq!(world.model.count_of(&name("work")), 1_000 - done);
    admin.pause(&name("work"), Pause::Off).await.unwrap();
    while book.runs().len() < 800 {
        sleep(FAST).await;
    }
    worker.stop().await;
    let done = book.runs().len();
    assert_eq!(world.model.count_of(&name("work")), 1_000 - done);
    let next = start(&world, 1, Prefetch::Auto, AckMode::AfterWork, &book);
    world.until("work", 0).await;
    next.stop().await;
    let mut tasks: Vec<usize> = book.runs().iter().map(|run| run.task).collect();
    tasks.sort_unstable();
    assert_eq!(tasks, (0..1_000).collect::<Vec<_>>(), "each of them once");
}

/// How many no-op tasks a second a worker on RabbitMQ gets through.
async fn rate(node: &RabbitMq, prefetch: Prefetch) -> f64 {
    const ALL: usize = 20_000;
    let settings = ConnectionSettings::of_url(&node.new_vhost_url());
    let broker = pumasi_broker::open(&settings).await.unwrap();
    let topology = Topology::of_queues([name("work")]);
    broker.ensure_topology(&topology).await.unwrap();
    let publications = (0..ALL).map(|_| {
        let destination = Destination::Queue(name("work"));
        broker.publish(Publication::new(destination, Task::new("x".repeat(256))))
    });
    for outcome in join_all(publications).await {
        assert!(
            matches!(outcome, PublishOutcome::Accepted(_)),
            "{outcome:?}"
        );
    }
    let (count, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let (counted, end) = (Arc::clone(&count), Arc::clone(&ended));
    let config = WorkerConfig {
        queues: vec![name("work")],
        prefetch,
        ..WorkerConfig::default()
    };
    let handler = move |_: Context| {
        if counted.fetch_add(1, Ordering::Relaxed) + 1 == ALL {
            end.notify_one();
        }
        async { Ok(()) }
    };
    let worker = Worker::builder(Arc::clone(&broker), config).handler(None, Arc::new(handler));
    let begun = std::time::Instant::now();
    let running = crate::bench::start(worker);
    ended.notified().await;
    let took = begun.elapsed();
    running.stop().await;
    broker.close().await;
    assert_eq!(count.load(Ordering::Relaxed), ALL);
    ALL as f64 / took.as_secs_f64()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: takes the whole machine for a minute"]
async fn no_op_tasks_are_as_fast_as_with_a_large_fixed_prefetch() {
    let Ok(()) = Version::V4_3.available() else {
        return;
    };
    let node = tokio::task::block_in_place(|| RabbitMq::shared(Version::V4_3));
    let fixed = |count| Prefetch::Fixed(NonZeroU16::new(count).unwrap());
    let kinds = [
        Prefetch::Auto,
        fixed(256),
        fixed(1_000),
        Prefetch::Concurrency,
    ];
    let mut ratios = Vec::new();
    for round in 0..5 {
        let mut rates = Vec::new();
        for prefetch in kinds {
            rates.push(rate(node, prefetch).await);
        }
        println!("round {round}: auto, 256, 1000, concurrency: {rates:.0?}");
        ratios.push(rates[0] / rates[1].max(rates[2]));
    }
    ratios.sort_by(f64::total_cmp);
    println!("auto to the best fixed one, median and spread: {ratios:.3?}");
    assert!(ratios[2] > 0.9, "{ratios:?}");
}
