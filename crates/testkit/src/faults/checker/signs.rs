//! What is wrong though every task has one end: records that were replaced by older ones, workers
//! that hold too much, and workers that stand still while tasks wait.

use super::{Violation, history::History};
use crate::faults::ledger::Nature;
use std::collections::BTreeMap;

/// Longest time without a start of a worker while tasks wait and nothing has hit it, in
/// nanoseconds.
const STILL: u64 = 3_000_000_000;

/// Judges what is not about the runs of a task.
pub(super) fn check(history: &History<'_>, wrong: &mut Vec<(Violation, String)>) {
    overwritten(history, wrong);
    for (worker, deliveries, most) in &history.held {
        if deliveries > most {
            wrong.push((Violation::Hoarding, (*worker).to_owned()));
        }
    }
    idle(history, wrong);
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

/// Tasks that waited while a worker started nothing for long, and only submits were hit. A worker
/// that starts nothing later, either, may have been stopped.
fn idle(history: &History<'_>, wrong: &mut Vec<(Violation, String)>) {
    let mut starts: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for run in history.runs.values().flatten() {
        starts.entry(run.worker).or_default().push(run.start);
    }
    starts
        .values_mut()
        .for_each(|starts| starts.sort_unstable());
    let blocks = history
        .faults
        .iter()
        .filter(|fault| fault.nature == Nature::Blocks);
    for fault in blocks {
        let Some(healed) = fault.healed else { continue };
        for pause in starts.values().flat_map(|starts| starts.windows(2)) {
            let [before, after] = pause else { continue };
            let (from, to) = ((*before).max(fault.at), (*after).min(healed));
            if to.saturating_sub(from) <= STILL {
                continue;
            }
            let waiting = history.submits.iter().filter(|(id, submit)| {
                let runs = history.runs.get(*id);
                let first = runs.and_then(|runs| runs.first()).map(|run| run.start);
                submit.accepted_at.is_some_and(|at| at <= from)
                    && first.is_some_and(|first| first >= to)
            });
            wrong.extend(waiting.map(|(id, _)| (Violation::Idle, (*id).to_owned())));
        }
    }
}
