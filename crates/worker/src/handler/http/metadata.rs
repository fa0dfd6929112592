//! What a service is told of a task besides its payload, as headers.
//!
//! CloudEvents 1.0, HTTP binding, binary mode: `ce-specversion`, `ce-id`, `ce-source`, `ce-type`,
//! `ce-time`, and `ce-queue` and `ce-attempt` as extensions. A character that a header cannot
//! carry is percent-encoded, as the binding says.

use crate::handler::Context;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use pumasi_common::{TaskKind, telemetry};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use std::time::{Duration, UNIX_EPOCH};

/// The type of a task without a kind; an event must have one.
const NO_KIND: &str = "pumasi.task";

/// What the binding encodes in a header, besides everything that is not ASCII.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// The last second that is written as a time, the end of the year 9999.
const TIME_MAX: u64 = 253_402_300_799;

/// The headers of the request for a task.
pub(super) fn headers(context: &Context) -> HeaderMap {
    let task = &context.task;
    let kind = task.kind.as_ref().map_or(NO_KIND, TaskKind::as_str);
    let mut headers = HeaderMap::new();
    let mut set = |name: &'static str, value: &str| {
        // A value that no header can have is left out: what came in a message ends no run.
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    set("ce-specversion", "1.0");
    set("ce-id", &encoded(task.id.as_str()));
    set("ce-type", &encoded(kind));
    set(
        "ce-source",
        &format!("/queues/{}", encoded(context.queue.as_str())),
    );
    set("ce-queue", &encoded(context.queue.as_str()));
    set("ce-attempt", &context.attempt().to_string());
    if let Some(at) = task.submitted_at.filter(|at| *at <= TIME_MAX) {
        let at = UNIX_EPOCH + Duration::from_secs(at);
        set(
            "ce-time",
            &humantime::format_rfc3339_seconds(at).to_string(),
        );
    }
    if let Some(trace) = &context.trace {
        set(telemetry::TRACEPARENT, &trace.traceparent);
        if let Some(state) = &trace.tracestate {
            set(telemetry::TRACESTATE, state);
        }
    }
    if let Some(content_type) = &task.content_type {
        set("content-type", content_type);
    }
    headers
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}
