//! Retry: when a failed task is tried again. Pure: no clock, no source of randomness.
//!
//! Exponential back-off with full jitter: after attempt `n` the delay is drawn evenly from zero to
//! `min(delay_max, delay_base × 2^(n-1))`, so that tasks that failed together do not come back
//! together.

use crate::field;
use serde::{Deserialize, Serialize};
use std::{num::NonZeroU32, time::Duration};

/// When a failed task is tried again, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryPolicy {
    /// Most attempts, the first one included, 1–1,000,000; 1 for none but the first. A task's own
    /// `--attempts` counts instead where it has one. Default 5.
    pub attempts_max: NonZeroU32,
    /// The longest delay after the first failed attempt; it doubles with each further one.
    /// Default 2 s.
    #[serde(with = "field::duration")]
    pub delay_base: Duration,
    /// The longest delay after any attempt. Default 10 min.
    #[serde(with = "field::duration")]
    pub delay_max: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts_max: const { NonZeroU32::new(5).unwrap() },
            delay_base: Duration::from_secs(2),
            delay_max: Duration::from_secs(10 * 60),
        }
    }
}

impl RetryPolicy {
    /// The longest delay after this attempt.
    #[must_use]
    pub fn delay_bound(&self, attempt: NonZeroU32) -> Duration {
        let doublings = attempt.get() - 1;
        // Beyond 2^32 even a nanosecond is longer than four seconds, and any cap is reached.
        let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
        self.delay_base.saturating_mul(factor).min(self.delay_max)
    }

    /// The delay after this attempt, where `chance` of 0 is none and of `u32::MAX` the longest.
    #[must_use]
    pub fn delay(&self, attempt: NonZeroU32, chance: u32) -> Duration {
        let nanos = self.delay_bound(attempt).as_nanos();
        let part = nanos.saturating_mul(u128::from(chance)) / u128::from(u32::MAX);
        Duration::from_nanos(u64::try_from(part).unwrap_or(u64::MAX))
    }

    /// This policy with what the rules say otherwise.
    #[must_use]
    pub fn with(self, rules: &RetryRules) -> Self {
        Self {
            attempts_max: rules.attempts_max.unwrap_or(self.attempts_max),
            delay_base: rules.delay_base.unwrap_or(self.delay_base),
            delay_max: rules.delay_max.unwrap_or(self.delay_max),
        }
    }
}

/// What a queue or a kind has otherwise than the policy around it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryRules {
    /// Most attempts, the first one included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts_max: Option<NonZeroU32>,
    /// The longest delay after the first failed attempt.
    #[serde(
        with = "field::duration_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub delay_base: Option<Duration>,
    /// The longest delay after any attempt.
    #[serde(
        with = "field::duration_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub delay_max: Option<Duration>,
}

impl RetryRules {
    /// Whether they say nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(number: u32) -> NonZeroU32 {
        NonZeroU32::new(number).unwrap()
    }

    #[test]
    fn the_bound_doubles_with_each_attempt_up_to_the_cap() {
        let policy = RetryPolicy {
            delay_base: Duration::from_secs(1),
            delay_max: Duration::from_secs(600),
            ..RetryPolicy::default()
        };
        let bounds: Vec<u64> = (1..=12)
            .map(|number| policy.delay_bound(attempt(number)).as_secs())
            .collect();
        assert_eq!(bounds, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]);
        for far in [32, 33, 1_000_000, u32::MAX] {
            assert_eq!(policy.delay_bound(attempt(far)), policy.delay_max);
        }
    }

    #[test]
    fn the_delay_lies_evenly_between_nothing_and_the_bound() {
        let policy = RetryPolicy::default();
        let bound = policy.delay_bound(attempt(3));
        assert_eq!(policy.delay(attempt(3), 0), Duration::ZERO);
        assert_eq!(policy.delay(attempt(3), u32::MAX), bound);
        let half = policy.delay(attempt(3), u32::MAX / 2);
        assert!(bound / 2 - half < Duration::from_micros(1), "{half:?}");
    }

    #[test]
    fn rules_of_a_kind_win_over_those_of_its_queue_field_by_field() {
        let queue = RetryRules {
            attempts_max: NonZeroU32::new(7),
            delay_base: Some(Duration::from_secs(3)),
            ..RetryRules::default()
        };
        let kind = RetryRules {
            attempts_max: NonZeroU32::new(2),
            ..RetryRules::default()
        };
        let policy = RetryPolicy::default().with(&queue).with(&kind);
        assert_eq!(policy.attempts_max.get(), 2);
        assert_eq!(policy.delay_base, Duration::from_secs(3));
        assert_eq!(policy.delay_max, RetryPolicy::default().delay_max);
    }
}
