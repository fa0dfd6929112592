//! How fast each fault was over.

use super::history::{Fault, History, Run};
use crate::faults::ledger::Target;
use std::time::Duration;

/// A task whose workers were killed so often waits until it can run alone: no delay of the broker.
const ALONE_AFTER: usize = 2;

/// How long a fault lasted for whom it hit: until every task that it took from a worker was started
/// by another, be it that the first has done it, or goes on with it later; and for a fault of
/// everyone, from when it was healed until something started and was accepted.
pub(super) fn recovery(history: &History<'_>, fault: &Fault<'_>) -> Option<Duration> {
    let after = |times: &mut dyn Iterator<Item = u64>| {
        let first = times.filter(|at| *at >= fault.over()).min();
        first.map(|at| at - fault.over())
    };
    let took = match fault.target {
        Target::Worker(_) => {
            let each = history.runs.values();
            each.flat_map(|runs| again(runs, fault)).max()
        }
        Target::Producer => after(&mut accepted(history)),
        Target::All => {
            let start = after(&mut history.runs.values().flatten().map(|run| run.start));
            start.max(after(&mut accepted(history)))
        }
    };
    took.map(Duration::from_nanos)
}

/// From a fault until each start of this task that follows a run which it cut off.
fn again(runs: &[Run<'_>], fault: &Fault<'_>) -> Vec<u64> {
    let mut cut = 0;
    let mut again = Vec::new();
    for pair in runs.windows(2) {
        let [run, next] = pair else { continue };
        // Not one more attempt: the same once more.
        let is_again = next.attempt == run.attempt;
        cut += usize::from(is_again);
        let is_hit = fault.found(run) && (run.start..next.start).contains(&fault.at);
        if is_again && is_hit && cut < ALONE_AFTER {
            again.push(next.start - fault.at);
        }
    }
    again
}

/// When each task was accepted first. That something was refused shows nothing.
fn accepted<'a>(history: &'a History<'_>) -> impl Iterator<Item = u64> + 'a {
    history
        .submits
        .values()
        .filter_map(|submit| submit.accepted_at)
}
