//! The checker: from a ledger to a verdict. Pure.
//!
//! An id that was accepted and neither took effect nor became a dead letter is lost. A further run
//! of an id is explained by a fault that found an earlier run in flight, by a submit without an
//! answer, or by a run that failed; any other is a violation, and so is one more than a fault may
//! cost. A run whose faults did not bite, or that did little, says nothing: it is invalid.

mod blame;
mod history;
mod recovery;
mod runs;
mod signs;
#[cfg(test)]
mod tests;

use super::ledger::Line;
use crate::percentile::percentile;
use history::History;
use std::{collections::BTreeMap, fmt::Write, time::Duration};

/// Part of the planned tasks that must have been accepted, in percent.
const TASKS_MIN: usize = 90;
/// Part of the faults that must have found something in flight, in percent.
const CAUGHT_MIN: usize = 20;
/// Most ids of a violation whose timelines are printed.
const TIMELINES_MAX: usize = 3;
/// How long before and after a task the faults are of interest, in nanoseconds.
const NEAR: u64 = 2_000_000_000;

/// What a run was to do, and what it may cost.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Fewest tasks.
    pub tasks: usize,
    /// How many faults.
    pub faults: usize,
    /// Most tasks that one worker runs at once.
    pub concurrency: usize,
    /// How many workers.
    pub workers: usize,
    /// Most submits without an answer at once.
    pub window: usize,
}

/// What was found when all was over.
#[derive(Clone, Debug, Default)]
pub struct Remains {
    /// Ready or in flight after the drain.
    pub left: u64,
    /// The ids of the dead letters, each as often as it is there.
    pub dead: Vec<String>,
}

/// What a run came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing was violated, and enough was done to say so.
    Green,
    /// Something was violated.
    Red,
    /// Too little was done, or too little broken, to say anything.
    Invalid,
}

/// Something that must not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Violation {
    /// Accepted and gone.
    Lost,
    /// Never submitted, or refused for good under another name, and yet there.
    Phantom,
    /// Refused, and yet run.
    FalseFailure,
    /// More than one end.
    DoubleTerminal,
    /// Run again without a fault that explains it, or more often than a fault may cost.
    ExtraRun,
    /// Two runs at once without a fault that explains it.
    Overlap,
    /// A run that outlived its killed worker.
    Survivor,
    /// A run that ended without a word and without a fault.
    Cut,
    /// A record of who has done a task, replaced by that of an earlier run.
    Overwritten,
    /// A worker that held more deliveries than it may.
    Hoarding,
    /// A task that waited while a worker stood still though only submits were hit.
    Idle,
}

/// What became of one fault.
#[derive(Clone, Debug)]
pub struct Recovery {
    /// What it was.
    pub name: String,
    /// How long until what it hit was running again; `None` where it hit nothing that shows it.
    pub took: Option<Duration>,
    /// Further runs that it explains.
    pub extra: usize,
}

/// The figures of a run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Ids that were submitted.
    pub attempted: usize,
    /// Ids that were accepted.
    pub accepted: usize,
    /// Ids that were refused for good.
    pub refused: usize,
    /// Ids without an answer that ran all the same.
    pub recovered: usize,
    /// Further runs that a fault, or a submit without an answer, explains.
    pub explained: usize,
    /// Runs at the same time as another of their id that a fault explains.
    pub overlaps: usize,
    /// Dead letters.
    pub dead: usize,
    /// Accepted ids that went with a queue that was deleted on purpose.
    pub deleted: usize,
    /// What became of each fault.
    pub faults: Vec<Recovery>,
    /// Faults that found something in flight.
    pub caught: usize,
    /// Ids by what is wrong with them.
    pub violations: BTreeMap<Violation, Vec<String>>,
    /// Tasks left in the queues.
    pub left: u64,
    /// Why the run says nothing.
    pub invalid: Vec<String>,
    /// What happened to the ids that are wrong, line by line.
    pub timelines: String,
}

impl Report {
    /// What the run came to. A violation counts in an invalid run, too.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if !self.violations.is_empty() || self.left > 0 {
            Verdict::Red
        } else if self.invalid.is_empty() {
            Verdict::Green
        } else {
            Verdict::Invalid
        }
    }

    /// How many ids have this wrong with them.
    #[must_use]
    pub fn count(&self, violation: Violation) -> usize {
        self.violations.get(&violation).map_or(0, Vec::len)
    }

    /// The time within which this part of the faults had recovered, in percent.
    #[must_use]
    pub fn recovered_within(&self, percent: usize) -> Option<Duration> {
        let mut took: Vec<_> = self.faults.iter().filter_map(|fault| fault.took).collect();
        took.sort_unstable();
        percentile(&took, percent)
    }
}

/// Judges a run from its ledger and what it left behind.
#[must_use]
pub fn check(lines: &[Line], remains: &Remains, plan: &Plan) -> Report {
    let history = History::of(lines);
    let mut report = Report {
        attempted: history.submits.len(),
        left: remains.left,
        dead: remains.dead.len(),
        ..Report::default()
    };
    let mut wrong = Vec::new();
    terminals(&history, remains, &mut report, &mut wrong);
    runs::check(&history, plan, &mut report, &mut wrong);
    signs::check(&history, plan, &mut wrong);
    wrong.sort();
    wrong.dedup();
    for (violation, id) in wrong {
        report.violations.entry(violation).or_default().push(id);
    }
    report.invalid = too_little(&history, plan, &report);
    report.timelines = timelines(lines, &report);
    report
}

/// What each id came to.
fn terminals(
    history: &History<'_>,
    remains: &Remains,
    report: &mut Report,
    wrong: &mut Vec<(Violation, String)>,
) {
    let mut dead: BTreeMap<&str, usize> = BTreeMap::new();
    for id in &remains.dead {
        *dead.entry(id).or_default() += 1;
    }
    for (id, submit) in &history.submits {
        let runs = history.runs.get(id).map_or(&[][..], Vec::as_slice);
        let took_effect = runs.iter().any(|run| run.took_effect);
        let is_done = runs.iter().any(|run| run.is_done());
        let died = dead.get(id).copied().unwrap_or(0);
        let came = !runs.is_empty() || died > 0;
        if submit.accepted > 0 {
            report.accepted += 1;
            let is_gone = !took_effect && died == 0;
            if is_gone && history.is_deleted(submit) {
                report.deleted += 1;
            } else if is_gone {
                wrong.push((Violation::Lost, (*id).to_owned()));
            }
        } else if submit.unanswered > 0 {
            report.recovered += usize::from(came);
        } else {
            report.refused += 1;
            if came {
                wrong.push((Violation::FalseFailure, (*id).to_owned()));
            }
        }
        // A further run may come to the same end again, and is judged by itself.
        let letters = runs.len().max(1) + runs::repeats(history, runs);
        if died > letters || (died > 0 && is_done) {
            wrong.push((Violation::DoubleTerminal, (*id).to_owned()));
        }
    }
    for id in history.runs.keys().chain(dead.keys()) {
        if !history.submits.contains_key(id) {
            wrong.push((Violation::Phantom, (*id).to_owned()));
        }
    }
}

/// Why a run says nothing, if it does.
fn too_little(history: &History<'_>, plan: &Plan, report: &Report) -> Vec<String> {
    let mut reasons = Vec::new();
    if report.accepted * 100 < plan.tasks * TASKS_MIN {
        reasons.push(format!(
            "{} of {} planned tasks were accepted",
            report.accepted, plan.tasks
        ));
    }
    if history.faults.len() < plan.faults {
        reasons.push(format!(
            "{} of {} planned faults were made",
            history.faults.len(),
            plan.faults
        ));
    }
    for fault in history.faults.iter().filter(|fault| !fault.bit) {
        reasons.push(format!("fault {} did not bite", fault.number));
    }
    if report.caught * 100 < history.faults.len() * CAUGHT_MIN {
        reasons.push(format!(
            "{} of {} faults found something in flight",
            report.caught,
            history.faults.len()
        ));
    }
    reasons
}

/// The lines of the first ids that are wrong, and of the faults near them.
fn timelines(lines: &[Line], report: &Report) -> String {
    let mut text = String::new();
    let wrong = report.violations.iter().flat_map(|(violation, ids)| {
        ids.iter()
            .take(TIMELINES_MAX)
            .map(move |id| (violation, id))
    });
    let begin = lines.first().map_or(0, |line| line.at);
    for (violation, id) in wrong {
        let _ = writeln!(text, "{violation:?}: {id}");
        let its = |line: &&Line| line.event.id() == Some(id);
        let from = lines.iter().find(its).map_or(0, |line| line.at);
        let to = lines.iter().rfind(its).map_or(0, |line| line.at);
        for line in lines {
            let is_near = line.at + NEAR >= from && line.at <= to + NEAR;
            if line.event.id().map_or(is_near, |about| about == id) {
                let ms = (line.at - begin) / 1_000_000;
                let _ = writeln!(text, "  {ms:>7} ms  {:?}", line.event);
            }
        }
    }
    text
}
