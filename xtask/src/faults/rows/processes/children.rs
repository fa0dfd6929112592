//! Programs that start programs of their own: none of them outlives a worker that is killed.

use super::{end, start_again};
use crate::{
    faults::{
        fleet::{Fleet, until, until_within},
        making::Making,
    },
    process::Result,
};
use pumasi_testkit::faults::{
    ledger::{Target, now},
    orders::CHILD_OF,
};
use std::time::Duration;

/// What makes the handler start a program that sleeps for longer than the row takes.
pub(super) const ARGUMENTS: &[&str] = &["with-a-child"];
/// Longest life of what a killed worker leaves behind.
const ALIVE_MAX: Duration = Duration::from_secs(1);

/// Kills a worker whose handlers have children, and counts who lives on.
pub(super) fn kill(making: &Making<'_>, fleet: &mut Fleet<'_>) -> Result {
    let name = making.any_worker(fleet);
    let mark_of = format!("{CHILD_OF}={}:{name}\0", fleet.ledger_path().display());
    let alive = || count_with(mark_of.as_bytes());
    until("a handler with a child", || alive() > 0)?;
    let target = Target::Worker(name);
    let before = alive();
    let mark = making.begin(fleet, target.clone())?;
    let (workers, killed) = end(fleet, &target)?;
    let begun = now();
    let gone = until_within(ALIVE_MAX, "their end", || alive() == 0);
    let took = (now() - begun) / 1_000_000;
    making.healed(fleet, mark)?;
    start_again(fleet, &target, workers)?;
    if gone.is_err() {
        let left = alive();
        return Err(format!("{left} of {before} children outlived their worker"));
    }
    let proof = format!("{before} children gone {took} ms later; {killed}");
    making.bit(fleet, mark, proof)
}

/// How many processes have this in their environment.
fn count_with(variable: &[u8]) -> usize {
    let processes = std::fs::read_dir("/proc");
    let environments = processes
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|process| std::fs::read(process.path().join("environ")).ok());
    environments
        .filter(|all| all.windows(variable.len()).any(|part| part == variable))
        .count()
}
