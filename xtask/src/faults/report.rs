//! What a fault run tells: a line per row while it runs, and docs/reliability.md.

pub(super) mod comparison;
mod entry;
mod page;

use super::{Book, Done, Profile};
use crate::process::Result;
use entry::Entry;
use pumasi_testkit::faults::checker::{Verdict, Violation};

/// Tells of one row.
pub(super) fn line(done: &Done) {
    let report = &done.report;
    let entry = Entry::of(done);
    println!(
        "{:?}  {} on {}: {} tasks, {} faults ({} caught), lost {}, extra runs {}, overlaps {}, \
         recovered {}, dead {}, recovery {}, in {:.1} s",
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
        entry.recovery(),
        done.took.as_secs_f64(),
    );
    print!("{}", report.timelines);
    for (violation, ids) in &report.violations {
        println!("    {violation:?}: {}", ids.len());
    }
    if report.left > 0 {
        println!("    left in the queues: {}", report.left);
    }
    if report.deleted > 0 {
        println!("    deleted with their queue: {}", report.deleted);
    }
    for reason in &report.invalid {
        println!("    invalid: {reason}");
    }
}

/// Keeps the figures of a run in the page.
pub(super) fn write(done: &[Done], profile: Profile, seed: u64) -> Result {
    let mut new: Vec<Entry> = Vec::new();
    for done in done {
        let entry = Entry {
            profile,
            ..Entry::of(done)
        };
        // The rounds of a soak are one row.
        match new.iter_mut().find(|known| known.is_like(&entry)) {
            Some(known) => known.add(&entry),
            None => new.push(entry),
        }
    }
    for entry in &mut new {
        entry.sign(seed);
    }
    page::write(&entry::keep(new)?)
}

/// Fails when a row is not green.
pub(super) fn verdict(book: &Book, seed: u64) -> Result {
    let mut bad = book.failed.clone();
    if book.done.is_empty() && bad.is_empty() {
        return Err("no row of this name runs on this broker".to_owned());
    }
    for done in &book.done {
        let verdict = done.report.verdict();
        if verdict != Verdict::Green {
            let (row, broker) = (done.row.name, done.broker.name());
            bad.push(format!("{row} on {broker}: {verdict:?}"));
        }
    }
    if bad.is_empty() {
        return Ok(());
    }
    let bad = bad.join("\n  ");
    Err(format!("not green, with --seed {seed}:\n  {bad}"))
}
