//! Faults between the processes and a node: everybody reaches it through a proxy.

use super::{Fault, NODES, Proxied, Row, processes::TWO_AND_A_HALF_HEARTBEATS};
use crate::{
    faults::{
        fleet::{Fleet, until},
        making::Making,
    },
    process::Result,
};
use pumasi_testkit::{
    faults::ledger::{Nature, Target},
    proxy::{ACK, Cut, Latency, Pace, Proxy, Spot, Trap, Way},
};
use std::{thread::sleep, time::Duration};

/// Every offset of a frame that acknowledges or confirms, and its end.
const OFFSETS: std::ops::RangeInclusive<u64> = 0..=21;
/// Most bytes from when a trap is set until it springs.
const BYTES_MAX: u64 = 8_000;
/// How long a black hole lasts: longer than the 2.5 heartbeats after which it must be noticed.
const HOLE: Duration = Duration::from_secs(4);
/// Most bytes that may have been on their way when it began.
const LEAK_MAX: u64 = 2_000;
/// How long the network is slow.
const SLOW: Duration = Duration::from_secs(6);

const fn severs(name: &'static str, make: fn(&Making<'_>, &mut Fleet<'_>) -> Result) -> Fault {
    Fault::of(name, Nature::Severs, make)
}

const fn slows(name: &'static str, make: fn(&Making<'_>, &mut Fleet<'_>) -> Result) -> Fault {
    Fault::of(name, Nature::Blocks, make)
}

pub(super) const RESET: Fault = severs("reset", reset);
pub(super) const RESET_AT_BYTE: Fault = severs("reset-at-byte", reset_at_byte);
pub(super) const CUT_IN_CONFIRM: Fault = severs("cut-in-confirm", |making, fleet| {
    cut_in_frame(making, fleet, Way::ToClient)
});
pub(super) const CUT_IN_ACK: Fault = severs("cut-in-ack", |making, fleet| {
    cut_in_frame(making, fleet, Way::ToServer)
});
pub(super) const BLACK_HOLE: Fault = severs("black-hole", |making, fleet| {
    black_hole(making, fleet, Target::All, &Way::BOTH)
});
pub(super) const BLACK_HOLE_IN: Fault = severs("black-hole-in", |making, fleet| {
    black_hole(making, fleet, Target::All, &[Way::ToClient])
});
pub(super) const BLACK_HOLE_OUT: Fault = severs("black-hole-out", |making, fleet| {
    black_hole(making, fleet, Target::All, &[Way::ToServer])
});
const WORKER_HOLE: Fault = severs("worker-hole", |making, fleet| {
    let first = fleet.workers.first();
    let name = first.map(|worker| worker.name.clone()).unwrap_or_default();
    black_hole(making, fleet, Target::Worker(name), &Way::BOTH)
});
pub(super) const LATENCY: Fault = slows("latency", latency);
pub(super) const DRIP: Fault = slows("drip", drip);
pub(super) const HALF_CLOSE: Fault = severs("half-close", half_close);

/// The rows of this family.
pub(super) fn rows() -> Vec<Row> {
    let sweep = OFFSETS.count();
    let row = |times, name, title, faults| Row {
        on: NODES,
        times,
        proxied: Proxied::Everybody,
        goal: Some(Duration::from_secs(2)),
        ..Row::of(name, title, faults)
    };
    let sweep = |name, title, faults| {
        let times = u32::try_from(sweep).unwrap_or(u32::MAX);
        let rest_ms = (100, 300);
        let row = row(times, name, title, faults);
        Row { rest_ms, ..row }
    };
    let hole = |name, title, faults| Row {
        goal: Some(Duration::from_millis(2_500 + 2_000)),
        ..row(2, name, title, faults)
    };
    vec![
        row(10, "reset", "all connections are reset", &[RESET]),
        row(
            30,
            "reset-at-byte",
            "a connection is reset after any byte",
            &[RESET_AT_BYTE],
        ),
        // One submit at a time: what was sent and not confirmed is sent again.
        Row {
            burst: 1,
            pause_ms: 25,
            ..sweep(
                "cut-in-confirm",
                "a connection is cut at each byte of a confirm, and right after it",
                &[CUT_IN_CONFIRM],
            )
        },
        sweep(
            "cut-in-ack",
            "a connection is cut at each byte of an acknowledgement, and right after it",
            &[CUT_IN_ACK],
        ),
        hole("black-hole", "black hole both ways, 4 s", &[BLACK_HOLE]),
        hole(
            "black-hole-in",
            "black hole from the broker, 4 s",
            &[BLACK_HOLE_IN],
        ),
        hole(
            "black-hole-out",
            "black hole to the broker, 4 s",
            &[BLACK_HOLE_OUT],
        ),
        Row {
            proxied: Proxied::FirstWorker,
            goal: Some(TWO_AND_A_HALF_HEARTBEATS),
            ..row(
                3,
                "worker-hole",
                "black hole between one worker and the broker, 4 s",
                &[WORKER_HOLE],
            )
        },
        row(
            2,
            "latency",
            "200 ms of latency, jitter, 2 % loss",
            &[LATENCY],
        ),
        row(2, "drip", "128 bytes every 20 ms", &[DRIP]),
        row(
            10,
            "half-close",
            "one direction of all connections is closed",
            &[HALF_CLOSE],
        ),
    ]
}

fn reset(making: &Making<'_>, fleet: &mut Fleet<'_>) -> Result {
    let proxy = making.stage.proxy()?;
    let before = proxy.taken();
    let mark = making.begin(fleet, Target::All)?;
    proxy.cut(Cut::Reset);
    making.healed(fleet, mark)?;
    let again = connected_again(proxy, before)?;
    making.bit(fleet, mark, again)
}

fn half_close(making: &Making<'_>, fleet: &mut Fleet<'_>) -> Result {
    let proxy = making.stage.proxy()?;
    let before = proxy.taken();
    let way = any_way(making);
    let mark = making.begin(fleet, Target::All)?;
    proxy.finish(way);
    making.healed(fleet, mark)?;
    let again = connected_again(proxy, before)?;
    making.bit(fleet, mark, format!("{way:?} closed, {again}"))
}

fn reset_at_byte(making: &Making<'_>, fleet: &mut Fleet<'_>) -> Result {
    let trap = Trap {
        way: any_way(making),
        spot: Spot::Bytes(making.below(BYTES_MAX)),
        how: Cut::Reset,
    };
    spring(making, fleet, trap)
}

/// Cuts at every offset of the frame, one after the other.
fn cut_in_frame(making: &Making<'_>, fleet: &mut Fleet<'_>, way: Way) -> Result {
    for offset in OFFSETS {
        let spot = Spot::Method {
            method: ACK,
            offset,
        };
        let how = if making.below(2) == 0 {
            Cut::Reset
        } else {
            Cut::Finish
        };
        spring(making, fleet, Trap { way, spot, how })?;
        making.rest(100, 300);
    }
    Ok(())
}

/// Sets a trap and waits until it springs.
fn spring(making: &Making<'_>, fleet: &Fleet<'_>, trap: Trap) -> Result {
    let proxy = making.stage.proxy()?;
    let (before, sprung) = (proxy.taken(), proxy.sprung());
    let mark = making.begin(fleet, Target::All)?;
    proxy.trap(trap);
    until("the trap to spring", || proxy.sprung() > sprung)?;
    making.healed(fleet, mark)?;
    let again = connected_again(proxy, before)?;
    making.bit(fleet, mark, format!("{trap:?}, {again}"))
}

fn black_hole(making: &Making<'_>, fleet: &mut Fleet<'_>, target: Target, ways: &[Way]) -> Result {
    let proxy = making.stage.proxy()?;
    let carried = || ways.iter().map(|way| proxy.carried(*way)).sum::<u64>();
    let taken = proxy.taken();
    let mark = making.begin(fleet, target)?;
    let before = carried();
    for way in ways {
        proxy.pace(*way, Pace::Swallow);
    }
    sleep(HOLE);
    let through = carried() - before;
    proxy.heal();
    making.healed(fleet, mark)?;
    if through > LEAK_MAX {
        return Err(format!("{through} bytes went through"));
    }
    let again = connected_again(proxy, taken)?;
    let proof = format!("{through} bytes went through, {again}");
    making.bit(fleet, mark, proof)
}

fn latency(making: &Making<'_>, fleet: &mut Fleet<'_>) -> Result {
    let latency = Latency {
        delay: Duration::from_millis(100),
        jitter: Duration::from_millis(20),
        lost_percent: 2,
        seed: making.below(u64::MAX),
    };
    slow(making, fleet, Pace::Late(latency))
}

fn drip(making: &Making<'_>, fleet: &mut Fleet<'_>) -> Result {
    let drip = Pace::Drip {
        bytes: 128,
        every: Duration::from_millis(20),
    };
    slow(making, fleet, drip)
}

/// Slows both directions for a while, and tells what was done meanwhile.
fn slow(making: &Making<'_>, fleet: &Fleet<'_>, pace: Pace) -> Result {
    let proxy = making.stage.proxy()?;
    let count = || {
        let ledger = fleet.ledger_text();
        ["\"accepted\"", "\"done\""].map(|word| ledger.matches(word).count())
    };
    let mark = making.begin(fleet, Target::All)?;
    let [accepted, done] = count();
    for way in Way::BOTH {
        proxy.pace(way, pace);
    }
    sleep(SLOW);
    let [more_accepted, more_done] = count();
    proxy.heal();
    making.healed(fleet, mark)?;
    let (accepted, done) = (more_accepted - accepted, more_done - done);
    let proof = format!("{accepted} accepted and {done} done in {SLOW:?}");
    making.bit(fleet, mark, proof)
}

fn connected_again(proxy: &Proxy, before: usize) -> Result<String> {
    until("a new connection", || proxy.taken() > before)?;
    Ok(format!("{} connections made again", proxy.taken() - before))
}

fn any_way(making: &Making<'_>) -> Way {
    if making.below(2) == 0 {
        Way::ToServer
    } else {
        Way::ToClient
    }
}
