//! Faults of a cluster of three nodes. Everybody prefers its first node.

use super::{Broker, Fault, Handlers, Row};
use crate::{
    faults::{
        fleet::{Fleet, QUEUE, until},
        making::{Making, Mark, flows_since, times},
    },
    process::Result,
};
use pumasi_testkit::{
    faults::ledger::{Event, Nature, Target, now},
    rabbitmq::cluster::{Cluster, NODES},
};
use std::{thread::sleep, time::Duration};

/// How long a node is cut off: longer than it takes to be given up (8 s), until the others take back
/// what its consumers hold (10 s more), and until clients have moved.
const CUT_OFF: Duration = Duration::from_secs(35);
/// At the end of that time, how long work must have gone on.
const GOES_ON: u64 = 5_000_000_000;
/// How long two of three are down.
const DOWN: Duration = Duration::from_secs(8);
/// How long answers that were on their way may still come.
const ON_THE_WAY: u64 = 1_000_000_000;

const LEADER_KILL: Fault = Fault::of("leader-kill", Nature::Severs, kill_leader);

const MINORITY: Fault = Fault::of("minority", Nature::Severs, cut_off);

const ROLLING: Fault = Fault::of("rolling", Nature::Severs, restart_each);

const TWO_OF_THREE: Fault = Fault::of("two-of-three", Nature::Severs, kill_two);

/// The rows of this family.
pub(super) fn rows() -> Vec<Row> {
    let row = |name, title, faults| Row {
        on: &[Broker::Cluster],
        handlers: Handlers::Functions,
        times: 1,
        is_long: true,
        goal: Some(Duration::from_secs(10)),
        ..Row::of(name, title, faults)
    };
    vec![
        Row {
            times: 3,
            ..row(
                "leader-kill",
                "kill -9 of the node that leads the queue",
                &[LEADER_KILL],
            )
        },
        Row {
            goal: Some(Duration::from_secs(20)),
            ..row(
                "minority",
                "the node of all clients is cut off from the two others",
                &[MINORITY],
            )
        },
        Row {
            times: NODES as u32,
            deadline_ms: 30_000,
            ..row(
                "rolling",
                "each node is restarted in turn; submits wait 30 s",
                &[ROLLING],
            )
        },
        row(
            "two-of-three",
            "kill -9 of two of three nodes, and their restart",
            &[TWO_OF_THREE],
        ),
    ]
}

/// The fault is over when the node is dead: the others are to go on without it.
fn kill_leader(making: &Making<'_>, fleet: &mut Fleet<'_>) -> Result {
    let cluster = making.stage.cluster()?;
    let leader = leader(making, cluster)?;
    let mark = making.begin(fleet, Target::All)?;
    cluster.kill9(leader);
    making.healed(fleet, mark)?;
    let dead = now();
    until("work without the node", || flows_since(fleet, dead))?;
    cluster.restart(leader);
    cluster.wait_until_whole();
    making.bit(fleet, mark, format!("node {leader} led the queue"))
}

fn leader(making: &Making<'_>, cluster: &Cluster) -> Result<usize> {
    let leader = cluster.leader(0, &making.stage.vhost, QUEUE);
    leader.ok_or_else(|| "nobody leads the queue".to_owned())
}

/// Cuts off the node that clients prefer. The fault is over when it begins, as far as the others are
/// concerned: they are to go on, with the clients, before it ends.
fn cut_off(making: &Making<'_>, fleet: &mut Fleet<'_>) -> Result {
    let cluster = making.stage.cluster()?;
    let leader = leader(making, cluster)?;
    // The queues for what is kept back are made once, and that takes longer than the partition when
    // a node does not answer.
    until("a task that was tried again", || has_tried_again(fleet))?;
    let mark = making.begin(fleet, Target::All)?;
    let begin = now();
    cluster.partition(0);
    sleep(CUT_OFF);
    let end = now();
    let seen = [cluster.seen_by(1), cluster.seen_by(0)];
    cluster.heal();
    making.healed(fleet, mark)?;
    if !flows_since(fleet, end - GOES_ON) {
        return Err("nothing went on while a majority was there".to_owned());
    }
    if seen != [NODES - 1, 1] {
        return Err(format!("the nodes saw {seen:?}"));
    }
    cluster.wait_until_whole();
    let stall = stall(fleet, begin, end)?.as_secs_f64();
    let proof =
        format!("the leader was node {leader}; clients of node 0 stood still for {stall:.1} s");
    eprintln!("{proof}");
    making.bit(fleet, mark, proof)
}

/// Restarts each node in turn as an upgrade would; every submit is to be accepted meanwhile.
fn restart_each(making: &Making<'_>, fleet: &mut Fleet<'_>) -> Result {
    let cluster = making.stage.cluster()?;
    let failures = |fleet: &Fleet<'_>| {
        let text = fleet.ledger_text();
        text.matches("\"refused\"").count() + text.matches("\"unknown\"").count()
    };
    for node in 0..NODES {
        let before = failures(fleet);
        let mark = making.begin(fleet, Target::All)?;
        cluster.node(node).stop_app();
        making.healed(fleet, mark)?;
        restarted(making, fleet, (cluster, node), mark)?;
        let failed = failures(fleet) - before;
        if failed > 0 {
            return Err(format!("{failed} submits failed with node {node}"));
        }
    }
    Ok(())
}

fn restarted(
    making: &Making<'_>,
    fleet: &Fleet<'_>,
    (cluster, node): (&Cluster, usize),
    mark: Mark,
) -> Result {
    let stopped = now();
    until("work without the node", || flows_since(fleet, stopped))?;
    cluster.node(node).start_app();
    cluster.wait_until_whole();
    making.bit(fleet, mark, format!("node {node} was stopped"))
}

/// Kills two of three: nothing may be accepted until one of them is back.
fn kill_two(making: &Making<'_>, fleet: &mut Fleet<'_>) -> Result {
    let cluster = making.stage.cluster()?;
    let left = usize::try_from(making.below(NODES as u64)).unwrap_or(0);
    let mark = making.begin(fleet, Target::All)?;
    let killed: Vec<usize> = (0..NODES).filter(|node| *node != left).collect();
    for node in &killed {
        cluster.kill9(*node);
    }
    let from = now() + ON_THE_WAY;
    sleep(DOWN);
    let to = now();
    for node in killed {
        cluster.restart(node);
    }
    making.healed(fleet, mark)?;
    cluster.wait_until_whole();
    let accepted = times(fleet, |event| matches!(event, Event::Accepted { .. }))?;
    let wrong = accepted
        .iter()
        .filter(|at| (from..to).contains(*at))
        .count();
    if wrong > 0 {
        return Err(format!("{wrong} tasks were accepted by one of three nodes"));
    }
    let proof = format!("only node {left} was there; nothing was accepted meanwhile");
    making.bit(fleet, mark, proof)
}

fn has_tried_again(fleet: &Fleet<'_>) -> bool {
    let again = |event: &Event| matches!(event, Event::Start { attempt: 2.., .. });
    times(fleet, again).is_ok_and(|times| !times.is_empty())
}

/// The longest time without an accepted task, or without a start, between two times.
fn stall(fleet: &Fleet<'_>, from: u64, to: u64) -> Result<Duration> {
    let longest = |what: fn(&Event) -> bool| -> Result<u64> {
        let within = times(fleet, what)?
            .into_iter()
            .filter(|at| (from..to).contains(at));
        let marks: Vec<u64> = std::iter::once(from)
            .chain(within)
            .chain(std::iter::once(to))
            .collect();
        let gaps = marks.windows(2).map(|pair| pair[1].saturating_sub(pair[0]));
        Ok(gaps.max().unwrap_or(0))
    };
    let accepted = longest(|event| matches!(event, Event::Accepted { .. }))?;
    let started = longest(|event| matches!(event, Event::Start { .. }))?;
    Ok(Duration::from_nanos(accepted.max(started)))
}
