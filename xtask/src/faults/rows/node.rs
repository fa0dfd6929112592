//! Faults of a node: it closes connections, refuses, stops reading, is killed.

mod alarms;
mod memory;
mod password;
mod queue;

use super::{Broker, Fault, Handlers, NODES, Row};
use crate::{
    faults::{fleet::Fleet, making::Making},
    process::Result,
};
use pumasi_testkit::faults::ledger::{Nature, Target, now};
use std::{
    net::TcpStream,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// How often connections are closed with one call of the tool, which takes seconds to start.
const CLOSED_AT_ONCE: u64 = 5;

pub(super) const CLOSE: Fault = Fault::of("close", Nature::Severs, close);

pub(super) const CLOSE_ONE: Fault = Fault::of("close-one", Nature::Severs, close_one);

pub(super) const STOP_APP: Fault = Fault::of("stop-app", Nature::Severs, stop_app);

const QUEUE_DELETED: Fault = Fault::of("queue-deleted", Nature::Deletes, queue::delete);

pub(super) const POLICY: Fault = Fault::of("policy", Nature::Blocks, queue::policy);

const CONSUMER_TIMEOUT: Fault =
    Fault::of("consumer-timeout", Nature::Severs, queue::consumer_timeout);

pub(super) const DISK_ALARM: Fault = Fault::of("disk-alarm", Nature::Blocks, alarms::disk);

const BLOCK: Fault = Fault::of("block", Nature::Blocks, memory::block);

const PASSWORD: Fault = Fault::of("password", Nature::Severs, password::rotate);

pub(super) const QUEUE_FULL: Fault = Fault::of("queue-full", Nature::Blocks, queue::fill);

pub(super) const MEMORY_ALARM: Fault = Fault::of("memory-alarm", Nature::Blocks, alarms::memory);

pub(super) const BROKER_KILL: Fault = Fault::of("broker-kill", Nature::Severs, kill_broker);

/// The rows of this family; those that end the node come last.
pub(super) fn rows() -> Vec<Row> {
    let row = |name, title, faults| Row {
        on: NODES,
        ..Row::of(name, title, faults)
    };
    let two_seconds = Some(Duration::from_secs(2));
    let five_seconds = Some(Duration::from_secs(5));
    vec![
        Row {
            goal: two_seconds,
            ..row("close", "the broker closes all connections", &[CLOSE])
        },
        Row {
            times: 10,
            goal: two_seconds,
            ..row(
                "close-one",
                "the broker closes one connection",
                &[CLOSE_ONE],
            )
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
        // Without the queue, bursts are refused: enough are to be accepted all the same.
        Row {
            times: 2,
            tasks: 900,
            goal: two_seconds,
            ..row(
                "queue-deleted",
                "the queue is deleted under load",
                &[QUEUE_DELETED],
            )
        },
        Row {
            times: 2,
            ..row(
                "policy",
                "the policy of the live queue is changed",
                &[POLICY],
            )
        },
        Row {
            on: &[Broker::RabbitMq3],
            times: 2,
            work_ms: 1_800,
            goal: two_seconds,
            ..row(
                "consumer-timeout",
                "tasks take longer than the broker's consumer time-out",
                &[CONSUMER_TIMEOUT],
            )
        },
        Row {
            times: 2,
            goal: two_seconds,
            ..row("memory-alarm", "memory alarm", &[MEMORY_ALARM])
        },
        Row {
            times: 2,
            goal: two_seconds,
            ..row("disk-alarm", "disk alarm", &[DISK_ALARM])
        },
        // 10,000 in a minute.
        Row {
            on: &[Broker::RabbitMq4],
            times: 1,
            tasks: 10_000,
            burst: 500,
            pause_ms: 3_000,
            work_ms: 1,
            is_long: true,
            handlers: Handlers::Functions,
            ..row(
                "block",
                "memory alarm of a minute, 10,000 submits offered to the library and to the gateway",
                &[BLOCK],
            )
        },
        Row {
            times: 3,
            has_password_file: true,
            goal: five_seconds,
            ..row(
                "password",
                "the password is changed, and all connections are closed",
                &[PASSWORD],
            )
        },
        Row {
            times: 2,
            goal: five_seconds,
            ..row("stop-app", "stop_app, start_app", &[STOP_APP])
        },
        Row {
            times: 3,
            goal: five_seconds,
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
    let numbers = numbers(&said);
    for told in numbers.chunks(3) {
        let [from, to, count] = told else {
            return Err(format!("the node said {said}"));
        };
        let mark = making.began(fleet, Target::All, ledger_time(*from))?;
        making.healed_at(fleet, mark, ledger_time(*to))?;
        if *count > 0 {
            making.bit(fleet, mark, format!("{count} connections closed"))?;
        }
    }
    Ok(())
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
    making.bit(fleet, mark, "its port refused".to_owned())?;
    making.until_it_flows(fleet)
}

/// Has the node close one connection of the row after the other.
fn close_one(making: &Making<'_>, fleet: &mut Fleet<'_>) -> Result {
    let picks: Vec<String> = (0..CLOSED_AT_ONCE)
        .map(|_| format!("{{{}, {}}}", 300 + making.below(500), making.below(1_000)))
        .collect();
    let said = making.stage.node()?.ctl(&[
        "eval",
        &format!(
            "[begin timer:sleep(S), \
               Cs = [C || C <- rabbit_networking:connections(), \
                 (catch rabbit_networking:connection_info(C, [vhost])) =:= \
                 [{{vhost, <<\"{}\">>}}]], \
               T = os:system_time(nanosecond), \
               catch rabbit_networking:close_connection(\
                 lists:nth(1 + R rem length(Cs), Cs), <<\"fault\">>), \
               {{T, os:system_time(nanosecond), length(Cs)}} end || {{S, R}} <- [{}]].",
            making.stage.vhost,
            picks.join(",")
        ),
    ]);
    for told in numbers(&said).chunks(3) {
        let [from, to, count] = told else {
            return Err(format!("the node said {said}"));
        };
        let mark = making.began(fleet, Target::All, ledger_time(*from))?;
        making.healed_at(fleet, mark, ledger_time(*to))?;
        making.bit(fleet, mark, format!("one of {count} connections closed"))?;
    }
    Ok(())
}

fn stop_app(making: &Making<'_>, fleet: &mut Fleet<'_>) -> Result {
    let node = making.stage.node()?;
    let mark = making.begin(fleet, Target::All)?;
    node.stop_app();
    let is_gone = TcpStream::connect(("127.0.0.1", node.port())).is_err();
    node.start_app();
    making.healed(fleet, mark)?;
    if !is_gone {
        return Err("the broker was not stopped".to_owned());
    }
    making.bit(fleet, mark, "its port refused".to_owned())?;
    making.until_it_flows(fleet)
}

/// The numbers in what a node said.
fn numbers(said: &str) -> Vec<u64> {
    said.split(|letter: char| !letter.is_ascii_digit())
        .filter_map(|word| word.parse().ok())
        .collect()
}

/// A time that a node has told, in nanoseconds since 1970, as ledgers count.
fn ledger_time(told: u64) -> u64 {
    let real = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(0));
    (now() + told).saturating_sub(real)
}
