//! How traces pass through a broker: the spans of the messaging conventions, and contexts on
//! their way from span to task and back.

use opentelemetry::{
    Context, global,
    propagation::{Extractor, Injector},
    trace::TraceContextExt as _,
};
use pumasi_common::{
    Destination, Publication, Settlement,
    broker::Delivery,
    task::TraceContext,
    telemetry::{TRACEPARENT, TRACESTATE},
};
use tracing::{Span, field::Empty, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Whether this process propagates traces. Where it does not, nothing is paid for them.
#[must_use]
pub fn is_on() -> bool {
    // The propagator that stands in when none was set writes no fields.
    global::get_text_map_propagator(|it| it.fields().next().is_some())
}

/// The context of the span as a task's headers; `None` where the span is not traced.
#[must_use]
pub fn context_of(span: &Span) -> Option<TraceContext> {
    if span.is_disabled() {
        return None;
    }
    let mut headers = Headers::default();
    global::get_text_map_propagator(|it| it.inject_context(&span.context(), &mut headers));
    Some(TraceContext {
        traceparent: headers.traceparent?,
        tracestate: headers.tracestate.filter(|state| !state.is_empty()),
    })
}

/// Makes the span a child of a context that came from elsewhere.
pub fn continue_from(span: &Span, parent: &TraceContext) {
    // A span that was started is not moved; that costs a line in a trace and nothing else.
    let _ = span.set_parent(remote(parent));
}

/// Links the span to a context that came from elsewhere.
pub(crate) fn link(span: &Span, other: &TraceContext) {
    span.add_link(remote(other).span().span_context().clone());
}

fn remote(context: &TraceContext) -> Context {
    // Without a current span underneath: what is malformed leads nowhere.
    global::get_text_map_propagator(|it| {
        it.extract_with_context(&Context::new(), &Carried(context))
    })
}

/// The span of one publish.
pub(crate) fn publish_span(publication: &Publication, system: &'static str) -> Span {
    let destination = match &publication.destination {
        Destination::Queue(name) => name.as_str(),
        Destination::Topic(name) => name.as_str(),
        Destination::Reply(name) => name.as_str(),
    };
    info_span!(
        "publish",
        otel.name = format!("publish {destination}"),
        otel.kind = "producer",
        otel.status_code = Empty,
        error.r#type = Empty,
        messaging.system = system,
        messaging.operation.name = "publish",
        messaging.operation.r#type = "send",
        messaging.destination.name = destination,
        messaging.message.id = %publication.task.id,
        messaging.message.body.size = publication.task.payload.len(),
    )
}

/// The span of one run of a handler, up to its settlement: a child of the task's creation, and
/// linked to it.
#[must_use]
pub fn process_span(delivery: &Delivery, system: &'static str) -> Span {
    let (task, queue) = (delivery.task(), delivery.queue().as_str());
    let span = info_span!(
        "process",
        otel.name = format!("process {queue}"),
        otel.kind = "consumer",
        otel.status_code = Empty,
        error.r#type = Empty,
        messaging.system = system,
        messaging.operation.name = "process",
        messaging.operation.r#type = "process",
        messaging.destination.name = queue,
        messaging.message.id = %task.id,
        messaging.message.body.size = task.payload.len(),
    );
    if let Some(creation) = &task.trace {
        continue_from(&span, creation);
        link(&span, creation);
    }
    span
}

/// The span in which a delivery is settled; a child of the current one.
#[must_use]
pub fn settle_span(delivery: &Delivery, settlement: &Settlement, system: &'static str) -> Span {
    let queue = delivery.queue().as_str();
    let (name, word) = match settlement {
        Settlement::Ack => ("ack", "ack"),
        Settlement::Release => ("nack", "release"),
        Settlement::Retry(_) => ("ack", "retry"),
        Settlement::DeadLetter(_) => ("nack", "dead-letter"),
    };
    info_span!(
        "settle",
        otel.name = format!("{name} {queue}"),
        otel.kind = "client",
        messaging.system = system,
        messaging.operation.name = name,
        messaging.operation.r#type = "settle",
        messaging.destination.name = queue,
        messaging.message.id = %delivery.task().id,
        pumasi.settlement = word,
    )
}

/// What a propagator writes: only the two headers that tasks carry are kept.
#[derive(Default)]
struct Headers {
    traceparent: Option<String>,
    tracestate: Option<String>,
}

impl Injector for Headers {
    fn set(&mut self, key: &str, value: String) {
        match key {
            TRACEPARENT => self.traceparent = Some(value),
            TRACESTATE => self.tracestate = Some(value),
            _ => {}
        }
    }
}

/// What a propagator reads. A type of its own: neither the trait nor the context is ours.
struct Carried<'a>(&'a TraceContext);

impl Extractor for Carried<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            TRACEPARENT => Some(&self.0.traceparent),
            TRACESTATE => self.0.tracestate.as_deref(),
            _ => None,
        }
    }
    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT, TRACESTATE]
    }
}
