//! What a block of the broker costs who submits: memory, and the time until an answer.

use super::alarms::{self, Alarms};
use crate::{
    faults::{
        fleet::{Fleet, until},
        making::Making,
    },
    process::Result,
};
use pumasi_testkit::{
    bench::usage::Usage,
    faults::ledger::{Event, Target, now, read_so_far},
    http,
    rabbitmq::free_port,
};
use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    process::Child,
    thread::{scope, sleep},
    time::{Duration, Instant},
};

/// How long the broker reads nothing.
const BLOCKED: Duration = Duration::from_secs(60);
/// Submits that the gateway is offered in that time, and by how many at once.
const OFFERED: u32 = 10_000;
const CALLERS: u32 = 200;
/// How long the gateway waits for the broker; its callers keep on calling.
const GATEWAY_DEADLINE: Duration = Duration::from_secs(1);
/// How late an answer may be on a machine that does other things besides.
const LATE: Duration = Duration::from_secs(3);
/// Most memory that the block may cost a process, in KiB.
const GROWTH_MAX: u64 = 64 * 1024;
/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// Where the gateway's tasks go: nobody works on them.
const QUEUE: &str = "offered";

/// Blocks the broker for a minute while the producer and a gateway are offered 10,000 submits each.
pub(super) fn block(making: &Making<'_>, fleet: &mut Fleet<'_>) -> Result {
    let mut gateway = Gateway::start(fleet)?;
    let producer = fleet.producer.as_ref().map_or(0, Child::id);
    let before = [resident(producer)?, resident(gateway.child.id())?];
    let mark = making.begin(fleet, Target::All)?;
    alarms::until_alarms(making, alarms::MEMORY_ON, Alarms::Some)?;
    let from = now();
    let (most, slowest) = offer(producer, &gateway)?;
    let to = now();
    let left = alarms::until_alarms(making, alarms::MEMORY_OFF, Alarms::None)?;
    making.healed(fleet, mark)?;
    gateway.end();
    let grown = [
        most[0].saturating_sub(before[0]),
        most[1].saturating_sub(before[1]),
    ];
    let (calls, longest) = longest_call(fleet, from, to)?;
    let proof = format!(
        "{:.0} s blocked; the producer made {calls} calls, grew by {} KiB to {} KiB and was answered \
         within {:.2} s; the gateway had {OFFERED} calls, grew by {} KiB to {} KiB and answered \
         within {:.2} s",
        BLOCKED.as_secs_f64(),
        grown[0],
        most[0],
        longest.as_secs_f64(),
        grown[1],
        most[1],
        slowest.as_secs_f64(),
    );
    eprintln!("{proof}");
    let deadline = Duration::from_millis(fleet.row.deadline_ms);
    let is_late = longest > deadline + LATE || slowest > GATEWAY_DEADLINE + LATE;
    if is_late || grown.iter().any(|grown| *grown > GROWTH_MAX) || left.contains("memory") {
        return Err(format!("too much, too late or not over: {proof}"));
    }
    making.bit(fleet, mark, proof)
}

/// A gateway on a port of its own.
struct Gateway {
    child: Child,
    address: SocketAddr,
}

impl Gateway {
    fn start(fleet: &Fleet<'_>) -> Result<Self> {
        fleet.ask(&["queue", "declare", QUEUE])?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let child = fleet.start_gateway(address, GATEWAY_DEADLINE)?;
        let gateway = Self { child, address };
        until("the gateway", || TcpStream::connect(address).is_ok())?;
        let answer = http::submit(address, QUEUE, "first");
        if answer.status == 202 {
            return Ok(gateway);
        }
        Err(format!("the gateway does not work: {answer:?}"))
    }

    fn end(&mut self) {
        // One that has ended needs no end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.end();
    }
}

/// Offers the gateway its share for as long as the broker is blocked; the most memory of the
/// producer and of the gateway meanwhile, and the gateway's slowest answer.
fn offer(producer: u32, gateway: &Gateway) -> Result<([u64; 2], Duration)> {
    let end = Instant::now() + BLOCKED;
    let pace = BLOCKED / (OFFERED / CALLERS);
    let call = || {
        let mut slowest = Duration::ZERO;
        let begin = Instant::now();
        for turn in 0..OFFERED / CALLERS {
            sleep((begin + pace * turn).saturating_duration_since(Instant::now()));
            let called = Instant::now();
            let answer = http::submit(gateway.address, QUEUE, "x".repeat(512));
            slowest = slowest.max(called.elapsed());
            if answer.status == 0 || answer.status == 202 {
                return Err(format!("the gateway said {answer:?}"));
            }
        }
        Ok(slowest)
    };
    scope(|scope| {
        let callers: Vec<_> = (0..CALLERS).map(|_| scope.spawn(call)).collect();
        let mut most = [0; 2];
        while Instant::now() < end {
            most[0] = most[0].max(resident(producer)?);
            most[1] = most[1].max(resident(gateway.child.id())?);
            sleep(LOOK);
        }
        let mut slowest = Duration::ZERO;
        for caller in callers {
            let its = caller
                .join()
                .map_err(|_| "a caller panicked".to_owned())??;
            slowest = slowest.max(its);
        }
        Ok((most, slowest))
    })
}

/// The memory of a process, in KiB.
fn resident(process: u32) -> Result<u64> {
    // What has ended, and is not waited for yet, holds no memory any more.
    let usage = Usage::of(process).filter(|usage| usage.rss_kib > 0);
    let usage = usage.ok_or_else(|| format!("process {process} has gone"))?;
    Ok(usage.rss_kib)
}

/// How many calls of the producer began in a time, and how long the longest waited for its answer;
/// to this day, where there was none.
fn longest_call(fleet: &Fleet<'_>, from: u64, to: u64) -> Result<(usize, Duration)> {
    let lines = read_so_far(&fleet.ledger_path()).map_err(|error| error.to_string())?;
    let mut open: HashMap<String, u64> = HashMap::new();
    let (mut calls, mut longest) = (0, 0);
    for line in lines {
        match line.event {
            Event::Invoke { id } if (from..to).contains(&line.at) => {
                calls += 1;
                open.insert(id, line.at);
            }
            Event::Accepted { id } | Event::Refused { id, .. } | Event::Unknown { id } => {
                if let Some(began) = open.remove(&id) {
                    longest = longest.max(line.at - began);
                }
            }
            _ => {}
        }
    }
    let waiting = open.values().map(|began| now() - began).max();
    Ok((
        calls,
        Duration::from_nanos(longest.max(waiting.unwrap_or(0))),
    ))
}
