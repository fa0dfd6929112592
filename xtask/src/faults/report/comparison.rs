//! What others lose under the same faults, as a table.

use crate::process::Result;
use pumasi_testkit::faults::checker::{Report, Violation};
use std::fmt::{Display, Formatter, Result as Written, Write};

/// What stands before the figures.
const BEGIN: &str = "\
## The same faults for others

Written by `cargo xtask faults --compare`: the same harness, checker, faults and load on RabbitMQ
3.10. The naive pair is what a first tutorial for Rust and RabbitMQ shows: no confirms, automatic
acknowledgement, the end at the first error. Celery runs with its defaults. Whatever ends by itself
is started again before the next fault and when all are over. No task fails here, since the naive
pair has no answer to that. Its workers take all that waits at once, so little is left in the queue
for the broker to lose: a killed worker takes it along.

- **lost**: said to be submitted, and never done, though the queue was empty at the end
- **stuck**: still in the queue when nothing had moved for 30 s
- **extra**: runs of a task that had run before

";

/// One fault, and what came of it for each pair.
pub(in super::super) struct Line {
    pub(in super::super) title: &'static str,
    pub(in super::super) cells: Vec<Cell>,
}

/// What one pair made of one fault.
pub(in super::super) enum Cell {
    Played {
        tasks: usize,
        lost: usize,
        extra: usize,
        stuck: u64,
        is_red: bool,
    },
    /// It did not come to an end; why.
    Failed(String),
}

impl Cell {
    /// The figures of a row.
    pub(in super::super) fn of(played: Result<Report>) -> Self {
        match played {
            Ok(report) => {
                let stuck = usize::try_from(report.left).unwrap_or(usize::MAX);
                Self::Played {
                    tasks: report.accepted,
                    // What still waits has not been done, either.
                    lost: report.count(Violation::Lost).saturating_sub(stuck),
                    extra: report.explained + report.count(Violation::ExtraRun),
                    stuck: report.left,
                    is_red: !report.violations.is_empty() || report.left > 0,
                }
            }
            Err(error) => Self::Failed(error),
        }
    }

    /// Whether nothing is wrong.
    pub(in super::super) fn is_clean(&self) -> bool {
        matches!(self, Self::Played { is_red: false, .. })
    }
}

impl Display for Cell {
    fn fmt(&self, out: &mut Formatter<'_>) -> Written {
        match self {
            Self::Played {
                tasks,
                lost,
                extra,
                stuck,
                ..
            } => write!(out, "{lost} lost, {stuck} stuck, {extra} extra of {tasks}"),
            Self::Failed(error) => write!(out, "no end: {error}"),
        }
    }
}

/// Where the last table is kept for the page.
const KEPT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/src/faults/report/comparison.txt"
);

/// Keeps a table for the page.
pub(in super::super) fn keep(table: &str) -> Result {
    std::fs::write(KEPT, table).map_err(|error| format!("cannot write {KEPT}: {error}"))
}

/// The table that was kept, with a line before it; empty where there is none.
pub(super) fn kept() -> String {
    std::fs::read_to_string(KEPT).map_or_else(|_| String::new(), |table| format!("\n{table}"))
}

/// The table as a part of docs/reliability.md.
pub(in super::super) fn table(pairs: &[&str], lines: &[Line], seed: u64) -> String {
    let mut table = BEGIN.to_owned();
    let _ = writeln!(table, "| fault | {} |", pairs.join(" | "));
    let _ = writeln!(table, "|---|{}", "---|".repeat(pairs.len()));
    for line in lines {
        let cells: Vec<String> = line.cells.iter().map(ToString::to_string).collect();
        let _ = writeln!(table, "| {} | {} |", line.title, cells.join(" | "));
    }
    let _ = writeln!(table, "\nSeed {seed}.");
    table
}
