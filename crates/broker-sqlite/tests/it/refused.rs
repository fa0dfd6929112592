//! Files that are refused, and how.

use crate::support::{open, settings, submit};
use pumasi_broker_sqlite::SqliteBroker;
use pumasi_common::{Broker, ErrorCode, broker::OpenError};
use std::{fs, path::Path};
use tempfile::tempdir;

async fn refusal(path: &Path) -> OpenError {
    let error = SqliteBroker::open(&settings(), path).await.unwrap_err();
    assert!(error.address.contains(&path.display().to_string()));
    assert!(error.help.is_some());
    error
}

async fn made(path: &Path) {
    let broker = open(path).await;
    submit(&broker, "kept").await;
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_a_newer_version_is_refused_and_not_changed() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("s.db");
    made(&path).await;
    let sql = rusqlite::Connection::open(&path).unwrap();
    sql.pragma_update(None, "user_version", 99).unwrap();
    drop(sql);
    assert_eq!(refusal(&path).await.code, ErrorCode::StoreNewer);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_database_is_refused_and_not_changed() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("s.db");
    let words = "these are words and no database ".repeat(100);
    fs::write(&path, &words).unwrap();
    assert_eq!(refusal(&path).await.code, ErrorCode::StoreCorrupt);
    assert_eq!(fs::read_to_string(&path).unwrap(), words);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_store_is_refused() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("s.db");
    made(&path).await;
    let sql = rusqlite::Connection::open(&path).unwrap();
    sql.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    drop(sql);
    let mut bytes = fs::read(&path).unwrap();
    for byte in bytes.iter_mut().skip(4096) {
        *byte = 0xa5;
    }
    fs::write(&path, bytes).unwrap();
    assert_eq!(refusal(&path).await.code, ErrorCode::StoreCorrupt);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_store_is_refused() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("s.db");
    made(&path).await;
    let mut permissions = fs::metadata(&path).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&path, permissions).unwrap();
    assert_eq!(refusal(&path).await.code, ErrorCode::StoreReadOnly);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_and_another_programs_database_are_refused() {
    let dir = tempdir().unwrap();
    assert_eq!(refusal(dir.path()).await.code, ErrorCode::StoreUnusable);
    let path = dir.path().join("other.db");
    let sql = rusqlite::Connection::open(&path).unwrap();
    sql.execute_batch("CREATE TABLE theirs (x)").unwrap();
    drop(sql);
    assert_eq!(refusal(&path).await.code, ErrorCode::StoreUnusable);
}
