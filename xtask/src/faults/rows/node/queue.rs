//! Faults of the queue itself: it is full, it is gone, its rules change.

use super::{ledger_time, numbers};
use crate::{
    faults::{
        fleet::{Fleet, QUEUE, until},
        making::Making,
    },
    process::Result,
};
use pumasi_testkit::faults::ledger::Target;
use std::{thread::sleep, time::Duration};

/// How long a queue stays full, or under another policy.
const HELD: Duration = Duration::from_secs(3);
/// How long the broker takes tasks back too early.
const IMPATIENT: Duration = Duration::from_secs(2);
/// A policy that is changed in ways that must not matter.
const POLICIES: [&str; 3] = [
    r#"{"delivery-limit":50}"#,
    r#"{"max-length":100000,"overflow":"reject-publish"}"#,
    r#"{"delivery-limit":30,"max-length-bytes":1000000000}"#,
];

fn set_policy(making: &Making<'_>, definition: &str) -> Result<String> {
    let (node, vhost) = (making.stage.node()?, &making.stage.vhost);
    let pattern = format!("^{QUEUE}$");
    let set = ["set_policy", "-p", vhost, "changed", &pattern, definition];
    node.ctl(&[&set[..], &["--apply-to", "queues"]].concat());
    let policies = node.ctl(&["list_queues", "-p", vhost, "name", "policy"]);
    let expected = format!("{QUEUE}\tchanged");
    if policies.lines().any(|line| line == expected) {
        return Ok(definition.to_owned());
    }
    Err(format!("the policy is not in force: {policies}"))
}

fn clear_policy(making: &Making<'_>) -> Result {
    let (node, vhost) = (making.stage.node()?, &making.stage.vhost);
    node.ctl(&["clear_policy", "-p", vhost, "changed"]);
    Ok(())
}

/// Makes the queue full, and then larger. The limit is not taken away: RabbitMQ 3.10 would not tell
/// those that it has refused, its own mover of dead letters among them.
pub(super) fn fill(making: &Making<'_>, fleet: &mut Fleet<'_>) -> Result {
    let mark = making.begin(fleet, Target::All)?;
    set_policy(making, r#"{"max-length":1,"overflow":"reject-publish"}"#)?;
    sleep(HELD);
    set_policy(
        making,
        r#"{"max-length":1000000,"overflow":"reject-publish"}"#,
    )?;
    making.healed(fleet, mark)?;
    let refusals = fleet.ledger_text().matches("\"refused\"").count();
    let proof = format!("the policy was in force: {refusals} refusals");
    making.bit(fleet, mark, proof)
}

pub(super) fn policy(making: &Making<'_>, fleet: &mut Fleet<'_>) -> Result {
    let choice = usize::try_from(making.below(3)).unwrap_or(0);
    let definition = POLICIES.get(choice).copied().unwrap_or_default();
    let mark = making.begin(fleet, Target::All)?;
    let proof = set_policy(making, definition)?;
    sleep(HELD);
    clear_policy(making)?;
    making.healed(fleet, mark)?;
    making.bit(fleet, mark, proof)
}

/// Deletes the queue; the workers notice and make it again. It is over when the queue is back.
pub(super) fn delete(making: &Making<'_>, fleet: &mut Fleet<'_>) -> Result {
    let said = making.stage.node()?.ctl(&[
        "eval",
        &format!(
            "N = rabbit_misc:r(<<\"{}\">>, queue, <<\"{QUEUE}\">>), \
             {{ok, Q}} = rabbit_amqqueue:lookup(N), \
             T = os:system_time(nanosecond), \
             {{ok, Held}} = rabbit_amqqueue:delete(Q, false, false, <<\"fault\">>), \
             D = os:system_time(nanosecond), \
             Wait = fun Wait(0) -> ok; Wait(More) -> case rabbit_amqqueue:lookup(N) of \
               {{ok, _}} -> ok; _ -> timer:sleep(10), Wait(More - 1) end end, \
             Wait(3000), \
             {{T, D, os:system_time(nanosecond), Held}}.",
            making.stage.vhost
        ),
    ]);
    let told = numbers(&said);
    let &[from, gone, back, held] = &told[..] else {
        return Err(format!("the node said {said}"));
    };
    let mark = making.began(fleet, Target::All, ledger_time(from))?;
    making.healed_at(fleet, mark, ledger_time(back))?;
    let absent = Duration::from_nanos(back.saturating_sub(gone));
    if absent > Duration::from_secs(25) {
        return Err("nobody made the queue again".to_owned());
    }
    let absent = absent.as_secs_f64();
    let proof = format!("deleted with {held} ready tasks, there again after {absent:.2} s");
    making.bit(fleet, mark, proof)
}

/// Lets the broker take tasks back after a second. A channel asks once, when it is opened, so the
/// connections are closed before and after.
pub(super) fn consumer_timeout(making: &Making<'_>, fleet: &mut Fleet<'_>) -> Result {
    let node = making.stage.node()?;
    let taken_back = |fleet: &Fleet<'_>| {
        let logs = fleet.workers.iter().map(|worker| fleet.log(&worker.name));
        logs.map(|log| log.matches("delivery acknowledgement").count())
            .sum::<usize>()
    };
    let before = taken_back(fleet);
    let mark = making.begin(fleet, Target::All)?;
    let set = |timeout: &str, tick: u32| {
        node.ctl(&[
            "eval",
            &format!(
                "application:set_env(rabbit, consumer_timeout, {timeout}), \
                 application:set_env(rabbit, channel_tick_interval, {tick}), \
                 [rabbit_networking:close_connection(C, <<\"fault\">>) \
                   || C <- rabbit_networking:connections()]."
            ),
        ]);
    };
    set("1000", 200);
    sleep(IMPATIENT);
    // Workers that come back have all of a second before theirs is taken.
    until("a task that is taken back", || taken_back(fleet) > before)?;
    set("1800000", 60_000);
    making.healed(fleet, mark)?;
    let count = taken_back(fleet) - before;
    let proof = format!("{count} channels were closed for being too slow");
    making.bit(fleet, mark, proof)
}
