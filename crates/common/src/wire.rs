//! The header names of a task on the wire, and how hints are read from them.
//!
//! Shape: `pumasi-attempt: 2`, `pumasi-attempts-max: 5`, `pumasi-timeout-ms: 30000`,
//! `traceparent`, `tracestate`; on a dead letter also `pumasi-dead-*`.
//! A header is a hint: one that is absent, of another type or out of range is ignored.

use crate::{
    queue::QueueName,
    settlement::DeadLetter,
    task::{HeaderValue, Headers, Task, TraceContext},
    telemetry::{TRACEPARENT, TRACESTATE},
};
use std::{num::NonZeroU32, time::Duration};

/// The attempt that comes next, from 1.
pub const ATTEMPT: &str = "pumasi-attempt";
/// Most attempts.
pub const ATTEMPTS_MAX: &str = "pumasi-attempts-max";
/// Longest run of one attempt, in milliseconds.
pub const TIMEOUT_MS: &str = "pumasi-timeout-ms";
/// When it expires, in milliseconds since 1970: on a task that was kept back.
pub const NOT_AFTER_MS: &str = "pumasi-not-after-ms";
/// When its first failed attempt ended, in seconds since 1970.
pub const FAILED_SINCE: &str = "pumasi-failed-since";
/// True where the `reply_to` also takes news of progress.
pub const PROGRESS: &str = "pumasi-progress";
/// On a replayed task: when, in milliseconds since 1970.
pub const REPLAYED_AT_MS: &str = "pumasi-replayed-at-ms";
/// On a replayed task: a list of tables, one for each time it was dead.
pub const HISTORY: &str = "pumasi-history";
/// On an outcome: `done`, `dead`, `cancelled`, or on news `started`, `progress`, `retry`.
pub const OUTCOME: &str = "pumasi-outcome";
/// On an outcome: the task's id.
pub const OUTCOME_TASK: &str = "pumasi-outcome-task";
/// On an outcome `dead`: the reason, from the closed list.
pub const OUTCOME_REASON: &str = "pumasi-outcome-reason";
/// On an outcome that is not `done`: what happened, for a person.
pub const OUTCOME_ERROR: &str = "pumasi-outcome-error";
/// On a dead letter: the reason, from the closed list.
pub const DEAD_REASON: &str = "pumasi-dead-reason";
/// On a dead letter: what happened, for a person.
pub const DEAD_ERROR: &str = "pumasi-dead-error";
/// On a dead letter: the queue it came from.
pub const DEAD_QUEUE: &str = "pumasi-dead-queue";
/// On a dead letter: the worker that decided.
pub const DEAD_WORKER: &str = "pumasi-dead-worker";
/// On a dead letter: when, in seconds since 1970.
pub const DEAD_AT: &str = "pumasi-dead-at";

/// Largest attempt number that is believed.
pub const ATTEMPT_BELIEVED_MAX: u32 = 1_000_000;
/// Longest time-out that is believed.
pub const TIMEOUT_BELIEVED_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// Moves the headers that have a field in [`Task`] into it and keeps the others as the caller's.
pub fn read_headers(headers: Headers, task: &mut Task) {
    let mut traceparent = None;
    let mut tracestate = None;
    for (name, value) in headers {
        match name.as_str() {
            ATTEMPT => {
                if let Some(attempt) = count(&value) {
                    task.attempt = attempt;
                }
            }
            ATTEMPTS_MAX => task.attempts_max = count(&value),
            TIMEOUT_MS => {
                task.timeout = value
                    .as_integer()
                    .and_then(|ms| u64::try_from(ms).ok())
                    .map(Duration::from_millis)
                    .filter(|limit| !limit.is_zero() && *limit <= TIMEOUT_BELIEVED_MAX);
            }
            NOT_AFTER_MS => task.not_after_ms = moment(&value),
            FAILED_SINCE => task.failed_since = moment(&value),
            PROGRESS => task.wants_progress = value == HeaderValue::Boolean(true),
            TRACEPARENT => traceparent = text(value, 128),
            TRACESTATE => tracestate = text(value, 1024),
            _ => task.headers.push(name, value),
        }
    }
    task.trace = traceparent.map(|traceparent| TraceContext {
        traceparent,
        tracestate,
    });
}

/// All headers of a task as they travel.
#[must_use]
pub fn write_headers(task: &Task) -> Headers {
    let mut headers: Headers = task
        .headers
        .iter()
        .filter(|(name, _)| !is_of_broker(name))
        .map(|(name, value)| (name.to_owned(), value.clone()))
        .collect();
    if task.attempt > NonZeroU32::MIN {
        headers.set(ATTEMPT, HeaderValue::Integer(task.attempt.get().into()));
    }
    if let Some(most) = task.attempts_max {
        headers.set(ATTEMPTS_MAX, HeaderValue::Integer(most.get().into()));
    }
    if let Some(limit) = task.timeout {
        let ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        headers.set(TIMEOUT_MS, HeaderValue::Integer(signed(ms)));
    }
    if let Some(at) = task.not_after_ms {
        headers.set(NOT_AFTER_MS, HeaderValue::Integer(signed(at)));
    }
    if let Some(at) = task.failed_since {
        headers.set(FAILED_SINCE, HeaderValue::Timestamp(at));
    }
    if task.wants_progress {
        headers.set(PROGRESS, HeaderValue::Boolean(true));
    }
    if let Some(trace) = &task.trace {
        headers.set(TRACEPARENT, trace.traceparent.as_str().into());
        if let Some(state) = &trace.tracestate {
            headers.set(TRACESTATE, state.as_str().into());
        }
    }
    headers
}

/// Adds to a task's headers what a dead letter carries besides the original.
pub fn mark_dead(task: &mut Task, queue: &QueueName, letter: &DeadLetter, at_seconds: u64) {
    task.headers.set(DEAD_REASON, letter.reason.as_str().into());
    task.headers.set(DEAD_ERROR, letter.error.as_str().into());
    let queue = letter.queue.as_ref().unwrap_or(queue);
    task.headers.set(DEAD_QUEUE, queue.as_str().into());
    task.headers.set(DEAD_WORKER, letter.worker.as_str().into());
    task.headers
        .set(DEAD_AT, HeaderValue::Timestamp(at_seconds));
}

/// Whether the broker writes this header itself, each time that it moves a message: written again
/// by us they would only grow, and before RabbitMQ 4.0 a message with them could be dropped.
pub(crate) fn is_of_broker(name: &str) -> bool {
    matches!(name, "x-death" | "x-delivery-count" | "x-acquired-count")
        || name.starts_with("x-first-death-")
        || name.starts_with("x-last-death-")
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A time since 1970, in whatever unit it is counted.
fn moment(value: &HeaderValue) -> Option<u64> {
    match value {
        HeaderValue::Timestamp(at) => Some(*at),
        HeaderValue::Integer(at) => u64::try_from(*at).ok(),
        HeaderValue::Null
        | HeaderValue::Boolean(_)
        | HeaderValue::Float(_)
        | HeaderValue::Text(_)
        | HeaderValue::Bytes(_)
        | HeaderValue::List(_)
        | HeaderValue::Table(_) => None,
    }
}

fn count(value: &HeaderValue) -> Option<NonZeroU32> {
    let number = u32::try_from(value.as_integer()?).ok()?;
    NonZeroU32::new(number).filter(|n| n.get() <= ATTEMPT_BELIEVED_MAX)
}

fn text(value: HeaderValue, bytes_max: usize) -> Option<String> {
    if let HeaderValue::Text(text) = value
        && text.len() <= bytes_max
        && text.is_ascii()
    {
        return Some(text);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_hints_are_ignored_and_nothing_else_is_lost() {
        for hostile in [
            HeaderValue::Integer(-1),
            HeaderValue::Integer(0),
            HeaderValue::Integer(1_000_000_000_000_000_000),
            HeaderValue::Text("7".into()),
            HeaderValue::Null,
            HeaderValue::List(vec![]),
        ] {
            let mut headers = Headers::default();
            headers.set(ATTEMPT, hostile.clone());
            headers.set(TIMEOUT_MS, hostile.clone());
            headers.set("colour", "red".into());
            let mut task = Task::new("x");
            read_headers(headers, &mut task);
            assert_eq!(task.attempt.get(), 1);
            assert!(
                task.timeout.is_none_or(|t| t <= TIMEOUT_BELIEVED_MAX),
                "{hostile:?}"
            );
            assert_eq!(
                task.headers.get("colour").and_then(HeaderValue::as_text),
                Some("red")
            );
        }
    }

    #[test]
    fn the_page_about_the_wire_format_names_every_header_and_no_other() {
        let page = include_str!("../../../docs/reference/wire-format.md");
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
        let mut named: Vec<&str> = rows.filter_map(|row| row.split('`').next()).collect();
        named.retain(|name| name.contains('-') || name.starts_with("trace"));
        let expected = [
            ATTEMPT,
            ATTEMPTS_MAX,
            TIMEOUT_MS,
            NOT_AFTER_MS,
            FAILED_SINCE,
            PROGRESS,
            TRACEPARENT,
            TRACESTATE,
            DEAD_REASON,
            DEAD_ERROR,
            DEAD_QUEUE,
            DEAD_WORKER,
            DEAD_AT,
            REPLAYED_AT_MS,
            HISTORY,
            OUTCOME,
            OUTCOME_TASK,
            OUTCOME_REASON,
            OUTCOME_ERROR,
        ];
        assert_eq!(named, expected);
    }

    #[test]
    fn what_the_broker_writes_itself_is_never_written_again() {
        let mut task = Task::new("x");
        for name in [
            "x-death",
            "x-first-death-queue",
            "x-last-death-reason",
            "x-delivery-count",
        ] {
            task.headers.set(name, "of the broker".into());
        }
        task.headers.set("x-own", "kept".into());
        let written = write_headers(&task);
        assert_eq!(written.len(), 1);
        assert_eq!(
            written.get("x-own").and_then(HeaderValue::as_text),
            Some("kept")
        );
    }

    #[test]
    fn headers_survive_the_way_out_and_back() {
        let mut task = Task::new("x");
        task.attempt = NonZeroU32::new(3).unwrap();
        task.timeout = Some(Duration::from_millis(1500));
        task.not_after_ms = Some(1_700_000_000_123);
        task.failed_since = Some(1_700_000_000);
        task.wants_progress = true;
        task.trace = Some(TraceContext {
            traceparent: "00-a-b-01".into(),
            tracestate: None,
        });
        task.headers.set("k", HeaderValue::Boolean(true));
        let mut back = Task::with_id(task.id.clone(), "x");
        read_headers(write_headers(&task), &mut back);
        assert_eq!(back, task);
    }
}
