//! The same faults for others: a pair as a first tutorial writes it, and Celery with its defaults,
//! beside Pumasi: `cargo xtask faults --compare`. What the others lose fails nothing.

use super::{
    Options, Place,
    fleet::Programs,
    pairs::Pair,
    play::play_in,
    report::comparison::{self, Cell, Line},
    rows::{self, Row},
};
use crate::process::Result;
use pumasi_testkit::rabbitmq::{RabbitMq, Version};

/// The rows that are compared; the one that kills the node comes last.
const ROWS: [&str; 6] = [
    "worker-kill",
    "producer-kill",
    "close",
    "queue-full",
    "memory-alarm",
    "broker-kill",
];

/// Plays every row with every pair, and prints the table; fails where Pumasi is not green.
pub(super) fn run(options: &Options, programs: &Programs, seed: u64) -> Result {
    let mut pairs = vec![("Naive pair", Pair::TUTORIAL)];
    match &options.python {
        Some(python) => pairs.push(("Celery, defaults", Pair::Celery(python.clone()))),
        None => eprintln!("left out: Celery, for want of --python"),
    }
    pairs.push(("Pumasi", Pair::Pumasi));
    let node = Place::RabbitMq(Box::new(RabbitMq::start(Version::V3_10)));
    let mut lines = Vec::new();
    let mut wrong = Vec::new();
    for name in ROWS {
        if options.row.as_ref().is_some_and(|wanted| wanted != name) {
            continue;
        }
        let mut cells = Vec::new();
        let row = rows::named(name).ok_or_else(|| format!("there is no row {name}"))?;
        for (whose, pair) in &pairs {
            let row = alike(row.clone(), pair.clone());
            let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
            let played = play_in(folder.path(), programs, &node, (&row, seed));
            let cell = Cell::of(played);
            println!("{name}, {whose}: {cell}");
            if matches!(pair, Pair::Pumasi) && !cell.is_clean() {
                wrong.push(format!("{name}: {cell}"));
                eprintln!("ledger and logs are in {}", folder.keep().display());
            }
            cells.push(cell);
        }
        lines.push(Line {
            title: row.title,
            cells,
        });
    }
    let names: Vec<&str> = pairs.iter().map(|(name, _)| *name).collect();
    print!("\n{}", comparison::table(&names, &lines, seed));
    if wrong.is_empty() {
        return Ok(());
    }
    Err(format!("Pumasi: {}", wrong.join("; ")))
}

/// A row that all pairs can play: no task fails, since the naive pair has no answer to that, and
/// so few come that one task at a time is enough.
fn alike(row: Row, pair: Pair) -> Row {
    Row {
        tasks: row.tasks / 2,
        work_ms: row.work_ms.min(100),
        burst: 12,
        trouble: 0,
        goal: None,
        pair,
        ..row
    }
}
