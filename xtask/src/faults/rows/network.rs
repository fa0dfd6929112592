//! Faults between the processes and a node.

use super::{Fault, NODES, Row};
use crate::{
    faults::{
        fleet::{Fleet, until},
        making::Making,
    },
    process::Result,
};
use pumasi_testkit::{
    faults::ledger::{Nature, Target},
    proxy::Cut,
};
use std::time::Duration;

pub(super) const RESET: Fault = Fault {
    name: "reset",
    nature: Nature::Severs,
    make: reset,
};

/// The rows of this family.
pub(super) fn rows() -> Vec<Row> {
    vec![Row {
        on: NODES,
        times: 10,
        is_proxied: true,
        goal: Some(Duration::from_secs(2)),
        ..Row::of("reset", "all connections are reset", &[RESET])
    }]
}

fn reset(making: &Making<'_>, fleet: &mut Fleet<'_>) -> Result {
    let proxy = making.stage.proxy()?;
    let before = proxy.taken();
    let mark = making.begin(fleet, Target::All)?;
    proxy.cut(Cut::Reset);
    making.healed(fleet, mark)?;
    until("a new connection", || proxy.taken() > before)?;
    let again = proxy.taken() - before;
    making.bit(fleet, mark, format!("{again} connections made again"))
}
