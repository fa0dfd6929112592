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
    let table = comparison::table(&names, &lines, seed);
    print!("\n{table}");
    if options.write {
        comparison::keep(&table)?;
    }
    if wrong.is_empty() {
        return Ok(());
    }
    Err(format!("Pumasi: {}", wrong.join("; ")))
}

/// A row that all pairs can play: no task fails, since the naive pair has no answer to that, and
/// so few come that all are done in time. A worker is killed when the one before it is there again.
fn alike(row: Row, pair: Pair) -> Row {
    let is_worker_kill = row.name == "worker-kill";
    // Only more than the workers can do at once fill a queue.
    let (burst, work_ms) = match row.name {
        "queue-full" => (60, 200),
        _ => (8, 400),
    };
    Row {
        tasks: row.tasks / 2,
        work_ms,
        burst,
        times: row.times.min(5),
        rest_ms: if is_worker_kill {
            (4_000, 5_000)
        } else {
            row.rest_ms
        },
        trouble: 0,
        goal: None,
        pair,
        ..row
    }
}
