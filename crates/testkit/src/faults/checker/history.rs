//! A ledger, sorted by what it is about.

use crate::faults::ledger::{Event, Line, Nature, Outcome, Target};
use std::collections::BTreeMap;

/// Everything that happened.
#[derive(Debug, Default)]
pub(super) struct History<'a> {
    /// Each id that was submitted.
    pub(super) submits: BTreeMap<&'a str, Submit>,
    /// The runs of each id, in the order of their starts.
    pub(super) runs: BTreeMap<&'a str, Vec<Run<'a>>>,
    /// Each worker's channel that was looked at, what it held, and the most that it may hold.
    pub(super) held: Vec<(&'a str, u64, u64)>,
    /// The faults, in the order in which they were made.
    pub(super) faults: Vec<Fault<'a>>,
}

/// The submits of one id.
#[derive(Debug, Default)]
pub(super) struct Submit {
    /// How often it was accepted.
    pub(super) accepted: usize,
    /// When it was accepted first.
    pub(super) accepted_at: Option<u64>,
    /// How often there was no answer, or the answer that it may exist.
    pub(super) unanswered: usize,
    /// From each call to its answer, if there was one.
    pub(super) calls: Vec<(u64, Option<u64>)>,
}

/// One run of a handler.
#[derive(Debug)]
pub(super) struct Run<'a> {
    name: &'a str,
    pub(super) attempt: u32,
    pub(super) worker: &'a str,
    pub(super) start: u64,
    pub(super) took_effect: bool,
    /// When it was written down as the one that has done the task.
    pub(super) recorded: Option<u64>,
    pub(super) end: Option<(u64, Outcome)>,
}

impl Run<'_> {
    pub(super) fn is_done(&self) -> bool {
        matches!(self.end, Some((_, Outcome::Done)))
    }
    pub(super) fn has_failed(&self) -> bool {
        matches!(self.end, Some((_, Outcome::Failed)))
    }
}

/// One fault.
#[derive(Debug)]
pub(super) struct Fault<'a> {
    pub(super) number: u32,
    pub(super) name: &'a str,
    pub(super) nature: Nature,
    pub(super) target: &'a Target,
    pub(super) at: u64,
    pub(super) healed: Option<u64>,
    pub(super) bit: bool,
}

impl<'a> History<'a> {
    /// Whether the queue was deleted on purpose after this task was submitted. Its loss says
    /// nothing then.
    pub(super) fn is_deleted(&self, submit: &Submit) -> bool {
        let mut deletions = self.faults.iter().filter(|f| f.nature == Nature::Deletes);
        deletions.any(|fault| {
            let back = fault.healed.unwrap_or(u64::MAX);
            submit.calls.iter().any(|(from, _)| *from <= back)
        })
    }

    /// Sorts the lines, which are in the order of their times.
    pub(super) fn of(lines: &'a [Line]) -> Self {
        let mut history = Self::default();
        for line in lines {
            history.add(line);
        }
        for submit in history.submits.values_mut() {
            submit.unanswered += submit.calls.iter().filter(|call| call.1.is_none()).count();
        }
        history
    }

    fn add(&mut self, line: &'a Line) {
        let at = line.at;
        match &line.event {
            Event::Invoke { id } => {
                let submit = self.submits.entry(id).or_default();
                submit.calls.push((at, None));
            }
            Event::Accepted { id } => {
                let submit = self.answer(id, at);
                submit.accepted += 1;
                submit.accepted_at.get_or_insert(at);
            }
            Event::Refused { id, .. } => drop(self.answer(id, at)),
            Event::Unknown { id } => self.answer(id, at).unanswered += 1,
            Event::Start { .. } => self.start(line),
            Event::Effect { id, run } => {
                if let Some(run) = self.run(id, run) {
                    run.took_effect = true;
                }
            }
            Event::Record { id, run } => {
                if let Some(run) = self.run(id, run) {
                    run.recorded = Some(at);
                }
            }
            Event::End { id, run, outcome } => {
                if let Some(run) = self.run(id, run) {
                    run.end = Some((at, *outcome));
                }
            }
            Event::Held {
                worker,
                deliveries,
                most,
            } => self.held.push((worker, *deliveries, *most)),
            Event::Inject {
                fault,
                name,
                nature,
                target,
            } => self.faults.push(Fault {
                number: *fault,
                name,
                nature: *nature,
                target,
                at,
                healed: None,
                bit: false,
            }),
            Event::Bit { fault, .. } => {
                if let Some(fault) = self.fault(*fault) {
                    fault.bit = true;
                }
            }
            Event::Healed { fault } => {
                if let Some(fault) = self.fault(*fault) {
                    fault.healed = Some(at);
                }
            }
        }
    }

    fn start(&mut self, line: &'a Line) {
        let Event::Start {
            id,
            attempt,
            worker,
            run,
        } = &line.event
        else {
            return;
        };
        self.runs.entry(id).or_default().push(Run {
            name: run,
            attempt: *attempt,
            worker,
            start: line.at,
            took_effect: false,
            recorded: None,
            end: None,
        });
    }

    /// The submits of an id, with an answer to the latest call.
    fn answer(&mut self, id: &'a str, at: u64) -> &mut Submit {
        let submit = self.submits.entry(id).or_default();
        if let Some(call) = submit.calls.last_mut() {
            call.1 = Some(at);
        }
        submit
    }

    fn run(&mut self, id: &str, name: &str) -> Option<&mut Run<'a>> {
        let runs = self.runs.get_mut(id)?;
        runs.iter_mut().rev().find(|run| run.name == name)
    }

    fn fault(&mut self, number: u32) -> Option<&mut Fault<'a>> {
        self.faults.iter_mut().find(|fault| fault.number == number)
    }
}
