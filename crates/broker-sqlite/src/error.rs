//! What SQLite's errors mean for a caller.

use pumasi_common::{
    ErrorCode, Refusal,
    broker::{OpenError, PublishOutcome, Uncertainty},
    task::TaskId,
};
use rusqlite::ErrorCode as Sqlite;
use std::{error::Error, io::ErrorKind, path::Path};

/// Why a transaction came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The disk is full; nothing was stored.
    Full(String),
    /// The store could not be written; nothing was stored.
    Failed(String),
    /// The commit itself failed: it may be on the disk all the same.
    Unknown(String),
}

impl Failure {
    /// A failure before the commit: SQLite has rolled back.
    pub(crate) fn before_commit(error: &rusqlite::Error) -> Self {
        if code_of(error) == ErrorCode::StoreFull {
            Self::Full(error.to_string())
        } else {
            Self::Failed(error.to_string())
        }
    }

    /// A failure of the commit.
    pub(crate) fn of_commit(error: &rusqlite::Error) -> Self {
        if code_of(error) == ErrorCode::StoreFull {
            return Self::Full(error.to_string());
        }
        match error.sqlite_error_code() {
            Some(Sqlite::DatabaseBusy | Sqlite::DatabaseLocked) => Self::Failed(error.to_string()),
            _ => Self::Unknown(error.to_string()),
        }
    }

    /// The text for a person.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Full(text) | Self::Failed(text) | Self::Unknown(text) => text,
        }
    }

    /// What it means for a publish.
    pub(crate) fn outcome(&self, id: TaskId) -> PublishOutcome {
        let problem = self.text().to_owned();
        match self {
            Self::Full(_) => PublishOutcome::Refused(id, Refusal::StorageFull { problem }),
            Self::Failed(_) => PublishOutcome::Refused(id, Refusal::Unavailable { problem }),
            Self::Unknown(_) => PublishOutcome::Unknown(id, Uncertainty { problem }),
        }
    }
}

/// The code that fits an error of SQLite.
pub(crate) fn code_of(error: &rusqlite::Error) -> ErrorCode {
    match error.sqlite_error_code() {
        Some(Sqlite::DiskFull) => ErrorCode::StoreFull,
        Some(Sqlite::ReadOnly) => ErrorCode::StoreReadOnly,
        Some(Sqlite::DatabaseCorrupt | Sqlite::NotADatabase) => ErrorCode::StoreCorrupt,
        _ => ErrorCode::StoreUnusable,
    }
}

/// An [`OpenError`] with the help that fits its code.
pub(crate) fn refuse(path: &Path, code: ErrorCode, problem: impl Into<String>) -> OpenError {
    OpenError {
        address: format!("sqlite:{}", path.display()),
        problem: problem.into(),
        code,
        help: help_for(code, path),
        source: None,
    }
}

/// An [`OpenError`] with SQLite's words as its cause.
pub(crate) fn refuse_sqlite(path: &Path, error: rusqlite::Error) -> OpenError {
    let code = code_of(&error);
    let problem = match code_clause(code) {
        Some(clause) => clause.to_owned(),
        None => "it cannot be opened".to_owned(),
    };
    with_cause(refuse(path, code, problem), error)
}

/// An [`OpenError`] with the system's words as its cause.
pub(crate) fn refuse_io(path: &Path, problem: &str, error: std::io::Error) -> OpenError {
    let kind = error.kind();
    let is = |kinds: [ErrorKind; 2]| kinds.contains(&kind);
    let code = if is([ErrorKind::StorageFull, ErrorKind::QuotaExceeded]) {
        ErrorCode::StoreFull
    } else if is([ErrorKind::ReadOnlyFilesystem, ErrorKind::PermissionDenied]) {
        ErrorCode::StoreReadOnly
    } else {
        ErrorCode::StoreUnusable
    };
    with_cause(refuse(path, code, problem), error)
}

fn with_cause(mut refused: OpenError, cause: impl Error + Send + Sync + 'static) -> OpenError {
    refused.source = Some(Box::new(cause));
    refused
}

fn code_clause(code: ErrorCode) -> Option<&'static str> {
    [
        (ErrorCode::StoreFull, "the disk is full"),
        (ErrorCode::StoreReadOnly, "it is read-only"),
        (
            ErrorCode::StoreCorrupt,
            "it is damaged or not a SQLite database",
        ),
    ]
    .into_iter()
    .find_map(|(of, clause)| (of == code).then_some(clause))
}

fn help_for(code: ErrorCode, path: &Path) -> Option<String> {
    let path = path.display();
    let texts = [
        (
            ErrorCode::StoreFull,
            "make room on the disk and start again".to_owned(),
        ),
        (
            ErrorCode::StoreReadOnly,
            format!("make {path} and its folder writable for this user"),
        ),
        (
            ErrorCode::StoreCorrupt,
            format!("keep a copy of {path} and restore it from a backup, or choose another path"),
        ),
        (
            ErrorCode::StoreNewer,
            "use the version of Pumasi that wrote it, or a newer one".to_owned(),
        ),
        (
            ErrorCode::StoreUnusable,
            "choose another path, or see that the folder exists and is writable".to_owned(),
        ),
    ];
    texts
        .into_iter()
        .find_map(|(of, text)| (of == code).then_some(text))
}
