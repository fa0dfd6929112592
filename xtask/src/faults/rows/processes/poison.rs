//! A task that kills its worker each time, among others that do not.

use super::start_again;
use crate::{
    faults::{
        fleet::{Fleet, LIMIT, QUEUE},
        making::Making,
    },
    process::Result,
};
use pumasi_testkit::faults::{
    ledger::{Event, Target, now, read_so_far},
    orders::POISON,
};
use std::{
    process::ExitStatus,
    thread::sleep,
    time::{Duration, Instant},
};

/// More than run at once: what waits in a worker's window is counted like what runs.
pub(super) const ENVIRONMENT: &[(&str, &str)] = &[("PUMASI__WORKER__PREFETCH", "20")];
/// How often workers are looked at.
const POLL: Duration = Duration::from_millis(10);
/// How often the dead letters are; it costs a process.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Submits such a task and starts a worker for each that it kills, until it is a dead letter. Each
/// death is a fault.
pub(super) fn submit(making: &Making<'_>, fleet: &mut Fleet<'_>) -> Result {
    let id = format!("poison-{}", now());
    let note = |event| {
        let written = fleet.ledger.write(event);
        written.map_err(|error| error.to_string())
    };
    note(Event::Invoke { id: id.clone() })?;
    fleet.ask(&["submit", "-q", QUEUE, "--id", &id, POISON])?;
    note(Event::Accepted { id: id.clone() })?;
    let mut deaths = 0;
    let limit = Instant::now() + LIMIT;
    let mut looked = Instant::now();
    let mut is_over = false;
    while !is_over {
        if Instant::now() > limit {
            return Err(format!("{id} lives after {deaths} workers"));
        }
        sleep(POLL);
        if looked.elapsed() > LOOK_EVERY {
            is_over = is_dead(fleet, &id)?;
            looked = Instant::now();
        }
        while let Some((name, status)) = ended(fleet) {
            let Some(at) = started(fleet, &id, &name)? else {
                return Err(format!("{name} ended with {status}: {}", fleet.log(&name)));
            };
            deaths += 1;
            let target = Target::Worker(name);
            let mark = making.began(fleet, target.clone(), at)?;
            making.healed(fleet, mark)?;
            start_again(fleet, &target, 1)?;
            making.bit(fleet, mark, format!("{id} ended it with {status}"))?;
        }
    }
    if deaths == 0 {
        return Err(format!("{id} killed nobody"));
    }
    Ok(())
}

/// Takes a worker that has ended out of the fleet.
fn ended(fleet: &mut Fleet<'_>) -> Option<(String, ExitStatus)> {
    let statuses = fleet.workers.iter_mut().enumerate();
    let (place, status) = statuses
        .filter_map(|(place, worker)| Some((place, worker.child.try_wait().ok()??)))
        .next()?;
    Some((fleet.workers.remove(place).name, status))
}

/// When this worker started the task last.
fn started(fleet: &Fleet<'_>, id: &str, name: &str) -> Result<Option<u64>> {
    let lines = read_so_far(&fleet.ledger_path()).map_err(|error| error.to_string())?;
    let line = lines.iter().rfind(|line| match &line.event {
        Event::Start { id: of, worker, .. } => of == id && worker == name,
        _ => false,
    });
    Ok(line.map(|line| line.at))
}

fn is_dead(fleet: &Fleet<'_>, id: &str) -> Result<bool> {
    let letters = fleet.ask(&["dead", "list", QUEUE, "--limit", "1000000"])?;
    Ok(letters.iter().any(|letter| letter["id"] == *id))
}
