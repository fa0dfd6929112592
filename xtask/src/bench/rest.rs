//! Small at rest: what a worker takes that has nothing to do, how soon it begins and wakes, and how
//! large the programs are. These are plain figures, not ratios; what is aimed at is told beside them.

use super::{
    figures::{median, sorted},
    programs::Programs,
    stage::Stage,
    works::{Bound, Place, start, wake},
};
use crate::process::Result;
use pumasi_testkit::{bench::usage::Usage, process::Service};
use serde::{Deserialize, Serialize};
use std::{
    path::Path,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

/// For `--only`.
pub(super) const NAME: &str = "rest";
/// How long a worker is left alone before it is looked at, and then looked at.
const SETTLE: Duration = Duration::from_secs(3);
pub(super) const LOOK: Duration = Duration::from_secs(20);

/// How often a worker is woken.
const WAKES: usize = 50;

/// One figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Fact {
    pub(super) name: String,
    pub(super) value: f64,
    pub(super) unit: String,
    pub(super) goal: Option<Bound>,
}

fn fact(name: String, value: f64, unit: &str, most: f64) -> Fact {
    Fact {
        name,
        value,
        unit: unit.to_owned(),
        goal: Some(Bound::AtMost(most)),
    }
}

/// Measures all of it; an idle worker is looked at for this long.
pub(super) fn measure(
    stage: &Stage<'_>,
    programs: &Programs,
    rounds: usize,
    look: Duration,
) -> Result<Vec<Fact>> {
    let mut facts = Vec::new();
    for place in [Place::RabbitMq, Place::Embedded] {
        eprintln!("a worker at rest, {}", place.title());
        facts.extend(idle(stage, &programs.pumasi, place, look)?);
    }
    facts.push(first_task(stage, rounds)?);
    facts.push(woken(stage)?);
    for program in programs.shipped() {
        let bytes = std::fs::metadata(program).map_err(|error| error.to_string())?;
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        let megabytes = bytes.len() as f64 / 1e6;
        facts.push(fact(format!("size of {name}"), megabytes, "MB", 15.0));
    }
    Ok(facts)
}

/// A worker that waits for tasks.
fn idle(stage: &Stage<'_>, pumasi: &Path, place: Place, look: Duration) -> Result<[Fact; 2]> {
    let at = stage.fresh(place)?;
    let mut command = Command::new(pumasi);
    command
        .args([
            "--broker", &at.url, "worker", "-q", "bench", "--exec", "true",
        ])
        .env("PUMASI__HEALTH__LISTEN", "127.0.0.1:0");
    let worker = Service::start(&mut command);
    // The panic of a worker that does not start holds what it said.
    let _ = worker.line_with("worker started");
    sleep(SETTLE.min(look));
    let gone = || "the idle worker has gone".to_owned();
    let before = Usage::run_seconds(worker.id()).ok_or_else(gone)?;
    let begun = Instant::now();
    sleep(look);
    let spent = Usage::run_seconds(worker.id()).ok_or_else(gone)? - before;
    let share = spent / begun.elapsed().as_secs_f64() * 100.0;
    let usage = Usage::of(worker.id()).ok_or_else(gone)?;
    let name = |what: &str| format!("{what} of an idle worker, {}", place.title());
    Ok([
        fact(name("memory"), usage.rss_kib as f64 / 1024.0, "MiB", 16.0),
        fact(name("CPU"), share, "%", 0.1),
    ])
}

/// How much longer a process of ours takes than one of C to start, do one task and end: what both
/// need for the connection drops out.
fn first_task(stage: &Stage<'_>, rounds: usize) -> Result<Fact> {
    let work = start();
    let mut differences = Vec::new();
    for round in 1..=rounds {
        eprintln!("start to first task, round {round} of {rounds}");
        if let [ours, c, ..] = stage.round(&work, 1, round)?.as_slice() {
            differences.push((ours.process_seconds - c.process_seconds) * 1e3);
        }
    }
    let milliseconds = median(&sorted(differences)).ok_or("nothing was measured")?;
    let name = "start, one task and end, beyond C's".to_owned();
    Ok(fact(name, milliseconds, "ms", 100.0))
}

/// From a submit to the start of the handler, in a worker of another process that was idle.
fn woken(stage: &Stage<'_>) -> Result<Fact> {
    eprintln!("waking an idle worker");
    let runs = stage.round(&wake(), WAKES, 1)?;
    let latency = runs.first().and_then(|run| run.measured.latency);
    let p50 = latency.ok_or("no worker was woken")?.p50_us / 1e3;
    let name = format!(
        "wake-up of an idle worker, p50, {}",
        Place::Embedded.title()
    );
    Ok(fact(name, p50, "ms", 2.0))
}
