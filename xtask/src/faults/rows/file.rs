//! Faults of the embedded broker's file.

use super::Row;

/// The rows of this family.
pub(super) fn rows() -> Vec<Row> {
    Vec::new()
}
