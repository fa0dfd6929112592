//! Faults of workers and producers: killed, told to stop, standing still.

mod children;
mod poison;

use super::{FILE, Fault, Handlers, NODES, Row};
use crate::{
    faults::{
        fleet::{Fleet, HEARTBEAT, signal, until, wait},
        making::Making,
    },
    process::Result,
};
use pumasi_testkit::faults::ledger::{Nature, Target, now};
use rustix::process::{Pid, Signal, kill_process};
use std::{process::Child, thread::sleep, time::Duration};

/// How long a stopped worker stays so: its heartbeat is 2 s, of which the broker is asked for four
/// fifths, in whole seconds, and it waits for up to three of these.
const STOPPED: Duration = Duration::from_millis(4_500);
/// Until when another has its tasks.
pub(super) const TWO_AND_A_HALF_HEARTBEATS: Duration =
    Duration::from_secs(HEARTBEAT.as_secs() * 5 / 2);

pub(super) const WORKER_KILL: Fault = Fault::of("worker-kill", Nature::Kills, |making, fleet| {
    let name = making.any_worker(fleet);
    kill(making, fleet, &Target::Worker(name))
});

pub(super) const WORKER_TERM: Fault = Fault::of("worker-term", Nature::Drains, |making, fleet| {
    terminate(making, fleet, 1)
});

pub(super) const WORKER_TERM_TWICE: Fault =
    Fault::of("worker-term-twice", Nature::Severs, |making, fleet| {
        terminate(making, fleet, 2)
    });

pub(super) const WORKER_STOP: Fault = Fault::of("worker-stop", Nature::Severs, stop);

pub(super) const PRODUCER_KILL: Fault =
    Fault::of("producer-kill", Nature::Kills, |making, fleet| {
        making.in_mid_burst(fleet)?;
        kill(making, fleet, &Target::Producer)
    });

pub(super) const ALL_KILL: Fault = Fault::of("all-kill", Nature::Kills, |making, fleet| {
    kill(making, fleet, &Target::All)
});

pub(super) const CHILDREN: Fault = Fault::of("children", Nature::Kills, children::kill);

pub(super) const POISON: Fault = Fault::of("poison", Nature::Kills, poison::submit);

/// The rows of this family.
pub(super) fn rows() -> Vec<Row> {
    vec![
        Row {
            goal: Some(Duration::from_secs(1)),
            ..Row::of("worker-kill", "kill -9 of a worker", &[WORKER_KILL])
        },
        Row::of("worker-term", "SIGTERM to a worker", &[WORKER_TERM]),
        Row::of(
            "worker-term-twice",
            "SIGTERM twice to a worker",
            &[WORKER_TERM_TWICE],
        ),
        Row {
            times: 10,
            work_ms: 20,
            burst: 40,
            ..Row::of(
                "producer-kill",
                "kill -9 of the producer in mid-burst",
                &[PRODUCER_KILL],
            )
        },
        Row {
            times: 20,
            work_ms: 400,
            handler_arguments: children::ARGUMENTS,
            goal: Some(Duration::from_secs(1)),
            ..Row::of(
                "children",
                "kill -9 of a worker whose handlers have children",
                &[CHILDREN],
            )
        },
        Row {
            times: 5,
            work_ms: 100,
            handlers: Handlers::Functions,
            environment: poison::ENVIRONMENT,
            ..Row::of(
                "poison",
                "a task that kills its worker each time, prefetch 20",
                &[POISON],
            )
        },
        Row {
            on: FILE,
            goal: Some(Duration::from_secs(1)),
            ..Row::of("all-kill", "kill -9 of all processes", &[ALL_KILL])
        },
        Row {
            on: NODES,
            times: 3,
            goal: Some(TWO_AND_A_HALF_HEARTBEATS),
            ..Row::of(
                "worker-stop",
                "SIGSTOP of a worker beyond its heartbeat, SIGCONT",
                &[WORKER_STOP],
            )
        },
    ]
}

/// Kills who is hit, and starts as many again.
fn kill(making: &Making<'_>, fleet: &mut Fleet<'_>, target: &Target) -> Result {
    let mark = making.begin(fleet, target.clone())?;
    let (workers, proof) = end(fleet, target)?;
    making.healed(fleet, mark)?;
    start_again(fleet, target, workers)?;
    making.bit(fleet, mark, proof)
}

/// Kills who is hit; gives how many workers that were, and the evidence.
pub(super) fn end(fleet: &mut Fleet<'_>, target: &Target) -> Result<(usize, String)> {
    let is_hit = |name: &str| match target {
        Target::Worker(hit) => name == hit,
        Target::Producer => false,
        Target::All => true,
    };
    let mut hit = Vec::new();
    for worker in std::mem::take(&mut fleet.workers) {
        if is_hit(&worker.name) {
            hit.push(worker.child);
        } else {
            fleet.workers.push(worker);
        }
    }
    let workers = hit.len();
    if hits_producer(target) {
        hit.extend(fleet.producer.take());
    }
    for child in &mut hit {
        child.kill().map_err(|error| error.to_string())?;
    }
    let mut proof = Vec::new();
    for child in &mut hit {
        let id = child.id();
        let status = wait("the end of a killed process", child)?;
        if status.code().is_some() {
            return Err(format!("{id} had ended before: {status}"));
        }
        proof.push(format!("{id}: {status}"));
    }
    Ok((workers, proof.join(", ")))
}

/// Starts as many as were hit.
pub(super) fn start_again(fleet: &mut Fleet<'_>, target: &Target, workers: usize) -> Result {
    for _ in 0..workers {
        fleet.start_worker()?;
    }
    if hits_producer(target) {
        fleet.start_producer()?;
    }
    Ok(())
}

fn hits_producer(target: &Target) -> bool {
    !matches!(target, Target::Worker(_))
}

/// Tells a worker to stop, once or twice, and starts another.
fn terminate(making: &Making<'_>, fleet: &mut Fleet<'_>, times: u32) -> Result {
    let name = making.any_worker(fleet);
    // One that has just been started would be ended by its first signal.
    until("its start", || fleet.log(&name).contains("worker started"))?;
    let mark = making.begin(fleet, Target::Worker(name.clone()))?;
    let begun = now();
    let mut worker = take(fleet, &name)?;
    signal(&worker, Signal::TERM)?;
    if times > 1 {
        until("its drain", || fleet.log(&name).contains("drain started"))?;
        // It may have had nothing to finish.
        let _ = signal(&worker, Signal::TERM);
    }
    let status = wait("a worker's end", &mut worker)?;
    making.healed(fleet, mark)?;
    fleet.start_worker()?;
    if !status.success() {
        return Err(format!("{name} ended with {status}: {}", fleet.log(&name)));
    }
    let took = (now() - begun) / 1_000_000;
    making.bit(fleet, mark, format!("ended well after {took} ms"))
}

/// Takes a worker out of the fleet.
fn take(fleet: &mut Fleet<'_>, name: &str) -> Result<Child> {
    let place = fleet.workers.iter().position(|worker| worker.name == name);
    let place = place.ok_or_else(|| format!("{name} is gone"))?;
    Ok(fleet.workers.remove(place).child)
}

/// Stops a worker and its handlers for longer than its heartbeat.
fn stop(making: &Making<'_>, fleet: &mut Fleet<'_>) -> Result {
    let name = making.any_worker(fleet);
    let mark = making.begin(fleet, Target::Worker(name.clone()))?;
    let worker = fleet.workers.iter().find(|worker| worker.name == name);
    let worker = worker.ok_or_else(|| format!("{name} is gone"))?;
    signal(&worker.child, Signal::STOP)?;
    let id = worker.child.id();
    let handlers = children(id);
    for handler in &handlers {
        // One that has ended meanwhile is not there to be stopped.
        let _ = kill_process(*handler, Signal::STOP);
    }
    sleep(STOPPED);
    let state = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let is_stopped = state.contains(") T ");
    for handler in &handlers {
        let _ = kill_process(*handler, Signal::CONT);
    }
    signal(&worker.child, Signal::CONT)?;
    making.healed(fleet, mark)?;
    if !is_stopped {
        return Err(format!("{name} was not stopped: {state}"));
    }
    let proof = format!("{id} and {} handlers stood still", handlers.len());
    making.bit(fleet, mark, proof)
}

fn children(parent: u32) -> Vec<Pid> {
    let tasks = std::fs::read_dir(format!("/proc/{parent}/task"));
    tasks
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|line| {
            line.split_whitespace()
                .filter_map(|word| word.parse().ok().and_then(Pid::from_raw))
                .collect::<Vec<_>>()
        })
        .collect()
}
