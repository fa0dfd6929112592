//! The store's files: the database, the two lock files in front of it, the peers folder.

use rusqlite::{Connection, OpenFlags};
use std::{
    ffi::OsString,
    fs::{File, OpenOptions},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

/// Longest wait for SQLite's own lock; the gate makes it rare that anybody waits for it.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Statements kept prepared per connection.
const STATEMENTS_MAX: usize = 64;
/// A write-ahead log longer than this is cut when it is reset.
const WAL_BYTES_MAX: i64 = 64 * 1024 * 1024;

/// Where everything of one store lies.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    /// The database.
    pub(crate) database: PathBuf,
    /// Held while a process writes.
    lock: PathBuf,
    /// Held while a process waits to write next.
    turn: PathBuf,
    /// One entry for each process with consumers.
    pub(crate) peers: PathBuf,
}

impl Paths {
    pub(crate) fn new(database: &Path) -> Self {
        let beside = |suffix: &str| {
            let mut name = OsString::from(database);
            name.push(suffix);
            PathBuf::from(name)
        };
        Self {
            database: database.to_owned(),
            lock: beside(".lock"),
            turn: beside(".turn"),
            peers: beside("-peers"),
        }
    }
}

/// Opens the database as this crate uses it. Does not touch what is in it.
pub(crate) fn connect(paths: &Paths) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let sql = Connection::open_with_flags(&paths.database, flags)?;
    sql.busy_timeout(BUSY_TIMEOUT)?;
    sql.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    sql.pragma_update(None, "synchronous", "FULL")?;
    sql.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(sql)
}

/// Turns the write-ahead log on; idempotent.
pub(crate) fn use_wal(sql: &Connection) -> rusqlite::Result<()> {
    sql.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    sql.query_row(
        &format!("PRAGMA journal_size_limit = {WAL_BYTES_MAX}"),
        [],
        |_| Ok(()),
    )
}

/// The gate in front of SQLite's write lock: processes queue here in the kernel, instead of
/// sleeping in SQLite's busy handler.
///
/// Two locks make it fair: who waits for `lock` holds `turn`, so who has just written cannot
/// take `lock` again before it.
#[derive(Debug)]
pub(crate) struct Gate {
    turn: File,
    lock: File,
}

impl Gate {
    pub(crate) fn open(paths: &Paths) -> io::Result<Self> {
        let open = |path: &Path| {
            OpenOptions::new()
                .create(true)
                .truncate(false)
                .read(true)
                .write(true)
                .open(path)
        };
        Ok(Self {
            turn: open(&paths.turn)?,
            lock: open(&paths.lock)?,
        })
    }

    /// Waits until this process may write.
    ///
    /// # Errors
    /// The file system knows no locks. SQLite's own lock still protects the store then.
    pub(crate) fn enter(&self) -> io::Result<Entered<'_>> {
        uninterrupted(|| self.turn.lock())?;
        let entered = uninterrupted(|| self.lock.lock());
        self.turn.unlock()?;
        entered.map(|()| Entered(&self.lock))
    }
}

/// Being inside the gate; dropped, the next process enters.
#[derive(Debug)]
pub(crate) struct Entered<'a>(&'a File);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.0.unlock() {
            tracing::debug!(%error, "store gate not unlocked");
        }
    }
}

fn uninterrupted(mut call: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
