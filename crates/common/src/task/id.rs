//! Task ids and kinds.

use crate::queue::{NameError, check_name, text};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Longest task id in bytes (an AMQP short string holds 255).
pub const ID_BYTES_MAX: usize = 128;

/// The id of a task. A UUIDv7 unless the caller gives one.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TaskId(Arc<str>);

impl TaskId {
    /// Takes a caller's id: 1–128 bytes, printable, without spaces.
    ///
    /// # Errors
    /// [`NameError`] names the value and the rule it breaks.
    pub fn new(value: &str) -> Result<Self, NameError> {
        let refuse = |problem| NameError {
            what: "task id",
            value: value.chars().take(64).collect(),
            problem,
        };
        if value.is_empty() {
            return Err(refuse("it is empty"));
        }
        if value.len() > ID_BYTES_MAX {
            return Err(refuse("it is longer than 128 bytes"));
        }
        if value.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(refuse("it holds a space or a control character"));
        }
        Ok(Self(Arc::from(value)))
    }

    /// A new UUIDv7: ordered by time, monotonic within a process.
    #[must_use]
    pub fn generate() -> Self {
        let mut buffer = uuid::Uuid::encode_buffer();
        Self(Arc::from(
            &*uuid::Uuid::now_v7().hyphenated().encode_lower(&mut buffer),
        ))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The kind of a task: selects its handler, like `image.resize`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TaskKind(Arc<str>);

impl TaskKind {
    /// Checks and takes a kind, by the same rules as a queue name.
    ///
    /// # Errors
    /// [`NameError`] names the value and the rule it breaks.
    pub fn new(value: &str) -> Result<Self, NameError> {
        check_name("task kind", value).map(Self)
    }

    /// Takes what another client wrote, unchecked: it may name no handler, and is then moved
    /// aside with its name as it came.
    #[must_use]
    pub fn from_wire(value: &str) -> Self {
        Self(Arc::from(value))
    }

    /// The kind as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

text!(TaskId);
text!(TaskKind);
