//! One row from its start to its verdict.

use super::{
    Place,
    fleet::{Fleet, Programs, QUEUE, until_within},
    making,
    rows::Row,
    stage::Stage,
};
use crate::process::Result;
use pumasi_testkit::faults::{
    checker::{self, Remains, Report, Verdict},
    ledger,
};
use std::{
    collections::BTreeSet,
    path::Path,
    time::{Duration, Instant},
};

/// How often the ledger is looked at.
const POLL: Duration = Duration::from_millis(20);

/// How often the queues are looked at while tasks are still under way; it costs a process.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// Longest time, after the end of all faults, in which no task comes to its end while some have not.
const DRAIN: Duration = Duration::from_secs(30);

/// Longest time from the end of the last task until the queues are empty.
const EMPTY: Duration = Duration::from_secs(5);

/// Runs one row in a folder of its own, which is kept where there is something to look into.
pub(super) fn play(programs: &Programs, place: &Place, row: &Row, seed: u64) -> Result<Report> {
    let folder = tempfile::Builder::new()
        .prefix("pumasi-faults-")
        .tempdir()
        .map_err(|error| error.to_string())?;
    let played = play_in(folder.path(), programs, place, (row, seed));
    let is_green = |report: &Report| report.verdict() == Verdict::Green;
    if !played.as_ref().is_ok_and(is_green) {
        eprintln!("ledger and logs are in {}", folder.keep().display());
    }
    played
}

/// Runs one row from its start to its verdict.
pub(super) fn play_in(
    folder: &Path,
    programs: &Programs,
    place: &Place,
    (row, seed): (&Row, u64),
) -> Result<Report> {
    let stage = Stage::new(place, row, folder);
    let mut fleet = Fleet::start(programs, row, seed, &stage, folder)?;
    making::break_things(&stage, &mut fleet, row, seed)?;
    if let Some(most) = row.held_max {
        stage.note_holdings(&fleet, most)?;
    }
    let remains = settle(&mut fleet, &stage)?;
    let lines = ledger::read(&fleet.ledger_path()).map_err(|error| error.to_string())?;
    Ok(checker::check(&lines, &remains, &row.plan()))
}

/// Lets everything come to its end, and looks at what is left.
fn settle(fleet: &mut Fleet<'_>, stage: &Stage<'_>) -> Result<Remains> {
    fleet.finish_producer()?;
    // What is lost never comes to its end; the checker says what it was. A node that has just
    // started tells of empty queues, so nothing may have happened meanwhile, either.
    let mut open = Open::follow(&fleet.ledger_path())?;
    let (mut looked, mut seen) = (Instant::now(), 0);
    let (mut moved, mut ended) = (Instant::now(), 0);
    while !open.is_empty() && moved.elapsed() < DRAIN {
        if ended != open.ended.len() {
            (moved, ended) = (Instant::now(), open.ended.len());
        }
        if looked.elapsed() >= LOOK_EVERY {
            looked = Instant::now();
            let before = std::mem::replace(&mut seen, open.lines);
            if before == seen && stage.left(fleet) == Ok(0) {
                break;
            }
        }
        fleet.revive()?;
        std::thread::sleep(POLL);
    }
    let _ = until_within(EMPTY, "empty queues", || stage.left(fleet) == Ok(0));
    fleet.finish_workers()?;
    // Unacknowledged ones are ready again now.
    let left = stage.left(fleet)?;
    if !fleet.has_dead_letters() {
        let dead = Vec::new();
        return Ok(Remains { left, dead });
    }
    let dead = fleet
        .ask(&["dead", "list", QUEUE, "--limit", "1000000"])?
        .iter()
        .filter_map(|letter| letter["id"].as_str().map(str::to_owned))
        .collect();
    Ok(Remains { left, dead })
}

/// The tasks that were accepted and have not come to an end.
struct Open {
    ledger: ledger::Follower,
    lines: usize,
    accepted: BTreeSet<String>,
    ended: BTreeSet<String>,
}

impl Open {
    fn follow(path: &Path) -> Result<Self> {
        let ledger = ledger::Follower::open(path).map_err(|error| error.to_string())?;
        let (accepted, ended) = Default::default();
        Ok(Self {
            ledger,
            lines: 0,
            accepted,
            ended,
        })
    }

    /// Whether all have ended by now.
    fn is_empty(&mut self) -> bool {
        let Ok(lines) = self.ledger.read_new() else {
            return false;
        };
        self.lines += lines.len();
        for line in lines {
            match line.event {
                ledger::Event::Accepted { id } if !self.ended.contains(&id) => {
                    self.accepted.insert(id);
                }
                ledger::Event::End { id, outcome, .. } if outcome != ledger::Outcome::Failed => {
                    self.accepted.remove(&id);
                    self.ended.insert(id);
                }
                _ => {}
            }
        }
        self.accepted.is_empty()
    }
}
