//! Turns at an even pace, with a few ahead of it: the generic cell rate algorithm.

use std::{
    num::NonZeroU32,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Counts turns. A second brings as many as the rate, and at most a burst of them is saved up.
#[derive(Debug)]
pub(super) struct Pace {
    interval: Duration,
    /// How far turns may be ahead of their time.
    ahead: Duration,
    /// When the next turn would come at an even pace.
    next: Mutex<Option<Instant>>,
}

impl Pace {
    pub(super) fn new(rate: NonZeroU32, burst: NonZeroU32) -> Self {
        let interval = Duration::from_secs(1) / rate.get();
        Self {
            interval,
            ahead: interval.saturating_mul(burst.get() - 1),
            next: Mutex::new(None),
        }
    }

    /// Takes a turn, or says how long it is until there is one.
    pub(super) fn take(&self, now: Instant) -> Result<(), Duration> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let due = next.map_or(now, |next| next.max(now));
        let wait = (due - now).saturating_sub(self.ahead);
        if !wait.is_zero() {
            return Err(wait);
        }
        *next = Some(due + self.interval);
        Ok(())
    }

    /// Takes the next turn and says how long it is until then.
    pub(super) fn reserve(&self, now: Instant) -> Duration {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let due = next.map_or(now, |next| next.max(now));
        *next = Some(due + self.interval);
        (due - now).saturating_sub(self.ahead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(rate: u32, burst: u32) -> Pace {
        Pace::new(
            NonZeroU32::new(rate).unwrap(),
            NonZeroU32::new(burst).unwrap(),
        )
    }

    #[test]
    fn a_burst_is_taken_at_once_and_then_as_many_as_the_rate() {
        let (pace, start) = (pace(10, 3), Instant::now());
        let ms = |ms| start + Duration::from_millis(ms);
        for _ in 0..3 {
            assert_eq!(pace.take(start), Ok(()));
        }
        assert_eq!(pace.take(start), Err(Duration::from_millis(100)));
        assert_eq!(pace.take(ms(40)), Err(Duration::from_millis(60)));
        assert_eq!(pace.take(ms(100)), Ok(()));
        assert!(pace.take(ms(199)).is_err());
        assert_eq!(pace.take(ms(200)), Ok(()));
        // However long nobody asks, no more than the burst is saved up.
        let taken = (0..9).filter(|_| pace.take(ms(60_000)).is_ok());
        assert_eq!(taken.count(), 3);
    }

    #[test]
    fn turns_that_are_reserved_come_one_after_the_other() {
        let (pace, start) = (pace(4, 1), Instant::now());
        let waits = [(); 3].map(|()| pace.reserve(start).as_millis());
        assert_eq!(waits, [0, 250, 500]);
        assert!(pace.take(start).is_err());
    }
}
