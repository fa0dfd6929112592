//! Real processes, real brokers, real faults, and a checker: `cargo xtask faults`.
//!
//! Each row has a virtual host or a file of its own. Which process is hit, when, and what the
//! tasks do follows from the seed; the machine adds its own chance.

mod compare;
mod fleet;
mod making;
mod pairs;
mod play;
mod report;
mod rows;
mod stage;
#[cfg(test)]
mod teeth;

use crate::process::{Result, cargo};
use fleet::Programs;
use play::play;
use pumasi_testkit::{
    faults::{checker::Report, ledger},
    rabbitmq::{RabbitMq, cluster::Cluster},
};
use rows::{Broker, Row};
use serde::{Deserialize, Serialize};
use std::{
    path::{Path, PathBuf},
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
    /// How long a soak goes on
    #[arg(long, default_value_t = SOAK_MINUTES)]
    pub(crate) minutes: u64,
    /// Do the same to a naive pair and to Celery, and print what each loses
    #[arg(long)]
    pub(crate) compare: bool,
    /// A Python that has Celery, for the comparison
    #[arg(long, requires = "compare")]
    pub(crate) python: Option<PathBuf>,
    /// Keep the figures of this run in docs/reliability.md, in the place of earlier ones
    #[arg(long)]
    pub(crate) write: bool,
}

impl Options {
    /// How long rounds are repeated.
    fn minutes(&self) -> Duration {
        match self.profile {
            Profile::Soak => Duration::from_secs(60 * self.minutes),
            Profile::Ci | Profile::All | Profile::Nightly => Duration::ZERO,
        }
    }
}

/// How much is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Profile {
    /// A few minutes for one row of each kind of fault, spread over the brokers
    Ci,
    /// Every row on every broker
    All,
    /// The same with four times the tasks and faults
    Nightly,
    /// The row of everything again and again, each broker in turn, for an hour
    Soak,
}

impl Profile {
    fn factor(self) -> u32 {
        match self {
            Self::Ci | Self::All => 1,
            Self::Nightly => 4,
            Self::Soak => 2,
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            profile: Profile::Ci,
            row: None,
            seed: None,
            broker: None,
            minutes: SOAK_MINUTES,
            compare: false,
            python: None,
            write: false,
        }
    }
}

/// Whether this program, and so what it drives, is optimised.
const IS_RELEASE: bool = !cfg!(debug_assertions);

/// How long a soak goes on when it is not told.
const SOAK_MINUTES: u64 = 60;

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
    Cluster(Box<Cluster>),
}

/// The nodes that have been started; they end with it.
#[derive(Default)]
struct Places(Vec<(Broker, Place)>);

impl Places {
    /// The place of a broker, started when it is first asked for.
    fn of(&mut self, broker: Broker) -> &Place {
        let known = self.0.iter().position(|(known, _)| *known == broker);
        let place = known.unwrap_or_else(|| {
            let place = match broker.version() {
                None => Place::Embedded,
                Some(version) if broker == Broker::Cluster => {
                    Place::Cluster(Box::new(Cluster::start(version)))
                }
                Some(version) => Place::RabbitMq(Box::new(RabbitMq::start(version))),
            };
            self.0.push((broker, place));
            self.0.len() - 1
        });
        &self.0[place].1
    }
}

/// Runs every row that is wanted; fails when one is not green.
pub(crate) fn run(options: &Options) -> Result {
    let programs = build()?;
    let seed = options.seed.unwrap_or_else(ledger::now);
    eprintln!("seed {seed}");
    if options.compare {
        return compare::run(options, &programs, seed);
    }
    let brokers: Vec<Broker> = Broker::ALL
        .into_iter()
        .filter(|broker| is_here(options, *broker))
        .collect();
    let mut places = Places::default();
    let mut book = Book::default();
    let end = Instant::now() + options.minutes();
    for round in 0.. {
        for broker in &brokers {
            for row in rows::wanted(*broker, options) {
                if let Err(missing) = (row.needs)() {
                    eprintln!("left out: {}: {missing}", row.name);
                    continue;
                }
                let begun = Instant::now();
                let played = play(&programs, places.of(*broker), &row, seed + round);
                book.add(*broker, row, played, begun.elapsed());
            }
        }
        if options.write {
            report::write(&book.done, options.profile, seed)?;
        }
        if Instant::now() >= end {
            break;
        }
    }
    report::verdict(&book, seed)
}

/// Whether a broker is wanted and can be had; says why not.
fn is_here(options: &Options, broker: Broker) -> bool {
    let missing = broker
        .version()
        .and_then(|version| version.available().err());
    if let Some(missing) = &missing {
        eprintln!("left out: {missing}");
    }
    missing.is_none() && options.broker.is_none_or(|wanted| wanted == broker)
}

/// What came of the rows so far.
#[derive(Default)]
struct Book {
    done: Vec<Done>,
    failed: Vec<String>,
}

impl Book {
    fn add(&mut self, broker: Broker, row: Row, played: Result<Report>, took: Duration) {
        match played {
            Ok(report) => {
                let done = Done {
                    broker,
                    row,
                    report,
                    took,
                };
                report::line(&done);
                self.done.push(done);
            }
            Err(error) => {
                let failure = format!("{} on {}: {error}", row.name, broker.name());
                eprintln!("Failed {failure}");
                self.failed.push(failure);
            }
        }
    }
}

/// Builds what is driven, in the profile of this program.
fn build() -> Result<Programs> {
    let profile = if IS_RELEASE { "release" } else { "dev" };
    cargo(&["build", "-q", "--profile", profile, "-p", "pumasi"])?;
    cargo(&[
        "build",
        "-q",
        "--profile",
        profile,
        "-p",
        "xtask",
        "--examples",
    ])?;
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
