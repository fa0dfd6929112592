//! The speed of Pumasi beside that of the plain thing, in one run: `cargo xtask bench`.
//!
//! A rate says little on a machine that one shares; a ratio of two rates of the same minute says
//! more. So each round measures both, in processes of their own, and the median of the rounds'
//! ratios is what counts. What each side does is in `benches/speed.rs` of the broker crates.

mod programs;
mod report;

use crate::process::Result;
use programs::{Programs, Work};
use pumasi_testkit::{
    bench::Measured,
    rabbitmq::{RabbitMq, Version},
};
use report::Row;

/// What is measured, and how much of it.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Tasks in each measurement on RabbitMQ; the embedded broker gets four times as many
    #[arg(long, default_value_t = 50_000)]
    pub(crate) count: usize,
    /// Bytes in each payload
    #[arg(long, default_value_t = 100)]
    pub(crate) bytes: usize,
    /// Most publishes or deliveries in flight
    #[arg(long, default_value_t = 1_000)]
    pub(crate) window: u16,
    /// Rounds; each measures both sides once
    #[arg(long, default_value_t = 7)]
    pub(crate) rounds: usize,
    /// Measure only what is named so, or in part: `3.10`, `embedded`, `4.3: publish`
    #[arg(long)]
    pub(crate) only: Option<String>,
    /// One JSON object instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

/// The name of the broker in a file.
const EMBEDDED: &str = "embedded";

/// Where the tasks go.
enum Place {
    RabbitMq(Box<RabbitMq>),
    Embedded,
}

/// One line of the result: what is done, who is compared, the ratio we want.
struct Comparison {
    work: Work,
    against: &'static str,
    target: Option<f64>,
}

/// Measures everything and prints it.
pub(crate) fn run(options: &Options) -> Result {
    let programs = Programs::build()?;
    let mut rows = Vec::new();
    for (version, name) in [
        (Version::V3_10, "RabbitMQ 3.10"),
        (Version::V4_3, "RabbitMQ 4.3"),
    ] {
        if comparisons(name, options).is_empty() {
            continue;
        }
        if let Err(missing) = version.available() {
            eprintln!("left out: {missing}");
            continue;
        }
        eprintln!("starting a private node of {name}");
        let node = Place::RabbitMq(Box::new(RabbitMq::start(version)));
        rows.extend(measure(&programs, &node, name, options)?);
    }
    rows.extend(measure(&programs, &Place::Embedded, EMBEDDED, options)?);
    report::print(&rows, options);
    Ok(())
}

/// What is measured on a broker, as far as it is wanted.
fn comparisons(broker: &str, options: &Options) -> Vec<Comparison> {
    let (plain, publish, consume) = if broker == EMBEDDED {
        ("SQLite, group commit", 0.5, 0.5)
    } else {
        ("lapin, a plain loop", 0.8, 1.5)
    };
    let wanted = |work: &Work| {
        let name = format!("{broker}: {work}");
        let only = options.only.as_ref();
        only.is_none_or(|only| name.contains(only.as_str()))
    };
    [
        (Work::Publish, Some(publish)),
        (Work::Consume, Some(consume)),
        (Work::Worker, None),
    ]
    .into_iter()
    .filter(|(work, _)| wanted(work))
    .map(|(work, target)| Comparison {
        work,
        against: plain,
        target,
    })
    .collect()
}

fn measure(
    programs: &Programs,
    place: &Place,
    broker: &str,
    options: &Options,
) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for comparison in comparisons(broker, options) {
        let Comparison {
            work,
            against,
            target,
        } = comparison;
        let mut rounds: Vec<(Measured, Measured)> = Vec::new();
        for round in 1..=options.rounds {
            eprintln!("{broker}: {work}, round {round} of {}", options.rounds);
            let plain = || programs.plain(place, work, options);
            let ours = || programs.ours(place, work, options);
            // Who goes first changes, so that neither always meets the other's leftovers.
            rounds.push(if round % 2 == 1 {
                (plain()?, ours()?)
            } else {
                let ours = ours()?;
                (plain()?, ours)
            });
        }
        let count = programs::count(place, options);
        rows.push(Row::new(broker, work, (against, target), count, &rounds));
    }
    Ok(rows)
}
