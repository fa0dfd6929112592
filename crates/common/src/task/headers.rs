//! A task's headers, in broker-neutral form.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Header names with their values. Few, so a list beats a map; the order means nothing, and no
/// broker promises to keep it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Headers(Vec<(String, HeaderValue)>);

impl PartialEq for Headers {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len()
            && self
                .iter()
                .all(|(name, value)| other.get(name) == Some(value))
    }
}

/// A header's value; every AMQP 0-9-1 field type has a place here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HeaderValue {
    /// No value.
    Null,
    /// True or false.
    Boolean(bool),
    /// Any integer width.
    Integer(i64),
    /// Any float width.
    Float(f64),
    /// A text.
    Text(String),
    /// Bytes that are not UTF-8.
    Bytes(Bytes),
    /// Seconds since 1970.
    Timestamp(u64),
    /// A list of values.
    List(Vec<HeaderValue>),
    /// A nested table.
    Table(Headers),
}

impl HeaderValue {
    /// The text, where it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) = self {
            Some(text)
        } else {
            None
        }
    }

    /// The integer, where it is one.
    #[must_use]
    pub fn as_integer(&self) -> Option<i64> {
        if let Self::Integer(integer) = self {
            Some(*integer)
        } else {
            None
        }
    }
}

impl From<&str> for HeaderValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl Headers {
    /// Sets a header, replacing one of the same name.
    pub fn set(&mut self, name: impl Into<String>, value: HeaderValue) {
        let name = name.into();
        match self.0.iter_mut().find(|(have, _)| *have == name) {
            Some((_, have)) => *have = value,
            None => self.0.push((name, value)),
        }
    }

    /// Appends a header without looking for one of the same name.
    pub fn push(&mut self, name: String, value: HeaderValue) {
        self.0.push((name, value));
    }

    /// The value of a header.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&HeaderValue> {
        self.0
            .iter()
            .find(|(have, _)| have == name)
            .map(|(_, value)| value)
    }

    /// All headers in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &HeaderValue)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl IntoIterator for Headers {
    type Item = (String, HeaderValue);
    type IntoIter = std::vec::IntoIter<(String, HeaderValue)>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl FromIterator<(String, HeaderValue)> for Headers {
    fn from_iter<I: IntoIterator<Item = (String, HeaderValue)>>(iter: I) -> Self {
        Self(iter.into_iter().collect())
    }
}
