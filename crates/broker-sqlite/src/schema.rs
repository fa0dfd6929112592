//! The schema: its version, how it is made, and which files are refused.

use crate::{
    error::{refuse, refuse_io, refuse_sqlite},
    peers,
    store::{Gate, Paths, connect, use_wal},
};
use pumasi_common::{ErrorCode, broker::OpenError};
use rusqlite::Connection;
use std::fs;

/// `PRAGMA application_id` of our files: `PuMa`.
pub(crate) const APPLICATION_ID: i32 = 0x5075_4d61;
/// `PRAGMA user_version` that this program writes and the newest that it reads.
pub(crate) const VERSION: i32 = 2;
/// A store up to this size is checked whole when it is opened.
const CHECKED_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What makes each version of the one before it; a new store goes through all of them.
const MIGRATIONS: [(i32, &str); 2] = [
    (1, include_str!("../migrations/0001_create.sql")),
    (2, include_str!("../migrations/0002_delays.sql")),
];

/// Makes sure that the file is a store of ours in this version; creates or migrates it where it
/// is not yet.
pub(crate) fn prepare(paths: &Paths) -> Result<Gate, OpenError> {
    let path = &paths.database;
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        fs::create_dir_all(parent)
            .map_err(|error| refuse_io(path, "its folder cannot be created", error))?;
    }
    if path.is_dir() {
        return Err(refuse(path, ErrorCode::StoreUnusable, "it is a folder"));
    }
    if fs::metadata(path).is_ok_and(|meta| meta.permissions().readonly()) {
        return Err(refuse(path, ErrorCode::StoreReadOnly, "it is read-only"));
    }
    // SQLite would fall back to reading silently.
    fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(|error| refuse_io(path, "it cannot be opened for writing", error))?;
    let gate = Gate::open(paths)
        .map_err(|error| refuse_io(path, "its lock file cannot be opened", error))?;
    {
        let _entered = gate.enter();
        let sql = connect(paths).map_err(|error| refuse_sqlite(path, error))?;
        let known = identify(&sql, paths)?;
        use_wal(&sql).map_err(|error| refuse_sqlite(path, error))?;
        if known > 0 && known < VERSION && peers::any_alive(&paths.peers) {
            return Err(in_use(paths));
        }
        if known < VERSION {
            migrate(&sql, known).map_err(|error| refuse_sqlite(path, error))?;
        }
        check(&sql, paths)?;
    }
    fs::create_dir_all(&paths.peers)
        .map_err(|error| refuse_io(path, "its peers folder cannot be created", error))?;
    Ok(gate)
}

/// The version of a store of ours; 0 for an empty file.
fn identify(sql: &Connection, paths: &Paths) -> Result<i32, OpenError> {
    let path = &paths.database;
    let number = |query: &str| -> Result<i32, OpenError> {
        sql.query_row(query, [], |row| row.get(0))
            .map_err(|error| refuse_sqlite(path, error))
    };
    let application = number("PRAGMA application_id")?;
    let version = number("PRAGMA user_version")?;
    let tables = number("SELECT count(*) FROM sqlite_schema")?;
    if tables == 0 && application == 0 && version == 0 {
        return Ok(0);
    }
    if application != APPLICATION_ID {
        return Err(refuse(
            path,
            ErrorCode::StoreUnusable,
            "it is a database of another program",
        ));
    }
    if version > VERSION {
        return Err(refuse(
            path,
            ErrorCode::StoreNewer,
            format!("its version is {version}; this program knows up to {VERSION}"),
        ));
    }
    if version < 1 {
        return Err(refuse(
            path,
            ErrorCode::StoreCorrupt,
            format!("its version is {version}, which never existed"),
        ));
    }
    Ok(version)
}

/// An older program would not see what it does not know.
fn in_use(paths: &Paths) -> OpenError {
    OpenError {
        help: Some("end the workers of the older version, then start again".to_owned()),
        ..refuse(
            &paths.database,
            ErrorCode::StoreUnusable,
            "workers of an older version work on it",
        )
    }
}

/// Brings a store from this version to ours, in one transaction.
fn migrate(sql: &Connection, from: i32) -> rusqlite::Result<()> {
    let mut whole = "BEGIN IMMEDIATE;\n".to_owned();
    for (_, migration) in MIGRATIONS.iter().filter(|(version, _)| *version > from) {
        whole.push_str(migration);
    }
    whole.push_str(&format!(
        "\nPRAGMA application_id = {APPLICATION_ID};\nPRAGMA user_version = {VERSION};\nCOMMIT;"
    ));
    let made = sql.execute_batch(&whole);
    if made.is_err() && !sql.is_autocommit() {
        // The first error is the one to tell.
        let _ = sql.execute_batch("ROLLBACK");
    }
    made
}

fn check(sql: &Connection, paths: &Paths) -> Result<(), OpenError> {
    let path = &paths.database;
    let small = fs::metadata(path).is_ok_and(|meta| meta.len() <= CHECKED_BYTES_MAX);
    if small {
        let found: String = sql
            .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
            .map_err(|error| refuse_sqlite(path, error))?;
        if found != "ok" {
            return Err(refuse(
                path,
                ErrorCode::StoreCorrupt,
                format!("it is damaged: {found}"),
            ));
        }
    }
    sql.query_row("SELECT last FROM clock", [], |_| Ok(()))
        .map_err(|error| refuse_sqlite(path, error))
}
