//! What is wrong though every task has one end: records that were replaced by older ones, workers
//! that hold too much, and workers that stand still while tasks wait.

use super::{Plan, Violation, history::History};
use crate::faults::ledger::{Nature, Outcome};
use std::collections::BTreeMap;

/// Longest time without a start of a worker while tasks wait and nothing has hit it, in
/// nanoseconds.
const STILL: u64 = 3_000_000_000;

/// Judges what is not about the runs of a task.
pub(super) fn check(history: &History<'_>, plan: &Plan, wrong: &mut Vec<(Violation, String)>) {
    overwritten(history, wrong);
    for (worker, deliveries, most) in &history.held {
        if deliveries > most {
            wrong.push((Violation::Hoarding, (*worker).to_owned()));
        }
    }
    idle(history, plan, wrong);
}

/// A record of a later run that an earlier one replaced.
fn overwritten(history: &History<'_>, wrong: &mut Vec<(Violation, String)>) {
    for (id, runs) in &history.runs {
        let is_replaced = runs.iter().enumerate().any(|(place, run)| {
            let later = runs.iter().skip(place + 1);
            let mut records = later.filter_map(|later| later.recorded);
            run.recorded
                .is_some_and(|at| records.any(|record| record < at))
        });
        if is_replaced {
            wrong.push((Violation::Overwritten, (*id).to_owned()));
        }
    }
}

/// What a worker did, in the order of time.
#[derive(Default)]
struct Deeds {
    starts: Vec<u64>,
    /// The ends of runs whose task is to be stored elsewhere: to be tried again, or as a dead letter.
    copies: Vec<u64>,
}

impl Deeds {
    fn of(history: &History<'_>) -> Vec<Self> {
        let mut workers: BTreeMap<&str, Self> = BTreeMap::new();
        for run in history.runs.values().flatten() {
            let deeds = workers.entry(run.worker).or_default();
            deeds.starts.push(run.start);
            if let Some((end, Outcome::Failed | Outcome::Rejected)) = run.end {
                deeds.copies.push(end);
            }
        }
        let mut workers: Vec<Self> = workers.into_values().collect();
        for deeds in &mut workers {
            deeds.starts.sort_unstable();
        }
        workers
    }

    /// The long pauses within a time in which nobody takes copies. Once a worker holds as many tasks
    /// as it may, each with such a copy, it can start nothing more.
    fn pauses(&self, within: (u64, u64), plan: &Plan) -> Vec<(u64, u64)> {
        let is_full = |at: u64| {
            let held = self
                .copies
                .iter()
                .filter(|end| (within.0..=at).contains(end));
            held.count() >= plan.concurrency
        };
        let pauses = self.starts.windows(2).filter_map(|pair| {
            let [before, after] = pair else { return None };
            Some(((*before).max(within.0), (*after).min(within.1)))
        });
        pauses
            .filter(|(from, to)| to.saturating_sub(*from) > STILL && !is_full(from + STILL))
            .collect()
    }
}

/// Tasks that waited while a worker started nothing for long, and only submits were hit. A worker
/// that starts nothing later, either, may have been stopped.
fn idle(history: &History<'_>, plan: &Plan, wrong: &mut Vec<(Violation, String)>) {
    let workers = Deeds::of(history);
    let faults = history.faults.iter();
    let blocks = faults.filter(|fault| fault.nature == Nature::Blocks);
    let blocks = blocks.filter_map(|fault| Some((fault.at, fault.healed?)));
    let pauses = blocks.flat_map(|within| {
        let each = workers.iter();
        each.flat_map(move |deeds| deeds.pauses(within, plan))
    });
    for (from, to) in pauses {
        let waiting = history.submits.iter().filter(|(id, submit)| {
            let runs = history.runs.get(*id);
            let first = runs.and_then(|runs| runs.first()).map(|run| run.start);
            submit.accepted_at.is_some_and(|at| at <= from)
                && first.is_some_and(|first| first >= to)
        });
        wrong.extend(waiting.map(|(id, _)| (Violation::Idle, (*id).to_owned())));
    }
}
