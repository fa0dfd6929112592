//! A span per request, in its caller's trace.

use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderMap, StatusCode},
    middleware::Next,
    response::Response,
};
use pumasi_broker::trace;
use pumasi_common::{Publication, task::TraceContext, telemetry};
use tracing::{Instrument as _, Span, field::Empty, info_span};

/// What a request's tasks carry on.
#[derive(Clone, Debug, Default)]
pub(super) struct Origin(Option<TraceContext>);

impl Origin {
    /// Gives a task the caller's context, unless a span of ours stands between the caller's and the
    /// worker's.
    pub(super) fn mark(&self, publication: &mut Publication) {
        if !trace::is_on() {
            publication.task.trace.clone_from(&self.0);
        }
    }
}

/// Runs one request in its span; its handler finds the [`Origin`] among the extensions.
pub(super) async fn traced(route: MatchedPath, mut request: Request, next: Next) -> Response {
    let caller = context_of(request.headers());
    let span = request_span(&request, route.as_str(), caller.as_ref());
    request.extensions_mut().insert(Origin(caller));
    let response = next.run(request).instrument(span.clone()).await;
    record(&span, response.status());
    response
}

/// The caller's context, where it is one.
fn context_of(headers: &HeaderMap) -> Option<TraceContext> {
    let text = |name| Some(headers.get(name)?.to_str().ok()?.to_owned());
    TraceContext::parse(text(telemetry::TRACEPARENT)?, text(telemetry::TRACESTATE))
}

/// The span of one request; none where traces are off.
fn request_span(request: &Request, route: &str, caller: Option<&TraceContext>) -> Span {
    if !trace::is_on() {
        return Span::none();
    }
    let method = request.method().as_str();
    let span = info_span!(
        "request",
        otel.name = format!("{method} {route}"),
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = method,
        http.route = route,
        http.response.status_code = Empty,
    );
    if let Some(caller) = caller {
        trace::continue_from(&span, caller);
    }
    span
}

fn record(span: &Span, status: StatusCode) {
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
}
