//! Configuration field types: durations as `"30s"`, sizes as `"64KiB"`, secrets that never print.

use std::fmt;

/// A text that must never be printed: `Debug` and `Display` show `[redacted]`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, to be handed to a protocol and nowhere else.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// `#[serde(with = "pumasi_common::field::duration")]`: `"30s"`, `"5m"`, `"1h 30m"`.
pub mod duration {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    /// Writes a duration as text.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&humantime::format_duration(*value))
    }

    /// Reads a duration from text.
    ///
    /// # Errors
    /// When the text is not a number followed by a unit.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(from)?;
        parse(&text).map_err(serde::de::Error::custom)
    }

    /// Parses `30s`, `250ms`, `1h 30m`, `2d`.
    ///
    /// # Errors
    /// A clause that names the value and what was expected.
    pub fn parse(text: &str) -> Result<Duration, String> {
        humantime::parse_duration(text.trim())
            .map_err(|_| format!("`{text}` is not a duration: expected a number and a unit, like `30s`, `250ms` or `1h 30m`"))
    }
}

/// `#[serde(with = "pumasi_common::field::duration_option")]`: a duration that may be absent.
pub mod duration_option {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    /// Writes a duration as text, or nothing.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(value: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => super::duration::serialize(value, to),
            None => to.serialize_none(),
        }
    }

    /// Reads a duration from text, where there is one.
    ///
    /// # Errors
    /// When the text is not a number followed by a unit.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| super::duration::parse(&text))
            .transpose()
            .map_err(serde::de::Error::custom)
    }
}

/// `#[serde(with = "pumasi_common::field::size")]`: `"64KiB"`, `"1MB"`, in bytes.
pub mod size {
    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes a size as text.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(value: &usize, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&bytesize::ByteSize::b(*value as u64).display().iec())
    }

    /// Reads a size from text.
    ///
    /// # Errors
    /// When the text is not a number with an optional unit.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
        let text = String::deserialize(from)?;
        text.trim()
            .parse::<bytesize::ByteSize>()
            .ok()
            .and_then(|size| usize::try_from(size.as_u64()).ok())
            .ok_or_else(|| {
                serde::de::Error::custom(format!(
                    "`{text}` is not a size: expected a number and a unit, like `64KiB` or `1MB`"
                ))
            })
    }
}
