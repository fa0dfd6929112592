//! Random lives of tasks, compared with the chart in docs/reference/lifecycle.md step by step.
//!
//! Outcomes, crashes, stops, delays, expiries, priorities, cancellations and replays come in random
//! order from a seed; a failing seed is printed. No task leaves the chart, none is lost, and every
//! line of the chart is walked.

use crate::world::{Alive, World, attempts};
use fastrand::Rng;
use futures_util::StreamExt;
use pumasi_common::{
    Broker, Destination, Publication, Settlement, Task, TaskId, TaskKind, broker::Consumer, wire,
};
use pumasi_testkit::model::Step;
use pumasi_worker::{Context, HandlerError, HandlerResult, Unknown};
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    num::{NonZeroU32, NonZeroUsize},
    ops::Range,
    sync::{
        Arc, Mutex, Once,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

const SEEDS: u64 = 300;
const TASKS: usize = 20;
const BY_CHANCE: &str = "by chance";

type Line = (String, String);

/// The steps that the chart's page allows.
fn chart() -> BTreeSet<Line> {
    let page = include_str!("../../../../docs/reference/lifecycle.md");
    let (_, table) = page.split_once("## Every step").unwrap();
    table
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split('`');
            Some((cells.next()?.to_owned(), cells.nth(1)?.to_owned()))
        })
        .collect()
}

/// What a handler does with a task of this kind, by chance.
async fn behave(context: Context, killed: UnboundedSender<()>) -> HandlerResult {
    let chance = fastrand::u32(0..100);
    tokio::time::sleep(Duration::from_millis(fastrand::u64(0..3_000))).await;
    match context.task.kind.as_ref().map(TaskKind::as_str) {
        Some("killer") if chance < 80 => {
            let _ = killed.send(());
            std::future::pending().await
        }
        Some("polite") => {
            context.cancellation.cancelled().await;
            Err(HandlerError::fail("told to stop"))
        }
        Some("now") if context.attempt() < 3 => {
            Err(HandlerError::retry_after("at once", Duration::ZERO))
        }
        Some("rejected") => Err(HandlerError::reject("never")),
        #[expect(clippy::panic, reason = "that is what it does")]
        Some("panics") if chance < 50 => panic!("{BY_CHANCE}"),
        _ if chance < 30 => Err(HandlerError::fail("by chance")),
        _ => Ok(()),
    }
}

fn random_task(rng: &mut Rng) -> Task {
    let kinds = [
        "any", "any", "killer", "polite", "now", "rejected", "panics", "new",
    ];
    let kind = kinds[rng.usize(..kinds.len())];
    let mut task = Task::new(kind).with_kind(TaskKind::new(kind).unwrap());
    // Asked for, so that the model can tell a cancelled task from one that is done.
    task.reply_to = Some("answers".to_owned());
    task.wants_progress = rng.bool();
    task.priority = rng.bool().then(|| rng.u8(0..10));
    task.attempts_max = rng.bool().then(|| NonZeroU32::new(rng.u32(1..4)).unwrap());
    task.expires_after = (rng.u32(..6) == 0).then(|| Duration::from_millis(rng.u64(1..5_000)));
    task
}

struct Walk {
    world: World,
    killed: UnboundedSender<()>,
    tasks: Vec<Task>,
    /// The tasks whose handler finished.
    finished: Finished,
}

type Finished = Arc<Mutex<HashSet<TaskId>>>;

impl Walk {
    /// A worker; the last one knows every kind and has nobody die on it.
    fn start(&self, last: bool) -> Alive {
        let worker = self.world.worker(|config| {
            config.retry = attempts(4);
            config.unknown = Unknown::RequeueLater;
            config.timeout = Duration::from_secs(20);
            config.crashes_max = NonZeroU32::new(2).unwrap();
        });
        let mut kinds = vec!["any", "killer", "polite", "now", "rejected", "panics"];
        if last {
            kinds.push("new");
        }
        let worker = kinds.into_iter().try_fold(worker, |worker, kind| {
            let (killed, finished) = (self.killed.clone(), Arc::clone(&self.finished));
            let handler = move |context: Context| {
                let (killed, finished) = (killed.clone(), Arc::clone(&finished));
                async move {
                    let id = context.task.id.clone();
                    behave(context, killed).await?;
                    finished.lock().unwrap().insert(id);
                    Ok(())
                }
            };
            worker.handle(kind, handler)
        });
        self.world.start(worker.unwrap())
    }

    async fn submit(&mut self, rng: &mut Rng) {
        let task = random_task(rng);
        self.tasks.push(task.clone());
        let delay = if rng.bool() { 0 } else { rng.u64(1..20_000) };
        self.world
            .submit_after(task, Duration::from_millis(delay))
            .await;
    }

    async fn replay(&self) {
        // After every cancellation, and no two at the same time.
        let at = i64::MAX - i64::try_from(self.world.model.steps().len()).unwrap();
        let dead = crate::bench::name("work.dead");
        let mut letters = self.world.model.admin().browse(&dead).await.unwrap();
        while let Some(letter) = next(&mut letters).await {
            let mut task = Task::clone(letter.task());
            task.attempt = NonZeroU32::MIN;
            task.headers.set(
                wire::REPLAYED_AT_MS,
                pumasi_common::task::HeaderValue::Integer(at),
            );
            let destination = Destination::Queue(crate::bench::name("work"));
            self.world
                .model
                .publish(Publication::new(destination, task))
                .await;
            letter.settle(Settlement::Ack).unwrap();
        }
    }
}

async fn next(letters: &mut Box<dyn Consumer>) -> Option<pumasi_common::Delivery> {
    letters.next().await
}

async fn walk(seed: u64) -> Vec<Step> {
    fastrand::seed(seed);
    let mut rng = Rng::with_seed(seed);
    let (killed, mut kills) = unbounded_channel();
    let mut walk = Walk {
        world: World::new().await,
        killed,
        tasks: Vec::new(),
        finished: Finished::default(),
    };
    if seed % 2 == 1 {
        walk.world.model.count_releases();
    }
    let mut running = walk.start(false);
    while walk.tasks.len() < TASKS {
        match rng.u32(..12) {
            0..6 => walk.submit(&mut rng).await,
            6 | 7 => {
                let id = &walk
                    .tasks
                    .get(rng.usize(..TASKS))
                    .map(|task| task.id.clone());
                if let Some(id) = id {
                    walk.world.model.admin().cancel(id).await.unwrap();
                }
            }
            8 => {
                running.shutdown.advance();
                running.shutdown.advance();
                running.ended().await;
                running = walk.start(false);
            }
            9 => {
                running.kill().await;
                running = walk.start(false);
            }
            10 => walk.replay().await,
            _ => tokio::time::sleep(Duration::from_millis(rng.u64(..4_000))).await,
        }
        while kills.try_recv().is_ok() {
            running.kill().await;
            running = walk.start(false);
        }
    }
    running.stop().await;
    let mut running = walk.start(true);
    loop {
        tokio::select! {
            biased;
            Some(()) = kills.recv() => {
                running.kill().await;
                running = walk.start(true);
            }
            () = async {
                walk.world.until("work", 0).await;
                walk.world.until("work.suspects", 0).await;
            } => if walk.world.tasks("work").is_empty() { break },
        }
    }
    running.stop().await;
    check(&walk);
    walk.world.model.steps()
}

/// Every task has ended, once, and is where its last step says.
fn check(walk: &Walk) {
    let mut last: HashMap<&str, &str> = HashMap::new();
    let steps = walk.world.model.steps();
    for step in &steps {
        let before = last
            .insert(step.id.as_str(), step.to)
            .unwrap_or("submitted");
        assert_eq!(before, step.from, "a gap in the life of {}", step.id);
    }
    let dead = walk.world.tasks("work.dead");
    for task in &walk.tasks {
        let state = last[task.id.as_str()];
        let letters = dead.iter().filter(|letter| letter.id == task.id).count();
        match state {
            "done" if !walk.finished.lock().unwrap().contains(&task.id) => {
                panic!("{} is done and its handler never finished", task.id)
            }
            "done" | "cancelled" => assert_eq!(letters, 0, "{} is {state} and dead", task.id),
            "dead" => assert_eq!(letters, 1, "{} is dead {letters} times", task.id),
            other => panic!("{} of kind {:?} ended as {other}", task.id, task.kind),
        }
    }
}

/// Runs a story for each seed on a clock of its own, on as many threads as there are processors;
/// gives what came of them. One seed alone: `PUMASI_SEED=13`.
pub(crate) fn each_seed<F>(seeds: Range<u64>, story: fn(u64) -> F) -> Vec<F::Output>
where
    F: Future<Output: Send>,
{
    let only = std::env::var("PUMASI_SEED").ok();
    let only = only.and_then(|it| it.parse().ok());
    let seeds = only.map_or(seeds, |seed: u64| seed..seed + 1);
    let next = AtomicU64::new(seeds.start);
    let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let some = || {
        let mut told = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return told;
            }
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .start_paused(true)
                .build()
                .unwrap();
            let end = std::panic::catch_unwind(|| runtime.block_on(story(seed)));
            told.push(end.unwrap_or_else(|_| panic!("seed {seed} fails")));
        }
    };
    std::thread::scope(|scope| {
        let tellers: Vec<_> = (0..threads).map(|_| scope.spawn(some)).collect();
        let told = tellers.into_iter().flat_map(|it| it.join().unwrap());
        told.collect()
    })
}

/// Walks these seeds; gives every line walked.
fn walk_all(seeds: Range<u64>) -> BTreeSet<Line> {
    let chart = chart();
    assert_eq!(chart.len(), 16, "{chart:#?}");
    hush();
    let mut walked = BTreeSet::new();
    for (seed, steps) in each_seed(seeds, |seed| async move { (seed, walk(seed).await) }) {
        for step in steps {
            let line = (step.from.to_owned(), step.to.to_owned());
            assert!(
                chart.contains(&line),
                "seed {seed}: {line:?} is not in the chart"
            );
            walked.insert(line);
        }
    }
    walked
}

/// Handlers that panic by chance say so a hundred thousand times otherwise.
fn hush() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let tell = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let text = panic.payload().downcast_ref::<String>();
            if text.is_none_or(|text| text != BY_CHANCE) {
                tell(panic);
            }
        }));
    });
}

#[test]
fn no_task_leaves_the_chart_and_every_line_of_it_is_walked() {
    let walked = walk_all(0..SEEDS);
    let chart = chart();
    let missing: Vec<_> = chart.difference(&walked).collect();
    if std::env::var_os("PUMASI_SEED").is_none() {
        assert!(missing.is_empty(), "never walked: {missing:?}");
    }
}

#[test]
#[ignore = "takes about a minute of the whole machine"]
fn twenty_thousand_seeds_lose_nothing_either() {
    walk_all(SEEDS..20_000);
}
