//! What the producer of a fault run is to do.

use super::ledger::Outcome;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The payload of a task that kills its worker.
pub const POISON: &str = "20 poison";

/// The variable that marks the children of handlers: the ledger, a colon, the worker.
pub const CHILD_OF: &str = "PUMASI_FAULTS_CHILD_OF";

/// The orders of a producer; one JSON object as its argument.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Orders {
    /// The broker.
    pub url: String,
    /// Where the tasks go.
    pub queue: String,
    /// Where it notes what it does.
    pub ledger: PathBuf,
    /// The file whose presence ends it, once it has submitted `count`.
    pub stop: PathBuf,
    /// Fewest tasks.
    pub count: u32,
    /// Tasks that are submitted at once.
    pub burst: u32,
    /// Time between two bursts, in milliseconds.
    pub pause_ms: u64,
    /// Longest work of a task, in milliseconds.
    pub work_ms: u64,
    /// One task in so many fails once, and as many are rejected; none for 0.
    pub trouble: u32,
    /// How long it waits for an answer, in milliseconds.
    pub deadline_ms: u64,
    /// What its payloads follow from.
    pub seed: u64,
    /// What it does wrong on purpose.
    pub bug: Option<Bug>,
}

/// A mistake that producers make, to see that the checker finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bug {
    /// A task counts as accepted once it is handed to the library.
    NoConfirm,
    /// Any answer counts as accepted.
    RefusedIsAccepted,
    /// A missing answer counts as a refusal.
    UnknownIsRefused,
    /// What is repeated gets a new id.
    NewId,
}

impl Orders {
    /// The payload of a task: how long it works and how it ends.
    #[must_use]
    pub fn payload(&self, number: u32) -> String {
        let dice = dice(self.seed, u64::from(number));
        let work = dice % (self.work_ms + 1);
        // Some fail once and some for good, so that retries and dead letters meet the faults, too.
        let end = match (dice >> 32).checked_rem(self.trouble.into()) {
            Some(0) => "rejected",
            Some(1) => "flaky",
            _ => "done",
        };
        format!("{work} {end}")
    }
}

/// What a payload asks a handler for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// How long it works, in milliseconds.
    pub ms: u64,
    /// How it ends.
    pub outcome: Outcome,
    /// Whether it kills its worker before that.
    pub is_deadly: bool,
}

impl Work {
    /// Reads a payload of [`Orders::payload`] for an attempt.
    #[must_use]
    pub fn of(payload: &str, attempt: u32) -> Self {
        let (ms, end) = payload.split_once(' ').unwrap_or(("0", "done"));
        Self {
            ms: ms.parse().unwrap_or(0),
            outcome: match end {
                "rejected" => Outcome::Rejected,
                "flaky" if attempt <= 1 => Outcome::Failed,
                _ => Outcome::Done,
            },
            is_deadly: payload == POISON,
        }
    }
}

/// A number that follows from a seed and a place, and looks like chance (SplitMix64, which gives
/// the same everywhere and always).
#[must_use]
pub fn dice(seed: u64, place: u64) -> u64 {
    let step = 0x9e37_79b9_7f4a_7c15_u64;
    let mut mixed = seed.wrapping_add(place.wrapping_add(1).wrapping_mul(step));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
