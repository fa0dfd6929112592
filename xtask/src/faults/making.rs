//! Making faults: at moments and on victims that follow from the seed, each noted with what it is,
//! with its end, and with evidence that it took hold.

use super::{
    fleet::{Fleet, LIMIT, until},
    rows::{Fault, Row},
    stage::Stage,
};
use crate::process::Result;
use pumasi_testkit::faults::{
    ledger::{Event, Follower, Line, Target, now, read_so_far},
    orders::dice,
};
use std::{
    cell::Cell,
    thread::sleep,
    time::{Duration, Instant},
};

/// One fault while it is made.
pub(super) struct Making<'a> {
    pub(super) stage: &'a Stage<'a>,
    fault: &'a Fault,
    seed: u64,
    /// How many faults the row has had, this one not counted until it has begun.
    made: Cell<u32>,
    drawn: Cell<u64>,
}

/// A fault that has begun: its number in the ledger.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark(u32);

/// Breaks what a row says until it has been broken as often as the row says.
pub(super) fn break_things(
    stage: &Stage<'_>,
    fleet: &mut Fleet<'_>,
    row: &Row,
    seed: u64,
) -> Result {
    let mut made = 0;
    while made < row.times {
        let making = Making {
            stage,
            fault: &row.faults[0],
            seed,
            made: Cell::new(made),
            drawn: Cell::default(),
        };
        let choice = making.below(row.faults.len() as u64);
        let making = Making {
            fault: &row.faults[usize::try_from(choice).unwrap_or(0)],
            ..making
        };
        let (shortest, longest) = row.rest_ms;
        making.rest(shortest, longest);
        fleet.revive()?;
        (making.fault.make)(&making, fleet)?;
        if making.made.get() == made {
            return Err(format!("{} noted nothing", making.fault.name));
        }
        made = making.made.get();
    }
    Ok(())
}

impl Making<'_> {
    /// A number that follows from the seed, less than this; another one each time.
    pub(super) fn below(&self, limit: u64) -> u64 {
        let drawn = self.drawn.replace(self.drawn.get() + 1);
        let place = (u64::from(self.made.get()) << 32) | (drawn << 16);
        dice(self.seed, place) % limit.max(1)
    }

    /// Whether the row has had no fault yet.
    pub(super) fn is_first(&self) -> bool {
        self.made.get() == 0
    }

    /// Waits for a time between these, in milliseconds.
    pub(super) fn rest(&self, shortest: u64, longest: u64) {
        let more = self.below(longest.saturating_sub(shortest) + 1);
        sleep(Duration::from_millis(shortest + more));
    }

    /// The name of a worker, any.
    pub(super) fn any_worker(&self, fleet: &Fleet<'_>) -> String {
        let place = self.below(fleet.workers.len() as u64);
        fleet.workers[usize::try_from(place).unwrap_or(0)]
            .name
            .clone()
    }

    /// Notes that the fault is about to be made.
    pub(super) fn begin(&self, fleet: &Fleet<'_>, target: Target) -> Result<Mark> {
        self.began(fleet, target, now())
    }

    /// Notes a fault that began at a time that is known from elsewhere.
    pub(super) fn began(&self, fleet: &Fleet<'_>, target: Target, at: u64) -> Result<Mark> {
        let number = self.made.replace(self.made.get() + 1);
        let event = Event::Inject {
            fault: number,
            name: self.fault.name.to_owned(),
            nature: self.fault.nature,
            target,
        };
        note(fleet, at, event)?;
        Ok(Mark(number))
    }

    /// Notes that what was broken is whole again.
    pub(super) fn healed(&self, fleet: &Fleet<'_>, mark: Mark) -> Result {
        self.healed_at(fleet, mark, now())
    }

    /// As [`Making::healed`], at a time that is known from elsewhere.
    #[expect(clippy::unused_self, reason = "one word for all that is noted")]
    pub(super) fn healed_at(&self, fleet: &Fleet<'_>, Mark(fault): Mark, at: u64) -> Result {
        note(fleet, at, Event::Healed { fault })
    }

    /// Notes the evidence that a fault took hold.
    #[expect(clippy::unused_self, reason = "one word for all that is noted")]
    pub(super) fn bit(&self, fleet: &Fleet<'_>, Mark(fault): Mark, proof: String) -> Result {
        note(fleet, now(), Event::Bit { fault, proof })
    }

    /// Waits until tasks flow again: who is hit before that shows nothing of how long it takes.
    #[expect(clippy::unused_self, reason = "one word for all that is waited for")]
    pub(super) fn until_it_flows(&self, fleet: &Fleet<'_>) -> Result {
        let from = now();
        until("tasks that flow again", || flows_since(fleet, from))
    }

    /// Waits until the producer submits something, and a moment more.
    pub(super) fn in_mid_burst(&self, fleet: &Fleet<'_>) -> Result {
        let path = fleet.ledger_path();
        let mut ledger = Follower::at_end(&path).map_err(|error| error.to_string())?;
        let end = Instant::now() + LIMIT;
        let is_submit = |line: Line| matches!(line.event, Event::Invoke { .. });
        // Without a pause: a burst is over in milliseconds.
        loop {
            let new = ledger.read_new().map_err(|error| error.to_string())?;
            if new.into_iter().any(is_submit) {
                break;
            }
            if Instant::now() > end {
                return Err("the producer submits nothing".to_owned());
            }
        }
        sleep(Duration::from_micros(self.below(10_000)));
        Ok(())
    }
}

/// Whether something was accepted, and something started, after this time.
pub(super) fn flows_since(fleet: &Fleet<'_>, time: u64) -> bool {
    let since = |what: fn(&Event) -> bool| {
        times(fleet, what).is_ok_and(|times| times.last().is_some_and(|at| *at > time))
    };
    since(|event| matches!(event, Event::Accepted { .. }))
        && since(|event| matches!(event, Event::Start { .. }))
}

/// When such events were, in order.
pub(super) fn times(fleet: &Fleet<'_>, what: fn(&Event) -> bool) -> Result<Vec<u64>> {
    let lines = read_so_far(&fleet.ledger_path()).map_err(|error| error.to_string())?;
    let those = lines.iter().filter(|line| what(&line.event));
    Ok(those.map(|line| line.at).collect())
}

fn note(fleet: &Fleet<'_>, at: u64, event: Event) -> Result {
    let line = Line { at, event };
    let written = fleet.ledger.write_line(&line);
    written.map_err(|error| error.to_string())
}
