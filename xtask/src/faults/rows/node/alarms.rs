//! Alarms: the broker stops reading from who publishes.

use crate::{
    faults::{fleet::Fleet, making::Making},
    process::Result,
};
use pumasi_testkit::faults::ledger::Target;
use std::{thread::sleep, time::Duration};

/// How long an alarm stays on: longer than the producer waits for an answer, which is 5 s.
const ALARMED: Duration = Duration::from_secs(6);

/// What gives a node too little memory, and what gives it enough.
pub(super) const MEMORY_ON: &str = "vm_memory_monitor:set_vm_memory_high_watermark({absolute, 1})";
pub(super) const MEMORY_OFF: &str =
    "vm_memory_monitor:set_vm_memory_high_watermark({absolute, \"1GiB\"})";

pub(super) fn memory(making: &Making<'_>, fleet: &mut Fleet<'_>) -> Result {
    alarm(making, fleet, "memory", [MEMORY_ON, MEMORY_OFF])
}

/// The alarm itself, as the disk's monitor raises it: a node whose root has no /proc does not know
/// what is free.
pub(super) fn disk(making: &Making<'_>, fleet: &mut Fleet<'_>) -> Result {
    let on = "rabbit_alarm:set_alarm({{resource_limit, disk, node()}, []})";
    let off = "rabbit_alarm:clear_alarm({resource_limit, disk, node()})";
    alarm(making, fleet, "disk", [on, off])
}

/// Raises an alarm, waits until the node has it, and lets it go.
fn alarm(making: &Making<'_>, fleet: &mut Fleet<'_>, what: &str, [on, off]: [&str; 2]) -> Result {
    let mark = making.begin(fleet, Target::All)?;
    let seen = until_alarms(making, on, Alarms::Some)?;
    sleep(ALARMED);
    let left = until_alarms(making, off, Alarms::None)?;
    making.healed(fleet, mark)?;
    if !seen.contains(what) {
        return Err(format!("the node has no alarm of its {what}: {seen}"));
    }
    if left.contains(what) {
        return Err(format!("the node still has an alarm: {left}"));
    }
    making.bit(fleet, mark, seen.trim().to_owned())
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alarms {
    Some,
    None,
}

/// Tells the node something and waits until it has an alarm, or none: it looks at its memory from
/// time to time.
pub(super) fn until_alarms(making: &Making<'_>, tell: &str, wanted: Alarms) -> Result<String> {
    let is_over = wanted == Alarms::None;
    let said = making.stage.node()?.ctl(&[
        "eval",
        &format!(
            "{tell}, \
             Wait = fun Wait(0) -> ok; Wait(More) -> \
               case (rabbit_alarm:get_alarms() =:= []) =:= {is_over} of \
               true -> ok; false -> timer:sleep(20), Wait(More - 1) end end, \
             Wait(500), rabbit_alarm:get_alarms()."
        ),
    ]);
    Ok(said)
}
