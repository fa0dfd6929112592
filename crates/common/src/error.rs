//! How every public error tells its code, whether a retry helps, and what a person can do.
//!
//! A code exists when a person or a client acts differently on it. Codes are never reused; each
//! has a page in `docs/errors/`.

use std::fmt;

/// A stable error code, shown as `PU####`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u16)]
pub enum ErrorCode {
    /// A configuration value is missing, unknown, malformed or contradicts another.
    ConfigInvalid = 1001,
    /// A configuration or secret file cannot be read.
    ConfigUnreadable = 1002,
    /// A name, id or duration on the command line or in a request is not valid.
    ArgumentInvalid = 1003,
    /// No broker answered at the configured addresses.
    BrokerUnreachable = 2001,
    /// The broker refused the user or password.
    AccessRefused = 2002,
    /// The virtual host does not exist.
    VhostMissing = 2003,
    /// The user lacks a permission.
    PermissionRefused = 2004,
    /// The connection was lost or closed while it was needed.
    ConnectionLost = 2005,
    /// The queue, topic or subscription does not exist.
    QueueMissing = 3001,
    /// The queue or exchange exists with other arguments.
    TopologyMismatch = 3002,
    /// This broker cannot do what was asked.
    Unsupported = 3003,
    /// The task cannot be carried: a property is invalid.
    TaskInvalid = 4001,
    /// The payload or the headers exceed a limit.
    TaskTooLarge = 4002,
    /// No queue takes the task.
    Unroutable = 4003,
    /// The queue is at its limit.
    QueueFull = 4004,
    /// The broker could not take the task before the deadline; it was never sent.
    SubmitUnavailable = 4005,
    /// The task was sent and its confirm never came; it may exist.
    SubmitUnknown = 4006,
    /// A task given as JSON is malformed.
    InputMalformed = 4007,
    /// The consumer cannot start.
    ConsumeFailed = 5001,
    /// The delivery is no longer ours; another worker has the task.
    DeliverySuperseded = 5002,
    /// A handler cannot be used: its program is missing or not executable.
    HandlerMissing = 5003,
    /// The store cannot be opened.
    StoreUnusable = 6001,
    /// The store was written by a newer version.
    StoreNewer = 6002,
    /// The store is damaged.
    StoreCorrupt = 6003,
    /// The store is read-only.
    StoreReadOnly = 6004,
    /// The disk under the store is full.
    StoreFull = 6005,
    /// Something that should not happen.
    Internal = 9001,
}

impl ErrorCode {
    /// Every code, in order.
    pub const ALL: [Self; 27] = [
        Self::ConfigInvalid,
        Self::ConfigUnreadable,
        Self::ArgumentInvalid,
        Self::BrokerUnreachable,
        Self::AccessRefused,
        Self::VhostMissing,
        Self::PermissionRefused,
        Self::ConnectionLost,
        Self::QueueMissing,
        Self::TopologyMismatch,
        Self::Unsupported,
        Self::TaskInvalid,
        Self::TaskTooLarge,
        Self::Unroutable,
        Self::QueueFull,
        Self::SubmitUnavailable,
        Self::SubmitUnknown,
        Self::InputMalformed,
        Self::ConsumeFailed,
        Self::DeliverySuperseded,
        Self::HandlerMissing,
        Self::StoreUnusable,
        Self::StoreNewer,
        Self::StoreCorrupt,
        Self::StoreReadOnly,
        Self::StoreFull,
        Self::Internal,
    ];

    /// The exit status for a process that ends with this error (sysexits).
    #[must_use]
    pub fn exit_status(self) -> u8 {
        match self {
            Self::ConfigInvalid
            | Self::ConfigUnreadable
            | Self::ArgumentInvalid
            | Self::HandlerMissing => 64,
            Self::TaskInvalid | Self::TaskTooLarge | Self::InputMalformed => 65,
            Self::BrokerUnreachable
            | Self::AccessRefused
            | Self::VhostMissing
            | Self::PermissionRefused
            | Self::QueueMissing
            | Self::TopologyMismatch
            | Self::Unsupported
            | Self::Unroutable
            | Self::ConsumeFailed
            | Self::StoreUnusable
            | Self::StoreNewer
            | Self::StoreCorrupt
            | Self::StoreReadOnly => 69,
            Self::ConnectionLost
            | Self::QueueFull
            | Self::SubmitUnavailable
            | Self::SubmitUnknown
            | Self::DeliverySuperseded
            | Self::StoreFull => 75,
            Self::Internal => 70,
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PU{}", *self as u16)
    }
}

/// Whether the same call may succeed later without anybody changing anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retryability {
    /// Trying again later may succeed.
    Transient,
    /// Trying again gives the same answer.
    Permanent,
}

/// What every public error can say besides its text.
pub trait Diagnostic: std::error::Error {
    /// The stable code.
    fn code(&self) -> ErrorCode;
    /// Whether a retry can help.
    fn retryability(&self) -> Retryability;
    /// An imperative clause for the person who reads it, where there is something to do.
    fn help(&self) -> Option<String> {
        None
    }
}

/// An opaque cause, as errors of foreign crates are carried across the contract.
pub type Cause = Box<dyn std::error::Error + Send + Sync + 'static>;

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// The numbers and first sentences of the enum, as written above.
    fn variants() -> Vec<(u16, &'static str)> {
        let mut meaning = "";
        let mut variants = Vec::new();
        for line in include_str!("error.rs").lines() {
            if let Some(text) = line.strip_prefix("    /// ") {
                meaning = text.trim_end_matches('.');
            } else if let Some((_, number)) = line.split_once(" = ")
                && let Ok(number) = number.trim_end_matches(',').parse()
            {
                variants.push((number, meaning));
            }
        }
        variants
    }

    #[test]
    fn every_code_is_in_the_list_of_all() {
        let listed = ErrorCode::ALL.map(|code| code as u16);
        let written: Vec<u16> = variants().into_iter().map(|(number, _)| number).collect();
        assert_eq!(listed.to_vec(), written);
    }

    #[test]
    fn every_code_has_a_page_and_every_page_a_code() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors");
        let index = std::fs::read_to_string(folder.join("README.md")).unwrap();
        for (code, (_, meaning)) in ErrorCode::ALL.into_iter().zip(variants()) {
            let status = code.exit_status();
            let page = std::fs::read_to_string(folder.join(format!("{code}.md"))).unwrap();
            assert!(page.starts_with(&format!("# {code} {meaning}\n")), "{code}");
            assert!(page.contains(&format!("Exit status {status}.")), "{code}");
            let row = format!("| [{code}]({code}.md) | {meaning} | {status} |");
            assert!(index.contains(&row), "{row}");
        }
        let files = std::fs::read_dir(&folder).unwrap().count();
        assert_eq!(files, ErrorCode::ALL.len() + 1, "a page without a code");
    }
}
