//! Fair dispatch, seen in what the workers say about each task's start and end.
//!
//! 200 tasks wait: every tenth of the first hundred takes a second, all others 10 ms. Two workers
//! with one handler each share them. Nothing is compared with a clock outside the run: the ideal is
//! the same tasks, with the durations the handlers had, each given to whoever is free first.

use crate::{
    broker::{TestBroker, on_every_broker},
    process::{Worker, pumasi, submit_lines, until},
};
use std::{collections::HashMap, fmt::Write};

const TASKS: usize = 200;
/// How many runs a busy machine may spoil.
const TRIES: u32 = 4;

/// One handler's run, in seconds of the day.
#[derive(Clone, Copy, Debug)]
struct Run {
    task: usize,
    worker: usize,
    start: f64,
    end: f64,
}

fn tasks() -> String {
    (0..TASKS).fold(String::new(), |mut text, number| {
        let time = if number < 100 && number % 10 == 0 {
            "1s"
        } else {
            "10ms"
        };
        writeln!(
            text,
            "{{\"id\":\"n{number}\",\"kind\":\"sleep\",\"text\":\"{time}\"}}"
        )
        .unwrap();
        text
    })
}

/// Has two workers do all tasks; gives the runs in the order they started.
fn work(broker: &TestBroker, queue: &str, prefetch: &str) -> Vec<Run> {
    submit_lines(&broker.url, queue, &tasks());
    let mut workers = [(); 2].map(|()| {
        let arguments = ["worker", "-q", queue, "-c", "1", "--prefetch", prefetch];
        let mut command = pumasi(&broker.url, &arguments);
        command.env(
            "PUMASI__TELEMETRY__LOG_LEVEL",
            "info,pumasi_worker::dispatch=debug",
        );
        Worker::spawn(command)
    });
    until("all tasks", || {
        let done = |worker: &Worker| times(&worker.log(), "task completed").len();
        workers.iter().map(done).sum::<usize>() >= TASKS
    });
    for worker in &mut workers {
        worker.terminate();
        assert_eq!(worker.wait(), Some(0));
    }
    let mut runs = Vec::new();
    for (worker, process) in workers.iter().enumerate() {
        let log = process.log();
        let ends = times(&log, "task completed");
        for (task, start) in times(&log, "task started") {
            let end = ends[&task];
            runs.push(Run {
                task,
                worker,
                start,
                end,
            });
        }
    }
    runs.sort_by(|one, other| one.start.total_cmp(&other.start));
    assert_eq!(runs.len(), TASKS, "{}", broker.url);
    runs
}

/// When each task's line of this kind was written: `2026-01-31T12:34:56.789Z … task=n7`.
fn times(log: &[String], what: &str) -> HashMap<usize, f64> {
    let lines = log.iter().filter(|line| line.contains(what));
    lines
        .map(|line| {
            let (stamp, rest) = line.split_once('Z').unwrap();
            let (_, clock) = stamp.split_once('T').unwrap();
            let seconds = clock
                .split(':')
                .fold(0.0, |sum, part| sum * 60.0 + part.parse::<f64>().unwrap());
            let (_, rest) = rest.rsplit_once("task=n").unwrap();
            let task = rest.split(' ').next().unwrap_or_default();
            (task.parse().unwrap(), seconds)
        })
        .collect()
}

/// How much longer it took than giving each task to whoever is free first.
fn over_the_ideal(runs: &[Run]) -> f64 {
    let first = |worker| runs.iter().find(|run| run.worker == worker);
    let mut free = [0, 1].map(|worker| first(worker).map_or(f64::MAX, |run| run.start));
    let begun = free[0].min(free[1]);
    let mut by_number = runs.to_vec();
    by_number.sort_by_key(|run| run.task);
    let mut ideal_end: f64 = 0.0;
    for run in by_number {
        let next = usize::from(free[1] < free[0]);
        free[next] += run.end - run.start;
        ideal_end = ideal_end.max(free[next]);
    }
    let end = runs.iter().map(|run| run.end).fold(0.0, f64::max);
    (end - begun) / (ideal_end - begun)
}

/// The most later tasks that started before an earlier one did.
fn overtaken(runs: &[Run]) -> usize {
    let later_before = |position: usize| {
        let task = runs[position].task;
        runs[..position]
            .iter()
            .filter(|run| run.task > task)
            .count()
    };
    (0..runs.len()).map(later_before).max().unwrap()
}

/// What a run comes to: how much over the ideal, and the worst overtaking.
fn measure(broker: &TestBroker, queue: &str, prefetch: &str) -> (f64, usize) {
    let runs = work(broker, queue, prefetch);
    let (ratio, overtaken) = (over_the_ideal(&runs), overtaken(&runs));
    println!(
        "{}: {ratio:.3} of the ideal, overtaken by {overtaken}",
        broker.url
    );
    (ratio, overtaken)
}

#[test]
fn with_prefetch_one_no_task_waits_behind_a_slow_one() {
    on_every_broker(|broker| {
        // A busy machine only ever adds to the time, so the best of a few runs counts. A task
        // behind a slow one would see nearly a hundred others overtake it in every run.
        let fair = (0..TRIES).any(|number| {
            let (ratio, overtaken) = measure(broker, &format!("fair{number}"), "1");
            ratio < 1.1 && overtaken < 10
        });
        assert!(fair, "{}", broker.url);
    });
}

#[test]
fn with_a_large_prefetch_tasks_wait_behind_slow_ones() {
    on_every_broker(|broker| {
        let (ratio, overtaken) = measure(broker, "unfair", "100");
        assert!(ratio > 1.3, "{}: {ratio}", broker.url);
        assert!(overtaken > 50, "{}: {overtaken}", broker.url);
    });
}
