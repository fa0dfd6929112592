//! Where a connection is cut by what it carries.

use super::{Cut, Way};
use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

/// Cuts one connection at one spot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trap {
    /// In which direction.
    pub way: Way,
    /// Where.
    pub spot: Spot,
    /// How.
    pub how: Cut,
}

/// A spot in what is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spot {
    /// After so many bytes from now, of all connections together: busy ones are hit more often.
    Bytes(u64),
    /// After so many bytes since the connection's start.
    OfConnection(u64),
    /// After so many bytes of the next frame with this AMQP method; where that is more than the
    /// frame has, right after it.
    Method {
        /// The method's class and number, as the protocol has them.
        method: (u16, u16),
        /// From the frame's first byte.
        offset: u64,
    },
}

/// `basic.ack`: from a client it settles deliveries, from the broker it confirms publishes. Its
/// frame has 21 bytes.
pub const ACK: (u16, u16) = (60, 80);

/// The trap that is set, and what all connections have carried.
#[derive(Debug, Default)]
pub(super) struct Traps {
    set: Mutex<Option<Trap>>,
    sprung: AtomicUsize,
    carried: [AtomicU64; 2],
}

impl Traps {
    pub(super) fn set(&self, trap: Option<Trap>) {
        *self.lock() = trap;
    }

    pub(super) fn sprung(&self) -> usize {
        self.sprung.load(Ordering::Relaxed)
    }

    pub(super) fn carried(&self, way: Way) -> u64 {
        self.carried[way.index()].load(Ordering::Relaxed)
    }

    pub(super) fn note(&self, way: Way, bytes: usize) {
        self.carried[way.index()].fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// The method that is waited for in this direction.
    pub(super) fn method(&self, way: Way) -> Option<(u16, u16)> {
        match *self.lock() {
            Some(Trap {
                way: its,
                spot: Spot::Method { method, .. },
                ..
            }) if its == way => Some(method),
            _ => None,
        }
    }

    /// Whether the trap springs on these bytes of a connection that has carried `before`: how many
    /// of them go through, and how it ends then. `method` is where its frame begins in them.
    pub(super) fn spring(
        &self,
        way: Way,
        (before, bytes): (u64, u64),
        method: Option<u64>,
    ) -> Option<(u64, Cut)> {
        let mut set = self.lock();
        let trap = set.as_mut().filter(|trap| trap.way == way)?;
        let after = match &mut trap.spot {
            Spot::Bytes(left) if *left > bytes => {
                *left -= bytes;
                return None;
            }
            Spot::Bytes(left) => *left,
            Spot::OfConnection(at) if (before..=before + bytes).contains(at) => *at - before,
            Spot::OfConnection(_) => return None,
            Spot::Method { offset, .. } => method? + *offset,
        };
        let how = trap.how;
        *set = None;
        self.sprung.fetch_add(1, Ordering::Relaxed);
        Some((after, how))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Trap>> {
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
