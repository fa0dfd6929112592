//! Which runs are explained, and by which fault.

use super::{
    Plan, Recovery, Report, Violation,
    blame::{self, Extra},
    history::{Fault, History, Run},
    recovery::recovery,
};
use crate::faults::ledger::{Nature, Outcome, Target};

/// Longest time from the end of a handler until the broker has its acknowledgement.
const ACK: u64 = 1_000_000_000;
/// The same where a copy is confirmed before: to be tried again, or a dead letter. The first one
/// makes the queues for what is kept back.
const COPY: u64 = 5_000_000_000;
/// Longest time from when a worker starts a program until that notes its start; the worker may be
/// killed in between.
const BIRTH: u64 = 100_000_000;
/// Shortest time after which a client leaves a node that answers nothing for another one.
const PATIENCE: u64 = 5_000_000_000;
/// Longest time that a program may outlive its killed worker.
const LAST_BREATH: u64 = 1_000_000_000;

impl Fault<'_> {
    /// Whether it is about runs of this worker.
    fn hits(&self, worker: &str) -> bool {
        match self.target {
            Target::Worker(name) => name == worker,
            Target::Producer => false,
            Target::All => self.nature != Nature::Blocks,
        }
    }

    /// Whether it is about submits.
    fn hits_submits(&self) -> bool {
        !matches!(self.target, Target::Worker(_))
    }

    pub(super) fn over(&self) -> u64 {
        self.healed.unwrap_or(self.at)
    }

    /// How often a call may have been sent again since it was under way: once, and once more each
    /// time that the client had reason to try another node.
    fn sends_again(&self, (from, to): (u64, u64)) -> usize {
        if from > self.over() || to < self.at {
            return 0;
        }
        let under_way = to.min(self.over()).saturating_sub(from.max(self.at));
        1 + usize::try_from(under_way / PATIENCE).unwrap_or(0)
    }

    /// When the last run that it found may have noted its start.
    fn latest_start(&self) -> u64 {
        match self.nature {
            Nature::Kills => self.over() + BIRTH,
            _ => self.over(),
        }
    }

    /// Whether the run was going on, or not yet acknowledged, while the fault was.
    pub(super) fn found(&self, run: &Run<'_>) -> bool {
        let end = run.end.map(|(at, outcome)| match outcome {
            Outcome::Done => at.saturating_add(ACK),
            Outcome::Failed | Outcome::Rejected => at.saturating_add(COPY),
        });
        self.hits(run.worker)
            && run.start <= self.latest_start()
            && end.is_none_or(|end| end >= self.at)
    }

    /// Whether the run began before its worker can have noticed that its task is another's by now.
    fn is_late(&self, run: &Run<'_>) -> bool {
        self.lets_runs_go_on() && self.hits(run.worker) && run.start <= self.over() + ACK
    }

    /// Most further runs that it may cost.
    fn may_cost(&self, plan: &Plan) -> usize {
        match self.target {
            // Tasks are shorter than the time that it has to finish them.
            Target::Worker(_) | Target::All if self.nature == Nature::Drains => 0,
            Target::Worker(_) => plan.concurrency,
            Target::Producer => plan.window,
            Target::All => plan.workers * plan.concurrency + plan.window,
        }
    }

    /// Whether a handler may go on while its task is given to another.
    fn lets_runs_go_on(&self) -> bool {
        matches!(self.nature, Nature::Severs | Nature::Deletes)
    }
}

/// Judges every run and measures every fault.
pub(super) fn check(
    history: &History<'_>,
    plan: &Plan,
    report: &mut Report,
    wrong: &mut Vec<(Violation, String)>,
) {
    let mut extras = Vec::new();
    for (id, runs) in &history.runs {
        let mut copies = copies(history, id);
        // Two of it run at any time, and again when either is cut off.
        let is_stored_twice = copies > 0;
        for (place, run) in runs.iter().enumerate() {
            let (before, _) = runs.split_at(place);
            for violation in lonely(history, run) {
                wrong.push((violation, (*id).to_owned()));
            }
            if is_due(before, run) {
                continue;
            }
            let mut overlaps = overlapping(before, run).peekable();
            if overlaps.peek().is_some() {
                let is_late = || history.faults.iter().any(|fault| fault.is_late(run));
                let was_severed = |earlier| was_severed(history, earlier, run);
                let is_doubled = || is_doubled(history, before, run);
                if is_stored_twice || is_late() || is_doubled() || overlaps.all(was_severed) {
                    report.overlaps += 1;
                } else {
                    wrong.push((Violation::Overlap, (*id).to_owned()));
                }
            }
            report.explained += 1;
            // What only this task has is spent before what others may need, too.
            if copies > 0 {
                copies -= 1;
                continue;
            }
            let suspects = suspects(history, before, run);
            extras.push(Extra { id, suspects });
        }
    }
    let purses: Vec<usize> = history
        .faults
        .iter()
        .map(|fault| fault.may_cost(plan))
        .collect();
    let blame = blame::share(&extras, &purses);
    report.explained -= blame.unpaid.len();
    for extra in blame.unpaid {
        wrong.push((Violation::ExtraRun, extras[extra].id.to_owned()));
    }
    for (fault, paid) in history.faults.iter().zip(blame.paid) {
        report.caught += usize::from(catches(history, fault));
        report.faults.push(Recovery {
            name: fault.name.to_owned(),
            took: recovery(history, fault),
            extra: paid.len(),
        });
    }
}

/// Whether a run needs no explanation: the first of a first attempt, and of a later one as many as
/// runs of the attempt before have failed.
fn is_due(before: &[Run<'_>], run: &Run<'_>) -> bool {
    let count = |attempt, counts: fn(&Run<'_>) -> bool| {
        let those = before.iter().filter(|earlier| earlier.attempt == attempt);
        those.filter(|earlier| counts(earlier)).count()
    };
    let due = match run.attempt {
        0 | 1 => 1,
        later => count(later - 1, |earlier| earlier.has_failed()),
    };
    count(run.attempt, |_| true) < due
}

/// How often a task may be stored more than once: for each submit that got no answer, and each time
/// that the client library sent one again since a fault found it under way.
fn copies(history: &History<'_>, id: &str) -> usize {
    let Some(submit) = history.submits.get(id) else {
        return 0;
    };
    let calls = submit.calls.iter();
    let answered = calls.filter_map(|(from, to)| Some((*from, (*to)?)));
    let sent_again = answered.flat_map(|call| {
        let faults = history.faults.iter().filter(|fault| fault.hits_submits());
        faults.map(move |fault| fault.sends_again(call))
    });
    submit.unanswered + sent_again.sum::<usize>()
}

/// How many more dead letters there may be: for each fault that cut a worker off between the end of
/// a run and the answer to its dead letter, as often as that was sent again.
pub(super) fn repeats(history: &History<'_>, runs: &[Run<'_>]) -> usize {
    let mut repeats = 0;
    for run in runs {
        let Some((end, Outcome::Rejected)) = run.end else {
            continue;
        };
        let faults = history.faults.iter();
        let cut_off = faults.filter(|fault| fault.nature == Nature::Severs && fault.found(run));
        let again = cut_off.map(|fault| fault.sends_again((end, fault.over().max(end))).max(1));
        repeats += again.sum::<usize>();
    }
    repeats
}

/// What is wrong with a run by itself.
fn lonely(history: &History<'_>, run: &Run<'_>) -> Vec<Violation> {
    let mut wrong = Vec::new();
    let mut hits = history.faults.iter().filter(|fault| fault.hits(run.worker));
    let Some((end, _)) = run.end else {
        if !hits.any(|fault| fault.latest_start() >= run.start) {
            wrong.push(Violation::Cut);
        }
        return wrong;
    };
    let outlives = |fault: &Fault<'_>| {
        fault.nature == Nature::Kills && run.start <= fault.at && end > fault.at + LAST_BREATH
    };
    if hits.any(outlives) {
        wrong.push(Violation::Survivor);
    }
    wrong
}

/// The places of the faults that explain a further run.
fn suspects(history: &History<'_>, before: &[Run<'_>], run: &Run<'_>) -> Vec<usize> {
    let explains = |fault: &Fault<'_>| {
        fault.at <= run.start
            && (before.iter().any(|earlier| fault.found(earlier)) || fault.is_late(run))
    };
    let faults = history.faults.iter().enumerate();
    faults
        .filter(|(_, fault)| explains(fault))
        .map(|(place, _)| place)
        .collect()
}

/// The earlier runs that go on when this one starts. One without an end was ended.
fn overlapping<'a>(before: &'a [Run<'a>], run: &Run<'_>) -> impl Iterator<Item = &'a Run<'a>> {
    let start = run.start;
    let goes_on = move |earlier: &&Run<'_>| earlier.end.is_some_and(|(end, _)| end > start);
    before.iter().filter(goes_on)
}

/// Whether there are two of the task since an earlier run failed: its copy, to be tried again, and
/// the task itself, since a fault kept the broker from hearing that the copy replaces it.
fn is_doubled(history: &History<'_>, before: &[Run<'_>], run: &Run<'_>) -> bool {
    let mut failed = before.iter().filter(|earlier| earlier.has_failed());
    failed.any(|earlier| was_severed(history, earlier, run))
}

/// Whether a fault had given the task of an earlier run away, before this one started, and let that
/// run go on: whatever ended a run between the two says nothing about it.
fn was_severed(history: &History<'_>, earlier: &Run<'_>, run: &Run<'_>) -> bool {
    let mut faults = history.faults.iter();
    faults.any(|fault| fault.lets_runs_go_on() && fault.at <= run.start && fault.found(earlier))
}

/// Whether a fault found a run or a submit in flight.
fn catches(history: &History<'_>, fault: &Fault<'_>) -> bool {
    let running = |run: &Run<'_>| {
        let end = run.end.map_or(u64::MAX, |(at, _)| at);
        fault.hits(run.worker) && run.start <= fault.over() && end >= fault.at
    };
    let submitting = |(from, to): &(u64, Option<u64>)| {
        *from <= fault.over() && to.is_none_or(|to| to >= fault.at)
    };
    history.runs.values().flatten().any(running)
        || (fault.hits_submits()
            && history
                .submits
                .values()
                .flat_map(|submit| &submit.calls)
                .any(submitting))
}
