//! When a task becomes ready: at once, after a delay, or at a time.
//!
//! Shape of a time: RFC 3339 (`2026-12-24T18:00:00+09:00`, `…Z`), or without an offset, which
//! means the time zone of this machine: `2026-12-24T18:00`, `2026-12-24 18:00:30`.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use std::time::{Duration, SystemTime};

/// The longest delay that can be asked for, 8.5 years; what a broker can do is its capability.
pub const DELAY_MAX: Duration = Duration::from_secs((1 << 28) - 1);

/// When a task becomes ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// This long after it is submitted.
    After(Duration),
    /// At this time; one that has passed means at once.
    At(SystemTime),
}

impl Start {
    /// How long it is kept back, seen from `now`.
    #[must_use]
    pub fn delay(self, now: SystemTime) -> Duration {
        match self {
            Self::After(delay) => delay,
            Self::At(time) => time.duration_since(now).unwrap_or_default(),
        }
    }

    /// Of a delay and a time as texts, of which at most one is given.
    ///
    /// # Errors
    /// A clause that names the value, or that there are two.
    pub fn of_texts(
        delay: Option<&str>,
        at: Option<&str>,
        time: fn(&str) -> Result<SystemTime, String>,
    ) -> Result<Option<Self>, String> {
        match (delay, at) {
            (None, None) => Ok(None),
            (Some(text), None) => pumasi_common::field::duration::parse(text)
                .map(Self::After)
                .map(Some),
            (None, Some(text)) => time(text).map(Self::At).map(Some),
            (Some(_), Some(_)) => Err("it has both `delay` and `at`".to_owned()),
        }
    }
}

/// Reads a time that says its offset.
///
/// # Errors
/// A clause that names the value and what was expected.
pub fn instant(text: &str) -> Result<SystemTime, String> {
    text.trim()
        .parse::<Timestamp>()
        .and_then(SystemTime::try_from)
        .map_err(|_| refused(text, "one with its offset, like `2026-12-24T18:00:00Z`"))
}

/// Reads a time; one without an offset is of the time zone of this machine.
///
/// # Errors
/// A clause that names the value and what was expected.
pub fn local(text: &str) -> Result<SystemTime, String> {
    in_zone(text, TimeZone::try_system)
}

/// A time that the zone's clocks skip is an hour later, one that they show twice the earlier.
fn in_zone(
    text: &str,
    zone: impl FnOnce() -> Result<TimeZone, jiff::Error>,
) -> Result<SystemTime, String> {
    if let Ok(time) = instant(text) {
        return Ok(time);
    }
    let expected = "one like `2026-12-24T18:00`, or with its offset, `2026-12-24T18:00:00Z`";
    // A day alone would be midnight, which nobody means.
    let civil = Some(text.trim())
        .filter(|text| text.contains(':'))
        .and_then(|text| text.parse::<DateTime>().ok())
        .ok_or_else(|| refused(text, expected))?;
    let zone =
        zone().map_err(|_| "the time zone of this machine is not known: give the time its offset, like `2026-12-24T18:00:00Z`".to_owned())?;
    zone.to_timestamp(civil)
        .and_then(SystemTime::try_from)
        .map_err(|_| refused(text, expected))
}

fn refused(text: &str, expected: &str) -> String {
    let shown: String = text.chars().take(64).collect();
    format!(
        "`{}` is not a time: expected {expected}",
        shown.escape_debug()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    fn seoul() -> Result<TimeZone, jiff::Error> {
        Ok(TimeZone::fixed(jiff::tz::offset(9)))
    }

    #[test]
    fn a_time_is_read_with_its_offset_or_in_the_zone_of_the_machine() {
        let expected = UNIX_EPOCH + Duration::from_secs(1_798_102_800);
        for text in [
            "2026-12-24T09:00:00Z",
            "2026-12-24T18:00:00+09:00",
            "2026-12-24 18:00:00+09:00",
            "2026-12-24T18:00",
            "2026-12-24 18:00",
            " 2026-12-24 18:00:00 ",
        ] {
            assert_eq!(in_zone(text, seoul), Ok(expected), "{text}");
        }
        assert_eq!(instant("2026-12-24T18:00:00+09:00"), Ok(expected));
    }

    #[test]
    fn what_is_no_time_is_refused_with_what_was_expected() {
        for text in [
            "",
            "soon",
            "18:00",
            "2026-12-24",
            "2026-13-24T18:00",
            "2026-12-24T25:00",
            "2026-12-24T18:00 tomorrow",
        ] {
            let problem = in_zone(text, seoul).unwrap_err();
            assert!(
                problem.contains("is not a time: expected one like"),
                "{problem}"
            );
        }
        let problem = instant("2026-12-24T18:00").unwrap_err();
        assert!(problem.contains("one with its offset"), "{problem}");
    }

    #[test]
    fn a_time_that_has_passed_is_no_delay() {
        let now = UNIX_EPOCH + Duration::from_secs(100);
        let at = |seconds| Start::At(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(99).delay(now), Duration::ZERO);
        assert_eq!(at(130).delay(now), Duration::from_secs(30));
        let after = Start::After(Duration::from_secs(5));
        assert_eq!(after.delay(now), Duration::from_secs(5));
    }
}
