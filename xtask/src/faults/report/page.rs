//! docs/reliability.md, written from a run.

use super::{super::Profile, comparison, entry::Entry};
use crate::process::Result;
use std::{fmt::Write, path::Path};

/// Where the page is.
const PAGE: &str = "docs/reliability.md";

/// What stands before the figures.
const BEGIN: &str = "\
# Reliability, measured

Written by `cargo xtask faults --write`; do not edit it. What is promised is in
[Guarantees](reference/guarantees.md); this page is what was tried.

Each row starts three workers with four places each, and a producer that uses the client library
and submits in bursts. The workers run a program per task; those of the row of all faults are
written with the library, and a task is a function. Then the row breaks something, again and again,
at moments and on victims that follow from the seed, and at last lets everything come to its end.
The producer notes each submit before and after the call, the handler each run, the injector each
fault; a checker reads these ledgers, the dead letters and the lengths of the queues, and nothing
else that Pumasi says about itself.

- **lost**: accepted, and neither run to its end nor a dead letter 30 s after the last fault; where
  tasks still waited in a queue by then, these are among them, and the row is red all the same.
- **extra runs**: runs of a task that had run before, each explained by a fault that found it in
  flight or by a submit that got no answer. One that nothing explains, or one more than a fault may
  cost, makes the row red. In brackets: how many of them ran at the same time as an earlier run.
- **caught**: faults that found something in flight. A row where fewer than a fifth did, or where a
  fault did not take hold, is invalid, not green.
- **recovery**: p50 and p99 of the times until every task that a fault took from a worker was started
  by another; after a fault of everyone, from its end until something was accepted and something
  started. A task whose workers were killed twice waits until it can run alone, and is not counted
  here.
- **3/n**: no loss in n tasks says, with 95 % confidence, that fewer than 3/n are lost under these
  faults.

One in fifty tasks fails once, and one in fifty is rejected, so retries and dead letters meet the
faults, too.
";

/// What stands before the figures of a soak.
const SOAK: &str = "
## A long run

Workers written with the library, whose handlers are functions; all faults of this list in any
order, round after round, with a fresh queue each: workers killed, told to stop once and twice,
standing still; the producer killed in mid-burst; connections reset and closed by the broker; the
broker killed; on the embedded broker all processes killed at once.

";

/// How the checker is checked, and what is not measured yet.
const END: &str = "
## How the checker is checked

Each of these makes the checker report a violation, in a test with real processes and faults; eight
rows of the same clients without a mistake are green. Tables and random histories try the rest.

- Workers: automatic acknowledgement; acknowledgement before the run, Pumasi's `--ack on-receipt`
  among them; a retry that is acknowledged and then published; a failed task put back as it was;
  dead letters for an exchange that is not there; the prefetch set on the first channel only; the
  end of the consumer ignored; copies published on the connection that consumes; a record of an
  earlier run in place of a later one; no drain; programs that outlive the worker; a queue that drops
  its oldest tasks.
- Producers: no confirms; not mandatory; a confirm that carries a returned task, a negative one, or
  any answer at all taken for an acceptance; a task accepted before it is confirmed; a missing answer
  taken for a refusal; a new id for what is repeated.

## What is not covered

- certificates that are changed while connected
- lost packets as such; the proxy delays a part of what it carries as a retransmission would
- a full disk under a RabbitMQ node; the alarm is set by hand
- a power cut in the first moments of a queue: RabbitMQ does not sync that there is one, so the row
  waits until that is on disk
- late delays and expiry while a clock is set; only that nothing is lost or run twice
- health probes
- RabbitMQ holds back a task whose queue is full when its delay ends until its own time-out, 180 s;
  the nodes here are configured with 10 s, as the guide on retries advises
";

/// Writes the page.
pub(super) fn write(entries: &[Entry]) -> Result {
    let mut page = BEGIN.to_owned();
    let (soak, rows): (Vec<&Entry>, Vec<&Entry>) = entries
        .iter()
        .partition(|entry| entry.profile == Profile::Soak);
    let _ = write!(
        page,
        "\n## The figures\n\nDebug build where it does not say otherwise, {} processors.\n\n",
        std::thread::available_parallelism().map_or(0, usize::from),
    );
    page += &table(&rows);
    if !soak.is_empty() {
        page += SOAK;
        page += &table(&soak);
    }
    page += &comparison::kept();
    page += END;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(PAGE);
    std::fs::write(&path, page).map_err(|error| format!("cannot write {PAGE}: {error}"))
}

fn table(entries: &[&Entry]) -> String {
    let mut table = "| fault | broker | | tasks | faults (caught) | lost | extra runs | dead | recovery | 3/n | run |\n"
        .to_owned();
    table += "|---|---|---|--:|--:|--:|--:|--:|--:|--:|---|\n";
    let (mut tasks, mut faults, mut lost) = (0, 0, 0);
    for entry in entries {
        table += &row(entry);
        tasks += entry.tasks;
        faults += entry.faults;
        lost += entry.lost;
    }
    let _ = writeln!(
        table,
        "\n{tasks} tasks, {faults} faults, {lost} lost{}.",
        match bound(lost, tasks) {
            Some(bound) => format!("; with 95 % confidence fewer than {bound} are under this mix"),
            None => String::new(),
        }
    );
    table
}

fn row(entry: &Entry) -> String {
    let verdict = if entry.wrong.is_empty() {
        "green".to_owned()
    } else {
        format!("**red**: {}", entry.wrong.join(", "))
    };
    let rounds = match entry.rounds {
        1 => String::new(),
        rounds => format!(", {rounds} rounds"),
    };
    format!(
        "| {} | {} | {verdict} | {} | {} ({}) | {} | {} ({}) | {} | {} | {} | {}, {}, seed {}{rounds} |\n",
        entry.title,
        entry.broker,
        entry.tasks,
        entry.faults,
        entry.caught,
        entry.lost,
        entry.extra,
        entry.overlaps,
        entry.dead,
        entry.recovery(),
        bound(entry.lost, entry.tasks).unwrap_or_else(|| "–".to_owned()),
        entry.version,
        entry.date,
        entry.seed,
    )
}

/// What no loss in so many tasks says: `0.83 %`.
fn bound(lost: usize, tasks: usize) -> Option<String> {
    let tasks = u32::try_from(tasks).unwrap_or(u32::MAX);
    (lost == 0 && tasks > 0).then(|| format!("{:.4} %", 300.0 / f64::from(tasks)))
}
