//! A task as a row, and back.

use pumasi_common::{
    Refusal, Task,
    task::{HeaderValue, Headers, TaskId, TaskKind},
    wire,
};
use rusqlite::Row;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The largest headers, encoded.
const HEADERS_BYTES_MAX: usize = 64 * 1024;

/// The columns that [`delivered`] and [`task_of`] read, in their order.
pub(crate) const COLUMNS: &str = "seq, delivery, delivery_count, redelivered, id, kind, \
     content_type, priority, submitted_at, expires_ms, submitter, reply_to, correlation_id, \
     headers, payload, queue_id, expires_at";

/// A handed-over task as it was read.
pub(crate) struct Delivered {
    pub(crate) seq: i64,
    pub(crate) delivery: i64,
    pub(crate) delivery_count: u32,
    pub(crate) redelivered: bool,
    pub(crate) queue: i64,
    pub(crate) task: Task,
    /// Whether it has waited too long.
    pub(crate) expired: bool,
}

/// The time by this machine's clock.
pub(crate) fn since_1970() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// Reads the row of [`COLUMNS`].
pub(crate) fn delivered(row: &Row<'_>) -> rusqlite::Result<Delivered> {
    Ok(Delivered {
        seq: row.get(0)?,
        delivery: row.get(1)?,
        delivery_count: row.get(2)?,
        redelivered: row.get(3)?,
        queue: row.get(15)?,
        task: task_of(row)?,
        expired: row
            .get::<_, Option<i64>>(16)?
            .is_some_and(|at| at <= signed(since_1970().as_millis())),
    })
}

fn task_of(row: &Row<'_>) -> rusqlite::Result<Task> {
    let id: String = row.get(4)?;
    let payload: Vec<u8> = row.get(14)?;
    // Only checked ids are ever written.
    let id = TaskId::new(&id).unwrap_or_else(|_| TaskId::generate());
    let mut task = Task::with_id(id, payload);
    task.kind = row.get_ref(5)?.as_str_or_null()?.map(TaskKind::from_wire);
    task.content_type = row.get(6)?;
    task.priority = row.get(7)?;
    let submitted_at: Option<i64> = row.get(8)?;
    task.submitted_at = submitted_at.and_then(|at| u64::try_from(at).ok());
    let expires_ms: Option<i64> = row.get(9)?;
    task.expires_after = expires_ms
        .and_then(|ms| u64::try_from(ms).ok())
        .map(Duration::from_millis);
    task.submitter = row.get(10)?;
    task.reply_to = row.get(11)?;
    task.correlation_id = row.get(12)?;
    if let Some(text) = row.get_ref(13)?.as_str_or_null()? {
        match serde_json::from_str::<Headers>(text) {
            Ok(headers) => wire::read_headers(headers, &mut task),
            Err(error) => tracing::debug!(%error, "stored headers not readable"),
        }
    }
    Ok(task)
}

/// The headers of a task as they are stored; nothing where there are none.
pub(crate) fn headers_text(task: &Task) -> Result<Option<String>, Refusal> {
    let headers = wire::write_headers(task);
    if headers.is_empty() {
        return Ok(None);
    }
    if !headers.iter().all(|(_, value)| is_storable(value)) {
        return Err(Refusal::Property {
            property: "headers",
            problem: "a number is not finite".to_owned(),
        });
    }
    let text = serde_json::to_string(&headers).map_err(|error| Refusal::Property {
        property: "headers",
        problem: error.to_string(),
    })?;
    Ok(Some(text))
}

/// As [`headers_text`], refusing what is too large to be published.
pub(crate) fn headers_within_limit(task: &Task) -> Result<Option<String>, Refusal> {
    let text = headers_text(task)?;
    match text.as_ref().map(String::len) {
        Some(bytes) if bytes > HEADERS_BYTES_MAX => Err(Refusal::HeadersTooLarge {
            bytes,
            bytes_max: HEADERS_BYTES_MAX,
        }),
        _ => Ok(text),
    }
}

fn is_storable(value: &HeaderValue) -> bool {
    match value {
        HeaderValue::Float(number) => number.is_finite(),
        HeaderValue::List(list) => list.iter().all(is_storable),
        HeaderValue::Table(table) => table.iter().all(|(_, value)| is_storable(value)),
        HeaderValue::Null
        | HeaderValue::Boolean(_)
        | HeaderValue::Integer(_)
        | HeaderValue::Text(_)
        | HeaderValue::Bytes(_)
        | HeaderValue::Timestamp(_) => true,
    }
}

/// A number for SQLite, which has only signed ones.
pub(crate) fn signed(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}
