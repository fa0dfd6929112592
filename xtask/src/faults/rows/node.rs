//! Faults of a node: it closes connections, refuses, stops reading, is killed.

use super::{Fault, NODES, Row};
use crate::{
    faults::{
        fleet::{Fleet, QUEUE},
        making::Making,
    },
    process::Result,
};
use pumasi_testkit::faults::ledger::{Nature, Target, now};
use std::{
    net::TcpStream,
    thread::sleep,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// How long a queue stays full.
const HELD: Duration = Duration::from_secs(3);
/// How long an alarm stays on: longer than the producer waits for an answer, which is 5 s.
const ALARMED: Duration = Duration::from_secs(6);
/// How often connections are closed with one call of the tool, which takes seconds to start.
const CLOSED_AT_ONCE: u64 = 5;

pub(super) const CLOSE: Fault = Fault {
    name: "close",
    nature: Nature::Severs,
    make: close,
};

pub(super) const QUEUE_FULL: Fault = Fault {
    name: "queue-full",
    nature: Nature::Blocks,
    make: fill,
};

pub(super) const MEMORY_ALARM: Fault = Fault {
    name: "memory-alarm",
    nature: Nature::Blocks,
    make: alarm,
};

pub(super) const BROKER_KILL: Fault = Fault {
    name: "broker-kill",
    nature: Nature::Severs,
    make: kill_broker,
};

/// The rows of this family; those that end the node come last.
pub(super) fn rows() -> Vec<Row> {
    let row = |name, title, faults| Row {
        on: NODES,
        ..Row::of(name, title, faults)
    };
    vec![
        Row {
            goal: Some(Duration::from_secs(2)),
            ..row("close", "the broker closes all connections", &[CLOSE])
        },
        Row {
            times: 1,
            burst: 60,
            ..row(
                "queue-full",
                "the queue is full (reject-publish)",
                &[QUEUE_FULL],
            )
        },
        Row {
            times: 1,
            ..row("memory-alarm", "memory alarm", &[MEMORY_ALARM])
        },
        Row {
            times: 1,
            goal: Some(Duration::from_secs(5)),
            ..row(
                "broker-kill",
                "kill -9 of the broker, and its restart",
                &[BROKER_KILL],
            )
        },
    ]
}

/// Has the node close every connection again and again, and say when it did.
fn close(making: &Making<'_>, fleet: &mut Fleet<'_>) -> Result {
    let pauses: Vec<String> = (0..CLOSED_AT_ONCE)
        .map(|_| (800 + making.below(700)).to_string())
        .collect();
    let said = making.stage.node()?.ctl(&[
        "eval",
        &format!(
            "[begin timer:sleep(S), T = os:system_time(nanosecond), \
               Cs = rabbit_networking:connections(), \
               [rabbit_networking:close_connection(C, <<\"fault\">>) || C <- Cs], \
               {{T, os:system_time(nanosecond), length(Cs)}} end || S <- [{}]].",
            pauses.join(",")
        ),
    ]);
    let numbers: Vec<u64> = said
        .split(|letter: char| !letter.is_ascii_digit())
        .filter_map(|word| word.parse().ok())
        .collect();
    let real = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(0));
    let boot = now();
    let at = |time: u64| (boot + time).saturating_sub(real);
    for told in numbers.chunks(3) {
        let [from, to, count] = told else {
            return Err(format!("the node said {said}"));
        };
        let mark = making.began(fleet, Target::All, at(*from))?;
        making.healed_at(fleet, mark, at(*to))?;
        if *count > 0 {
            making.bit(fleet, mark, format!("{count} connections closed"))?;
        }
    }
    Ok(())
}

fn fill(making: &Making<'_>, fleet: &mut Fleet<'_>) -> Result {
    let (node, vhost) = (making.stage.node()?, &making.stage.vhost);
    let pattern = format!("^{QUEUE}$");
    let limit = r#"{"max-length":1,"overflow":"reject-publish"}"#;
    let set = ["set_policy", "-p", vhost, "full", &pattern, limit];
    let mark = making.begin(fleet, Target::All)?;
    node.ctl(&[&set[..], &["--apply-to", "queues"]].concat());
    let policies = node.ctl(&["list_queues", "-p", vhost, "name", "policy"]);
    sleep(HELD);
    node.ctl(&["clear_policy", "-p", vhost, "full"]);
    making.healed(fleet, mark)?;
    let expected = format!("{QUEUE}\tfull");
    if !policies.lines().any(|line| line == expected) {
        return Err(format!("the policy was not in force: {policies}"));
    }
    let refusals = fleet.ledger_text().matches("\"refused\"").count();
    let proof = format!("the policy was in force: {refusals} refusals");
    making.bit(fleet, mark, proof)
}

fn alarm(making: &Making<'_>, fleet: &mut Fleet<'_>) -> Result {
    let node = making.stage.node()?;
    let mark = making.begin(fleet, Target::All)?;
    let seen = node.ctl(&[
        "eval",
        "vm_memory_monitor:set_vm_memory_high_watermark({absolute, 1}), \
         timer:sleep(1500), rabbit_alarm:get_alarms().",
    ]);
    sleep(ALARMED);
    node.ctl(&["set_vm_memory_high_watermark", "absolute", "1GiB"]);
    making.healed(fleet, mark)?;
    if !seen.contains("memory") {
        return Err(format!("the node has no alarm: {seen}"));
    }
    making.bit(fleet, mark, seen.trim().to_owned())
}

fn kill_broker(making: &Making<'_>, fleet: &mut Fleet<'_>) -> Result {
    let node = making.stage.node()?;
    node.sync_directory();
    let mark = making.begin(fleet, Target::All)?;
    node.kill9();
    let is_gone = TcpStream::connect(("127.0.0.1", node.port())).is_err();
    node.restart();
    making.healed(fleet, mark)?;
    if !is_gone {
        return Err("the node was not killed".to_owned());
    }
    making.bit(fleet, mark, "its port refused".to_owned())
}
