//! Real processes, real brokers, real faults, and a checker: `cargo xtask faults`.
//!
//! Each row has a virtual host or a file of its own. Which process is hit, when, and what the
//! tasks do follows from the seed; the machine adds its own chance.

mod fleet;
mod making;
mod report;
mod rows;
mod stage;
#[cfg(test)]
mod teeth;

use crate::process::{Result, cargo};
use fleet::{Fleet, Programs, QUEUE, until_within};
use pumasi_testkit::{
    faults::{
        checker::{self, Remains, Report},
        ledger,
    },
    rabbitmq::RabbitMq,
};
use rows::{Broker, Row};
use stage::Stage;
use std::{
    collections::BTreeSet,
    path::Path,
    time::{Duration, Instant},
};

/// What is broken, and how much.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// How many tasks and faults
    #[arg(long, value_enum, default_value = "ci")]
    pub(crate) profile: Profile,
    /// Only the row of this name
    #[arg(long)]
    pub(crate) row: Option<String>,
    /// What victims, moments and tasks follow from; chosen by the clock otherwise, and printed
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Only on this broker; on all that are installed otherwise
    #[arg(long, value_enum)]
    pub(crate) broker: Option<Broker>,
    /// Write docs/reliability.md from this run
    #[arg(long)]
    pub(crate) write: bool,
}

/// How much is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Profile {
    /// A few minutes for everything
    Ci,
    /// Ten times that
    Nightly,
    /// The row of everything again and again, each broker in turn, for an hour
    Soak,
}

impl Profile {
    fn factor(self) -> u32 {
        match self {
            Self::Ci => 1,
            Self::Nightly => 10,
            Self::Soak => 6,
        }
    }
}

/// How often the queues are looked at while tasks are still under way; it costs a process.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// Longest time from the end of all faults until every task has come to its end.
const DRAIN: Duration = Duration::from_secs(30);

/// Longest time from the end of the last task until the queues are empty.
const EMPTY: Duration = Duration::from_secs(5);

/// A row that was run.
struct Done {
    broker: Broker,
    row: Row,
    report: Report,
    took: Duration,
}

/// Where the rows of one broker run.
enum Place {
    Embedded,
    RabbitMq(Box<RabbitMq>),
}

/// Runs every row that is wanted; fails when one is not green.
pub(crate) fn run(options: &Options) -> Result {
    let programs = build()?;
    let seed = options.seed.unwrap_or_else(ledger::now);
    eprintln!("seed {seed}");
    let mut done = Vec::new();
    for broker in Broker::ALL {
        let rows = rows::wanted(broker, options);
        if rows.is_empty() || options.broker.is_some_and(|wanted| wanted != broker) {
            continue;
        }
        let place = match broker.version() {
            None => Place::Embedded,
            Some(version) => match version.available() {
                Ok(()) => Place::RabbitMq(Box::new(RabbitMq::start(version))),
                Err(missing) => {
                    eprintln!("left out: {missing}");
                    continue;
                }
            },
        };
        for row in rows {
            if let Err(missing) = (row.needs)() {
                eprintln!("left out: {}: {missing}", row.name);
                continue;
            }
            let begun = Instant::now();
            let report = play(&programs, &place, &row, seed)
                .map_err(|error| format!("{} on {}: {error}", row.name, broker.name()))?;
            done.push(Done {
                broker,
                row,
                report,
                took: begun.elapsed(),
            });
            done.last().into_iter().for_each(report::line);
            if options.write {
                report::write(&done, seed)?;
            }
        }
    }
    report::verdict(&done, seed)
}

/// Builds what is driven, in the profile of this program.
fn build() -> Result<Programs> {
    cargo(&["build", "-q", "-p", "pumasi"])?;
    cargo(&["build", "-q", "-p", "xtask", "--examples"])?;
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    let folder = this.parent().unwrap_or(Path::new("."));
    // Tests are a folder below.
    let folder = match folder.file_name() {
        Some(name) if name == "deps" => folder.parent().unwrap_or(folder),
        _ => folder,
    };
    Ok(Programs {
        pumasi: folder.join("pumasi"),
        producer: folder.join("examples/faults-producer"),
        worker: folder.join("examples/faults-worker"),
        handler: folder.join("examples/faults-handler"),
    })
}

/// Runs one row in a folder of its own, which is kept where there is something to look into.
fn play(programs: &Programs, place: &Place, row: &Row, seed: u64) -> Result<Report> {
    let folder = tempfile::Builder::new()
        .prefix("pumasi-faults-")
        .tempdir()
        .map_err(|error| error.to_string())?;
    let played = play_in(folder.path(), programs, place, (row, seed));
    let is_green = |report: &Report| report.verdict() == checker::Verdict::Green;
    if !played.as_ref().is_ok_and(is_green) {
        eprintln!("ledger and logs are in {}", folder.keep().display());
    }
    played
}

/// Runs one row from its start to its verdict.
fn play_in(
    folder: &Path,
    programs: &Programs,
    place: &Place,
    (row, seed): (&Row, u64),
) -> Result<Report> {
    let stage = Stage::new(place, row, folder);
    let mut fleet = Fleet::start(programs, row, seed, &stage.url, folder)?;
    making::break_things(&stage, &mut fleet, row, seed)?;
    let remains = settle(&mut fleet, &stage)?;
    let lines = ledger::read(&fleet.ledger_path()).map_err(|error| error.to_string())?;
    Ok(checker::check(&lines, &remains, &row.plan()))
}

/// Lets everything come to its end, and looks at what is left.
fn settle(fleet: &mut Fleet<'_>, stage: &Stage<'_>) -> Result<Remains> {
    fleet.finish_producer()?;
    // What is lost never comes to its end; the checker says what it was. A node that has just
    // started tells of empty queues, so nothing may have happened meanwhile, either.
    let (mut looked, mut seen) = (Instant::now(), 0);
    let _ = until_within(DRAIN, "every task's end", || {
        if unfinished(fleet).is_empty() {
            return true;
        }
        if looked.elapsed() < LOOK_EVERY {
            return false;
        }
        let before = std::mem::replace(&mut seen, fleet.ledger_text().len());
        looked = Instant::now();
        before == seen && stage.left(fleet) == Ok(0)
    });
    let _ = until_within(EMPTY, "empty queues", || stage.left(fleet) == Ok(0));
    fleet.finish_workers()?;
    // Unacknowledged ones are ready again now.
    let left = stage.left(fleet)?;
    let dead = fleet
        .ask(&["dead", "list", QUEUE, "--limit", "1000000"])?
        .iter()
        .filter_map(|letter| letter["id"].as_str().map(str::to_owned))
        .collect();
    Ok(Remains { left, dead })
}

/// The tasks that were accepted and have not come to an end.
fn unfinished(fleet: &Fleet<'_>) -> BTreeSet<String> {
    let Ok(lines) = ledger::read(&fleet.ledger_path()) else {
        return BTreeSet::from(["?".to_owned()]);
    };
    let mut open = BTreeSet::new();
    let mut ended = BTreeSet::new();
    for line in lines {
        match line.event {
            ledger::Event::Accepted { id } => drop(open.insert(id)),
            ledger::Event::End { id, outcome, .. } if outcome != ledger::Outcome::Failed => {
                ended.insert(id);
            }
            _ => {}
        }
    }
    open.difference(&ended).cloned().collect()
}
