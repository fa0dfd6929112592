//! Where the works are done: a private node, files, and one process at a time.

use super::{
    figures::Run,
    programs::Programs,
    works::{Place, Program, Side, Work},
};
use crate::process::{Result, succeeds};
use pumasi_testkit::{
    bench::Measured,
    rabbitmq::{RabbitMq, Version},
};
use std::{
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

/// Most tasks in flight while a queue is filled.
const FILL_WINDOW: &str = "1000";
/// What the kernel counts.
const EVENT: &str = "raw_syscalls:sys_enter";

/// The node, and the programs that work on it.
pub(super) struct Stage<'a> {
    programs: &'a Programs,
    node: Option<RabbitMq>,
    /// Whether system calls can be counted here.
    has_perf: bool,
}

/// An empty place for one measurement.
pub(super) struct At {
    /// As everybody is told.
    pub(super) url: String,
    /// As SQLite alone is told.
    path: String,
    _folder: Option<tempfile::TempDir>,
}

impl<'a> Stage<'a> {
    /// Starts what is needed.
    pub(super) fn set(programs: &'a Programs, with_rabbitmq: bool) -> Result<Self> {
        let has_perf = succeeds("perf", &["stat", "-e", EVENT, "true"]);
        if !has_perf {
            eprintln!("no perf, or no right to use it: system calls are not counted");
        }
        let node = if with_rabbitmq {
            Version::V4_3.available()?;
            eprintln!("starting a private node of RabbitMQ 4.3");
            Some(RabbitMq::start(Version::V4_3))
        } else {
            None
        };
        Ok(Self {
            programs,
            node,
            has_perf,
        })
    }

    /// Every side once, given in their order. Who goes first changes with the rounds, so that none
    /// always meets the others' leftovers.
    pub(super) fn round(&self, work: &Work, count: usize, round: usize) -> Result<Vec<Run>> {
        let run = |side: &Side| self.run(work, side, count, None);
        if round % 2 == 1 {
            return work.sides.iter().map(run).collect();
        }
        let mut runs: Vec<Run> = work.sides.iter().rev().map(run).collect::<Result<_>>()?;
        runs.reverse();
        Ok(runs)
    }

    /// System calls of each side per task, its start included, in a run of its own: being counted
    /// slows it down.
    pub(super) fn system_calls(&self, work: &Work, count: usize) -> Result<Vec<Option<f64>>> {
        let of_side = |side: &Side| {
            if !self.has_perf || side.has_load_generator {
                return Ok(None);
            }
            let file = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
            let run = self.run(work, side, count, Some(file.path()))?;
            let counted = std::fs::read_to_string(file.path());
            let calls = counted.ok().and_then(|text| counted_in(&text));
            Ok(calls.map(|calls| calls / run.measured.tasks as f64))
        };
        work.sides.iter().map(of_side).collect()
    }

    fn run(&self, work: &Work, side: &Side, count: usize, counted: Option<&Path>) -> Result<Run> {
        let at = self.fresh(work.place)?;
        let count = (count / side.part).max(1);
        let filled = if work.is_full { count } else { 0 };
        let (preparer, at_side) = match side.program {
            Program::Pumasi | Program::C => (Program::Pumasi, &at.url),
            Program::Sqlite => (Program::Sqlite, &at.path),
        };
        let arguments = |work: &Work, count: usize, window: &str| {
            [count.to_string(), work.bytes.to_string(), window.to_owned()]
        };
        let mut prepare = Command::new(self.programs.of(preparer));
        prepare
            .args(["prepare", at_side])
            .args(arguments(work, filled, FILL_WINDOW));
        said(&mut prepare)?;

        let mut command = self.programs.command(side.program, counted_by(counted));
        command
            .args([side.work, at_side])
            .args(arguments(work, count, &work.window.to_string()));
        let before = self.node.as_ref().map(RabbitMq::cpu_seconds);
        let begun = Instant::now();
        let said_all = said(&mut command)?;
        let process_seconds = begun.elapsed().as_secs_f64();
        let after = self.node.as_ref().map(RabbitMq::cpu_seconds);
        let last = said_all.lines().last().unwrap_or_default();
        let measured: Measured = serde_json::from_str(last)
            .map_err(|error| format!("{} said `{last}`: {error}", side.name))?;
        if work.needs_rabbitmq() {
            let mut clear = Command::new(self.programs.of(preparer));
            clear
                .args(["clear", at_side])
                .args(arguments(work, 0, FILL_WINDOW));
            said(&mut clear)?;
        }
        let spent = before.zip(after).map(|(before, after)| after - before);
        Ok(Run {
            measured,
            broker_cpu_seconds: spent.filter(|_| work.needs_rabbitmq()),
            process_seconds,
        })
    }

    /// An empty place.
    pub(super) fn fresh(&self, place: Place) -> Result<At> {
        match (place, &self.node) {
            (Place::RabbitMq, Some(node)) => Ok(At {
                url: node.new_vhost_url(),
                path: String::new(),
                _folder: None,
            }),
            (Place::RabbitMq, None) => Err("there is no node".to_owned()),
            (Place::Embedded, _) => {
                let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
                let path = folder.path().join("bench.db").display().to_string();
                Ok(At {
                    url: format!("sqlite:{path}"),
                    path,
                    _folder: Some(folder),
                })
            }
        }
    }
}

/// The words before a command that has its system calls counted in this file.
fn counted_by(file: Option<&Path>) -> Vec<String> {
    let Some(file) = file else {
        return Vec::new();
    };
    let file = file.display().to_string();
    ["perf", "stat", "-x", ",", "-e", EVENT, "-o", &file, "--"]
        .map(str::to_owned)
        .to_vec()
}

/// The number in what `perf stat -x ,` wrote.
fn counted_in(text: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.contains(EVENT))?;
    line.split(',').next()?.parse().ok()
}

/// What a command says; that it ends well.
fn said(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cannot start {command:?}: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("{command:?}: {}", output.status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_calls_is_read_from_what_perf_wrote() {
        let wrote = "# started on Mon\n\n61234,,raw_syscalls:sys_enter,99,100.00,,\n";
        assert_eq!(counted_in(wrote), Some(61_234.0));
        let refused = "<not supported>,,raw_syscalls:sys_enter,0,100.00,,\n";
        assert_eq!(counted_in(refused), None);
        assert_eq!(counted_in(""), None);
    }
}
