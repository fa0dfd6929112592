//! What the open connections are told.

use super::Cut;
use crate::faults::orders::dice;
use std::time::Duration;

/// Waits of one retransmission, as Linux has it at least.
const RETRANSMISSION: Duration = Duration::from_millis(200);

/// How fast one direction goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    /// As fast as it can.
    #[default]
    Forward,
    /// Not at all. What is said meanwhile comes when it goes again, as from a sender that repeats
    /// what was not acknowledged.
    Swallow,
    /// Late, and in order.
    Late(Latency),
    /// So many bytes, then a pause.
    Drip {
        /// At once; at least one.
        bytes: usize,
        /// From one to the next.
        every: Duration,
    },
}

/// How late each segment comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    /// At least.
    pub delay: Duration,
    /// More by up to this.
    pub jitter: Duration,
    /// How many of a hundred segments are lost: these, and so what follows them, come one
    /// retransmission later.
    pub lost_percent: u64,
    /// What jitter and loss follow from.
    pub seed: u64,
}

impl Latency {
    /// How late the segment of this number is.
    pub(super) fn of(&self, number: u64) -> Duration {
        let dice = dice(self.seed, number);
        let part = f64::from(u32::try_from(dice >> 40).unwrap_or(0)) / f64::from(1 << 24);
        let lost = dice % 100 < self.lost_percent;
        self.delay + self.jitter.mul_f64(part) + if lost { RETRANSMISSION } else { Duration::ZERO }
    }
}

/// What holds for all connections.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Orders {
    /// How they end now.
    pub(super) end: Option<Cut>,
    /// How fast each direction goes.
    pub(super) paces: [Pace; 2],
    /// How often each direction was ended so far.
    pub(super) finished: [u64; 2],
}
