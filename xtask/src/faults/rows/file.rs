//! Faults of the embedded broker's file: killed in mid-write, no power, no room, no lock, no clock.

mod busy;
mod clock;

use super::{FILE, Fault, Handlers, NODES, Row, processes};
use crate::{
    faults::{
        fleet::{Fleet, signal, until},
        making::Making,
    },
    process::Result,
};
use pumasi_testkit::{
    disk::Disk,
    faults::ledger::{Nature, Target},
};
use rustix::process::Signal;
use std::{thread::sleep, time::Duration};

/// How long a disk stays full.
const FULL: Duration = Duration::from_secs(3);
/// What the ledger calls a refusal for want of room: the code of `Refusal::StorageFull`.
const STORE_FULL: &str = "\"PU6005\"";

/// Everybody at once, at any moment of their lives, their start included.
pub(super) const FILE_KILL: Fault = Fault::of("file-kill", Nature::Kills, processes::ALL_KILL.make);

pub(super) const POWER: Fault = Fault::of("power", Nature::Kills, cut_power);

pub(super) const NODE_POWER: Fault = Fault::of("power", Nature::Severs, cut_power_of_node);

pub(super) const DISK_FULL: Fault = Fault {
    name: "disk-full",
    // Nothing can be handed out where nothing can be written; what runs comes to its end.
    nature: Nature::Drains,
    make: fill,
};

pub(super) const BUSY: Fault = Fault {
    name: "busy",
    // As on a full disk.
    nature: Nature::Drains,
    make: busy::hold,
};

pub(super) const STALLED: Fault = Fault::of("stalled", Nature::Severs, processes::WORKER_STOP.make);

pub(super) const CLOCK: Fault = Fault::of("clock", Nature::Blocks, clock::set);

/// The rows of this family.
pub(super) fn rows() -> Vec<Row> {
    let row = |name, title, faults| Row {
        on: FILE,
        handlers: Handlers::Functions,
        ..Row::of(name, title, faults)
    };
    vec![
        Row {
            times: 20,
            tasks: 500,
            work_ms: 40,
            burst: 25,
            pause_ms: 60,
            rest_ms: (20, 700),
            goal: Some(Duration::from_secs(1)),
            ..row(
                "file-kill",
                "kill -9 of all processes at any moment",
                &[FILE_KILL],
            )
        },
        Row {
            times: 10,
            tasks: 500,
            work_ms: 40,
            burst: 50,
            pause_ms: 100,
            disk: Some(64),
            needs: Disk::available,
            ..row("power", "power lost: what was not synced is gone", &[POWER])
        },
        Row {
            on: NODES,
            times: 3,
            disk: Some(1_024),
            needs: Disk::available,
            ..row(
                "power",
                "power of the node lost: what was not synced is gone",
                &[NODE_POWER],
            )
        },
        Row {
            times: 3,
            tasks: 1_000,
            work_ms: 20,
            burst: 100,
            pause_ms: 200,
            disk: Some(48),
            needs: Disk::available,
            ..row("disk-full", "no room on the disk", &[DISK_FULL])
        },
        Row {
            times: 3,
            tasks: 500,
            work_ms: 20,
            burst: 50,
            pause_ms: 100,
            workers: 8,
            needs: busy::available,
            ..row(
                "busy",
                "7 others hold the write lock in turns, 8 workers",
                &[BUSY],
            )
        },
        Row {
            times: 3,
            environment: &[("PUMASI__BROKER__STALL_TIMEOUT", "1s")],
            goal: Some(Duration::from_millis(2_500)),
            ..row(
                "stalled",
                "SIGSTOP of a worker beyond its stall limit (1 s), SIGCONT",
                &[STALLED],
            )
        },
        Row {
            times: 5,
            tasks: 500,
            work_ms: 20,
            burst: 50,
            pause_ms: 100,
            environment: clock::ENVIRONMENT,
            needs: clock::available,
            ..row("clock", "the clock is set by an hour", &[CLOCK])
        },
    ]
}

/// Cuts the power while everybody writes, and starts everybody again.
fn cut_power(making: &Making<'_>, fleet: &mut Fleet<'_>) -> Result {
    let mark = making.begin(fleet, Target::All)?;
    // A power cut leaves nobody the time to see it: they stand still before the first call fails.
    let workers = fleet.workers.iter().map(|worker| &worker.child);
    for child in workers.chain(&fleet.producer) {
        signal(child, Signal::STOP)?;
        let state = format!("/proc/{}/stat", child.id());
        until("a process that stands still", || {
            std::fs::read_to_string(&state).is_ok_and(|state| state.contains(") T "))
        })?;
    }
    let (workers, killed) = cut(making.stage.disk()?, || processes::end(fleet, &Target::All))?;
    making.healed(fleet, mark)?;
    processes::start_again(fleet, &Target::All, workers)?;
    let proof = format!("what was not synced is gone; {killed}");
    making.bit(fleet, mark, proof)
}

/// Cuts the power of a node's disk while everybody works, and starts the node again.
fn cut_power_of_node(making: &Making<'_>, fleet: &mut Fleet<'_>) -> Result {
    let (node, disk) = (making.stage.node()?, making.stage.disk()?);
    if making.is_first() {
        // The node does not sync that there is a queue, so one that was just made is lost with all
        // that it was given. What is accepted from now on is not written by this.
        node.sync_directory();
        disk.sync();
        making.rest(1_000, 2_000);
    }
    let mark = making.begin(fleet, Target::All)?;
    node.freeze();
    cut(disk, || {
        node.kill9();
        Ok(())
    })?;
    node.restart();
    making.healed(fleet, mark)?;
    making.bit(fleet, mark, "what was not synced is gone".to_owned())?;
    making.until_it_flows(fleet)
}

/// Cuts the power of a disk whose users stand still, ends them, and gives the power back.
fn cut<T>(disk: &Disk, end: impl FnOnce() -> Result<T>) -> Result<T> {
    let witness = disk.path().join("witness");
    std::fs::write(&witness, "not synced").map_err(|error| error.to_string())?;
    disk.lose_power();
    let ended = end()?;
    disk.restore_power();
    if witness.exists() {
        return Err("what was not synced survived the power cut".to_owned());
    }
    Ok(ended)
}

/// Takes all room until submits are refused, and a while more; then gives it back.
fn fill(making: &Making<'_>, fleet: &mut Fleet<'_>) -> Result {
    let disk = making.stage.disk()?;
    let refusals = || fleet.ledger_text().matches(STORE_FULL).count();
    let before = refusals();
    let mark = making.begin(fleet, Target::All)?;
    let taken = disk.fill();
    // What the file has room for inside is still taken.
    let refused = until("a refusal", || refusals() > before);
    sleep(FULL);
    disk.make_room();
    making.healed(fleet, mark)?;
    refused?;
    let refused = refusals() - before;
    making.bit(
        fleet,
        mark,
        format!("{taken} bytes taken, {refused} refusals"),
    )
}
