//! The checker bites: mistakes that programs make, in real processes under real faults.
//!
//! Each case plays a row with one mistake, which must turn it red, with the violation that the
//! mistake leads to; rows of the same kind without a mistake are green. Cases that do not disturb
//! each other are played at the same time. `PUMASI_TEETH=WORDS` plays only those that say so.

mod controls;
mod producers;
mod pumasi;
mod workers;

use super::{
    Place, build,
    fleet::Programs,
    pairs::Pair,
    play::play_in,
    rows::{self, Row},
};
use crate::process::Result;
use pumasi_testkit::{
    faults::{
        checker::{Verdict, Violation},
        plain::Plain,
    },
    rabbitmq::{RabbitMq, Version},
};
use std::{
    sync::{Mutex, OnceLock, PoisonError},
    time::Instant,
};

/// Any; the moments do not have to be lucky.
const SEED: u64 = 7;

/// Cases at once; each has eight processes, most of which wait.
const AT_ONCE: usize = 4;

/// Where a row is played, and whom its faults hit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum On {
    /// A file of its own.
    File,
    /// A node that others use at the same time: only the row's processes and queues are hit.
    Node,
    /// A node whose every client is hit.
    WholeNode,
}

/// A row, and what the checker must say of it.
struct Case {
    says: &'static str,
    on: On,
    row: Row,
    /// The violation that is found; `None` where nothing is wrong.
    finds: Option<Violation>,
}

/// Half of a row, with these clients.
fn row(name: &str, plain: Plain) -> Row {
    let row = rows::named(name).unwrap();
    Row {
        tasks: row.tasks / 2,
        times: row.times.min(4),
        pair: Pair::Plain(plain),
        ..row
    }
}

fn cases(on: On) -> Vec<Case> {
    let only = std::env::var("PUMASI_TEETH").unwrap_or_default();
    let mut cases = pumasi::cases();
    cases.extend(producers::cases());
    cases.extend(workers::cases());
    cases.extend(controls::cases());
    cases.retain(|case| case.on == on && case.says.contains(&only));
    cases
}

/// Plays cases, some at a time, and tells of all that were not as expected.
fn play_all(cases: Vec<Case>, place: &Place, at_once: usize) {
    static PROGRAMS: OnceLock<Programs> = OnceLock::new();
    let programs = PROGRAMS.get_or_init(|| build().unwrap());
    let cases = Mutex::new(cases);
    let wrong = Mutex::new(Vec::new());
    let next = || cases.lock().unwrap_or_else(PoisonError::into_inner).pop();
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                while let Some(case) = next() {
                    let problem = played(programs, place, &case);
                    let mut wrong = wrong.lock().unwrap_or_else(PoisonError::into_inner);
                    wrong.extend(problem.err());
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap_or_else(PoisonError::into_inner);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Plays a case; tells what is not as expected. What it wrote goes with it, red or not.
fn played(programs: &Programs, place: &Place, case: &Case) -> Result {
    let folder = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    let report = play_in(folder.path(), programs, place, (&case.row, SEED));
    let report = report.map_err(|error| format!("{}: {error}", case.says))?;
    let found: Vec<_> = report.violations.keys().collect();
    println!(
        "{:?} {found:?} in {:.1} s: {} ({})",
        report.verdict(),
        begun.elapsed().as_secs_f64(),
        case.says,
        case.row.name,
    );
    let expected = match case.finds {
        Some(_) => Verdict::Red,
        None => Verdict::Green,
    };
    let is_found = case.finds.is_none_or(|violation| {
        let timeline = format!("{violation:?}: ");
        report.count(violation) > 0 && report.timelines.contains(&timeline)
    });
    if report.verdict() == expected && is_found {
        return Ok(());
    }
    Err(format!("{} ({:?}): {report:#?}", case.says, case.finds))
}

/// A node of the version that most have; `None` where there is none.
fn node() -> Option<Place> {
    let here = Version::V3_10.available();
    here.inspect_err(|missing| println!("left out: {missing}"))
        .ok()?;
    Some(Place::RabbitMq(Box::new(RabbitMq::start(Version::V3_10))))
}

#[test]
fn mistakes_are_found_and_none_is_made_up_on_a_file() {
    play_all(cases(On::File), &Place::Embedded, 2);
}

#[test]
fn mistakes_are_found_and_none_is_made_up_where_one_row_of_a_node_is_hit() {
    if let Some(node) = node() {
        play_all(cases(On::Node), &node, AT_ONCE);
    }
}

#[test]
fn mistakes_are_found_and_none_is_made_up_where_a_whole_node_is_hit() {
    if let Some(node) = node() {
        play_all(cases(On::WholeNode), &node, 1);
    }
}
