//! What a fault run tells: a line per row while it runs, and docs/reliability.md.

mod page;

pub(super) use page::write;

use super::Done;
use crate::process::Result;
use pumasi_testkit::faults::checker::{Verdict, Violation};
use std::time::Duration;

/// Tells of one row.
pub(super) fn line(done: &Done) {
    let report = &done.report;
    println!(
        "{:?}  {} on {}: {} tasks, {} faults ({} caught), lost {}, extra runs {}, overlaps {}, \
         recovered {}, dead {}, recovery {} / {}{}, in {:.1} s",
        report.verdict(),
        done.row.name,
        done.broker.name(),
        report.accepted,
        report.faults.len(),
        report.caught,
        report.count(Violation::Lost),
        report.explained,
        report.overlaps,
        report.recovered,
        report.dead,
        shown(report.recovered_within(50)),
        shown(report.recovered_within(99)),
        goal(done),
        done.took.as_secs_f64(),
    );
    print!("{}", report.timelines);
    for (violation, ids) in &report.violations {
        println!("    {violation:?}: {}", ids.len());
    }
    if report.left > 0 {
        println!("    left in the queues: {}", report.left);
    }
    for reason in &report.invalid {
        println!("    invalid: {reason}");
    }
}

/// Fails when a row is not green.
pub(super) fn verdict(done: &[Done], seed: u64) -> Result {
    let not_green = done
        .iter()
        .filter(|done| done.report.verdict() != Verdict::Green)
        .count();
    if done.is_empty() {
        return Err("no row of this name runs on this broker".to_owned());
    }
    if not_green > 0 {
        return Err(format!("{not_green} rows are not green; --seed {seed}"));
    }
    Ok(())
}

/// What was aimed at, where something was: ` (goal 1 s)`, and whether it was missed. A machine that
/// does other things besides misses it, so it is told and not judged.
fn goal(done: &Done) -> String {
    let Some(goal) = done.row.goal else {
        return String::new();
    };
    let took = done.report.recovered_within(99);
    let missed = if took.is_some_and(|took| took > goal) {
        ", **missed**"
    } else {
        ""
    };
    format!(" (goal {} s{missed})", goal.as_secs_f64())
}

fn shown(time: Option<Duration>) -> String {
    time.map_or_else(
        || "–".to_owned(),
        |time| format!("{:.2} s", time.as_secs_f64()),
    )
}
