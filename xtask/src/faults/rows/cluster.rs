//! Faults of a cluster of three nodes.

use super::Row;

/// The rows of this family.
pub(super) fn rows() -> Vec<Row> {
    Vec::new()
}
