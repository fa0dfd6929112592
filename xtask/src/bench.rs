//! The speed of Pumasi beside that of plain things, in one run: `cargo xtask bench`.
//!
//! A rate says little on a machine that one shares; a ratio of two rates of the same minute says
//! more. So each round measures every side of a work, in processes of their own, and the median
//! of the rounds' ratios is what counts. What the sides do is in `xtask/examples/bench`,
//! `bench/c` and `crates/broker-sqlite/benches/speed.rs`; which there are, in `works.rs`.

mod figures;
mod programs;
mod report;
mod rest;
mod stage;
mod works;

use crate::{process::Result, system};
use figures::Row;
use programs::{Build, Programs};
use rest::Fact;
use stage::Stage;
use std::path::Path;
use works::{Work, works};

/// What is measured, and how much of it.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Tasks in a measurement; works that take longer or shorter do a fixed part or multiple of it
    #[arg(long, default_value_t = 50_000)]
    pub(crate) count: usize,
    /// Rounds; each measures every side once, and the order turns around
    #[arg(long, default_value_t = 7)]
    pub(crate) rounds: usize,
    /// Measure only what is named so, or in part: `submit`, `drain-1000`, `embedded`
    #[arg(long)]
    pub(crate) only: Option<String>,
    /// One JSON object instead of tables
    #[arg(long)]
    pub(crate) json: bool,
    /// Keep the figures in docs/performance.md, in the place of earlier ones
    #[arg(long)]
    pub(crate) write: bool,
    /// Programs that are not optimised: to try whether everything works; the figures say nothing
    #[arg(long, conflicts_with = "write")]
    pub(crate) debug: bool,
}

/// What was measured.
#[derive(Default)]
struct Measurements {
    rows: Vec<Row>,
    facts: Vec<Fact>,
}

/// Measures everything and prints it.
pub(crate) fn run(options: &Options) -> Result {
    let wanted = Wanted::of(options)?;
    if wanted.needs_rabbitmq() {
        system::rabbitmq()?;
    }
    system::librabbitmq()?;
    let build = if options.debug {
        Build::Debug
    } else {
        Build::Release
    };
    let measured = measure(&Programs::build(build)?, &wanted, options)?;
    report::print(&measured, options);
    if options.write {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        report::write(&root, measured)?;
    }
    Ok(())
}

/// What `--only` leaves.
struct Wanted {
    works: Vec<Work>,
    /// Whether to look at a worker at rest.
    rest: bool,
}

impl Wanted {
    fn of(options: &Options) -> Result<Self> {
        if options.rounds == 0 || options.count == 0 {
            return Err("--rounds and --count are at least 1".to_owned());
        }
        let only = options.only.as_deref().unwrap_or_default();
        let mut works = works();
        works.retain(|work| work.name.contains(only));
        let rest = rest::NAME.contains(only);
        if works.is_empty() && !rest {
            let all = self::works::works();
            let names = all.iter().map(|work| work.name).chain([rest::NAME]);
            let names = names.collect::<Vec<&str>>().join(", ");
            return Err(format!("nothing is named `{only}`; there are: {names}"));
        }
        Ok(Self { works, rest })
    }

    fn needs_rabbitmq(&self) -> bool {
        self.rest || self.works.iter().any(Work::needs_rabbitmq)
    }
}

fn measure(programs: &Programs, wanted: &Wanted, options: &Options) -> Result<Measurements> {
    let stage = Stage::set(programs, wanted.needs_rabbitmq())?;
    let mut measured = Measurements::default();
    for work in &wanted.works {
        let count = work.count(options.count);
        let mut rounds = Vec::new();
        for round in 1..=options.rounds {
            eprintln!("{}, round {round} of {}", work.name, options.rounds);
            rounds.push(stage.round(work, count, round)?);
        }
        let calls = stage.system_calls(work, count)?;
        measured.rows.push(Row::new(work, &rounds, &calls));
    }
    if wanted.rest {
        measured.facts = rest::measure(&stage, programs, options.rounds, rest::LOOK)?;
    }
    Ok(measured)
}

#[cfg(test)]
mod tests;
