//! What a node has cost.

use super::RabbitMq;
use crate::bench::usage;
use std::{fs, sync::PoisonError};

impl RabbitMq {
    /// CPU seconds that the processes of this node have spent so far, in ticks of 10 ms; 0 when it
    /// does not run.
    #[must_use]
    pub fn cpu_seconds(&self) -> f64 {
        let keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(group) = keeper.as_ref().map(|keeper| keeper.id().to_string()) else {
            return 0.0;
        };
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let members = processes.filter_map(|process| {
            let id: u32 = process.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(process.path().join("stat")).ok()?;
            let (_, rest) = stat.rsplit_once(") ")?;
            (rest.split(' ').nth(2)? == group).then_some(id)
        });
        // Its own children stay with it, so that nothing is counted twice.
        members.filter_map(usage::times).map(|[own, _]| own).sum()
    }
}
