//! `prefetch = "auto"`: how many deliveries a queue's consumer is to hold, by how long tasks run.
//!
//! What is held beyond the handlers waits here though another worker may be free. So it is only as
//! much as the handlers get through within [`WAIT_MAX`]; where tasks run longer than that it is
//! nothing. [`Window`] is pure: it knows no clock and no broker.

use std::{
    num::NonZeroU16,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// How long what is held beyond the handlers is meant to wait for one.
pub(crate) const WAIT_MAX: Duration = Duration::from_millis(20);
/// A delivery that has waited this long for a handler is behind slow ones: the estimate was wrong.
pub(crate) const STALL: Duration = Duration::from_millis(50);
/// Most deliveries held, over all queues of a worker, unless it has more handlers. The rates of
/// 256 and of 1,000 differ little; a quorum queue gives a consumer no more than 2,000.
const HELD_MAX: u32 = 1_024;
/// Most bytes of payload held for that.
const HELD_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// So many runs count, each less than the one after it.
const MEMORY: u64 = 512;
/// By how much the window grows at most before it is tried as it is.
const GROWTH: u32 = 4;

/// How many deliveries a consumer is to hold.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    /// As many as handlers may run at once: never fewer.
    least: u32,
    /// How many queues share the handlers.
    queues: u32,
    now: u32,
    /// The mean of the last runs, in nanoseconds.
    run: u64,
    /// The mean of the last payloads.
    bytes: u64,
    /// How many runs the mean is of.
    seen: u64,
    /// Runs since the window was changed.
    since: u64,
}

impl Window {
    /// As narrow as it gets: nothing is known yet.
    pub(crate) fn new(concurrency: NonZeroU16, queues: usize) -> Self {
        let least = u32::from(concurrency.get());
        Self {
            least,
            queues: u32::try_from(queues).unwrap_or(u32::MAX).max(1),
            now: least,
            run: 0,
            bytes: 0,
            seen: 0,
            since: 0,
        }
    }

    /// How many it is now.
    pub(crate) fn now(&self) -> NonZeroU16 {
        let now = u16::try_from(self.now).unwrap_or(u16::MAX);
        NonZeroU16::new(now).unwrap_or(NonZeroU16::MIN)
    }

    /// The most that it may ever be.
    pub(crate) fn most(&self) -> u32 {
        (HELD_MAX / self.queues).max(self.least)
    }

    /// Whether more is held than handlers run.
    pub(crate) fn is_wide(&self) -> bool {
        self.now > self.least
    }

    /// Whether so many deliveries are worth a look at how long they ran.
    pub(crate) fn is_due(&self, deliveries: u32) -> bool {
        deliveries >= self.now / 16
    }

    /// Takes how many handlers have ended, how long they ran in all, and the mean payload of what
    /// was handed to them. True where the window is another one now.
    pub(crate) fn ran(&mut self, runs: u64, took: Duration, bytes: u64) -> bool {
        if runs == 0 {
            return false;
        }
        self.seen = self.seen.saturating_add(runs).min(MEMORY);
        self.since = self.since.saturating_add(runs);
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.run = blend(self.run, took / runs, runs, self.seen);
        self.bytes = blend(self.bytes, bytes, runs, self.seen);
        let target = self.target();
        let is_too_wide = target.saturating_mul(2) <= self.now;
        if is_too_wide || (target == self.least && self.is_wide()) {
            return self.change(target);
        }
        let is_tried = self.since >= u64::from(self.now);
        if is_tried && target >= self.now.saturating_mul(2) {
            return self.change(target.min(self.now.saturating_mul(GROWTH)));
        }
        false
    }

    /// Holds no more than handlers run, and for some hundred runs to come: deliveries waited
    /// behind slow ones, or came back from workers that died. True where the window was wider.
    pub(crate) fn narrow(&mut self) -> bool {
        self.run = self.run.max(nanos(WAIT_MAX) * 2);
        self.seen = MEMORY;
        self.change(self.least)
    }

    fn change(&mut self, to: u32) -> bool {
        self.since = 0;
        std::mem::replace(&mut self.now, to) != to
    }

    /// What would be right if every run took as long as the mean.
    fn target(&self) -> u32 {
        if self.run >= nanos(WAIT_MAX) {
            return self.least;
        }
        let meanwhile = u64::from(self.least) * nanos(WAIT_MAX) / self.run.max(1);
        let spare = meanwhile / u64::from(self.queues);
        let of_bytes = HELD_BYTES_MAX / u64::from(self.queues) / self.bytes.max(1);
        let held = u64::from(self.least).saturating_add(spare).min(of_bytes);
        u32::try_from(held)
            .unwrap_or(u32::MAX)
            .clamp(self.least, self.most())
    }
}

/// A mean over `seen` values, of which the last `fresh` have a mean of `new`.
fn blend(old: u64, new: u64, fresh: u64, seen: u64) -> u64 {
    let fresh = fresh.min(seen);
    let sum = u128::from(old) * u128::from(seen - fresh) + u128::from(new) * u128::from(fresh);
    u64::try_from(sum / u128::from(seen.max(1))).unwrap_or(u64::MAX)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Counts what handlers have done, for whoever looks now and then.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    count: AtomicU64,
    nanos: AtomicU64,
}

/// What of it was seen.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    count: u64,
    nanos: u64,
}

impl Runs {
    /// Notes that a handler has ended.
    pub(crate) fn add(&self, took: Duration) {
        self.nanos.fetch_add(nanos(took), Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// How many have ended since the last look, and how long they ran.
    pub(crate) fn since(&self, seen: &mut Seen) -> (u64, Duration) {
        let now = Seen {
            count: self.count.load(Ordering::Relaxed),
            nanos: self.nanos.load(Ordering::Relaxed),
        };
        let then = std::mem::replace(seen, now);
        let took = Duration::from_nanos(now.nanos.saturating_sub(then.nanos));
        (now.count.saturating_sub(then.count), took)
    }
}

#[cfg(test)]
mod tests;
