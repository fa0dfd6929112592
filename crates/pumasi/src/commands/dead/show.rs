//! `pumasi dead show`: all of one dead letter.

use super::{
    Letters, Session,
    list::{death, line},
    missing,
};
use crate::{
    commands::one_line,
    failure::{self, Failure},
    say::{print, print_json},
};
use pumasi_common::{
    QueueName, TaskId,
    dead::{DeadLetterView, Death},
    task::{HeaderValue, Headers},
};
use serde_json::{Map, Value};
use std::{
    io::Write,
    process::ExitCode,
    time::{Duration, UNIX_EPOCH},
};

pub(super) async fn run(
    session: &Session,
    queue: &QueueName,
    id: &TaskId,
    payload: bool,
) -> Result<ExitCode, Failure> {
    let mut letters = Letters::open(session, queue).await?;
    let mut found = None;
    while let Some(delivery) = letters.next().await {
        if delivery.task().id == *id {
            found = Some(std::sync::Arc::clone(delivery.task()));
            break;
        }
    }
    let dead = letters.dead.clone();
    let closed = letters.close().await;
    let Some(task) = found else {
        closed?;
        return Ok(missing(&format!("the task `{id}`"), &dead));
    };
    if payload {
        let mut out = std::io::stdout().lock();
        out.write_all(&task.payload)
            .and_then(|()| out.flush())
            .map_err(|error| failure::internal("cannot write the payload", error))?;
        return Ok(ExitCode::SUCCESS);
    }
    let letter = DeadLetterView::of(&task);
    if session.global.json {
        let mut shown = line(&letter);
        if let Some(shown) = shown.as_object_mut() {
            let replayed_at = letter.replayed_at_ms.map(|ms| ms / 1000);
            shown.insert("replayed_at".to_owned(), replayed_at.into());
            shown.insert("headers".to_owned(), table(&letter.headers));
            let history = letter.history.iter().map(death).collect();
            shown.insert("history".to_owned(), Value::Array(history));
        }
        print_json(&shown);
    } else {
        tell(&letter);
    }
    Ok(ExitCode::SUCCESS)
}

fn tell(letter: &DeadLetterView) {
    let row = |name: &str, value: &str| print(format_args!("{name:<13} {value}"));
    let optional = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            row(name, &one_line(&value));
        }
    };
    row("id", &letter.id.to_string());
    optional("kind", letter.kind.as_ref().map(ToString::to_string));
    optional("queue", letter.queue.as_ref().map(ToString::to_string));
    let Death {
        at,
        reason,
        error,
        attempts,
        worker,
    } = &letter.death;
    row(
        "reason",
        reason.map_or("not told", pumasi_common::DeadReason::as_str),
    );
    optional("error", Some(error.clone()).filter(|it| !it.is_empty()));
    row("attempts", &attempts.to_string());
    optional("submitted", letter.submitted_at.map(time));
    optional("failed since", letter.failed_since.map(time));
    optional("dead since", at.map(time));
    optional("worker", worker.clone());
    optional("replayed", letter.replayed_at_ms.map(|ms| time(ms / 1000)));
    row("payload", &format!("{} bytes", letter.payload_bytes));
    optional("content type", letter.content_type.clone());
    for (name, value) in letter.headers.iter() {
        let text = value.as_text().map(str::to_owned);
        let value = text.unwrap_or_else(|| plain(value).to_string());
        row("header", &one_line(&format!("{name}={value}")));
    }
    for death in &letter.history {
        let when = death.at.map_or_else(|| "?".to_owned(), time);
        let why = death.reason.map_or("?", pumasi_common::DeadReason::as_str);
        let error = one_line(&death.error);
        let attempts = death.attempts;
        row(
            "before",
            &format!("{when} {why} after {attempts} attempts: {error}"),
        );
    }
}

/// A time as `2026-12-24T09:00:00Z`; one that no calendar has, as seconds.
fn time(seconds: u64) -> String {
    /// The last second of the year 9999.
    const LAST: u64 = 253_402_300_799;
    if seconds > LAST {
        return seconds.to_string();
    }
    let time = UNIX_EPOCH + Duration::from_secs(seconds);
    humantime::format_rfc3339_seconds(time).to_string()
}

fn table(headers: &Headers) -> Value {
    let members = headers
        .iter()
        .map(|(name, value)| (name.to_owned(), plain(value)));
    Value::Object(members.collect::<Map<_, _>>())
}

/// A header's value as JSON has it; bytes as the text that they nearly are.
fn plain(value: &HeaderValue) -> Value {
    match value {
        HeaderValue::Null => Value::Null,
        HeaderValue::Boolean(it) => (*it).into(),
        HeaderValue::Integer(it) => (*it).into(),
        HeaderValue::Float(it) => (*it).into(),
        HeaderValue::Text(it) => it.as_str().into(),
        HeaderValue::Bytes(it) => String::from_utf8_lossy(it).into(),
        HeaderValue::Timestamp(it) => (*it).into(),
        HeaderValue::List(all) => all.iter().map(plain).collect(),
        HeaderValue::Table(all) => table(all),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_is_a_time() {
        assert_eq!(time(1_798_102_800), "2026-12-24T09:00:00Z");
        assert_eq!(time(0), "1970-01-01T00:00:00Z");
        assert_eq!(time(u64::MAX), u64::MAX.to_string());
    }
}
