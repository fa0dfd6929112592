//! The HTTP gateway: `POST /v1/queues/{queue}/tasks?kind=` with any body; the query may also hold
//! `id`, `delay` or `at`, `expires`, `timeout`, `priority` and `attempts`.
//!
//! 202 with the id only after the broker's confirm; 503 with `Retry-After` when the broker cannot
//! take it. Errors are `application/problem+json`. What a client may take of the process is
//! limited: connections, time for head and body, bytes of a body and of all bodies.

mod body;
mod config;
mod problem;

pub use config::GatewayConfig;

use crate::{
    Client,
    start::{self, Start},
    submit::Request,
};
use axum::{
    Json, Router,
    extract::{
        Path, Query, Request as HttpRequest, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::post,
};
use body::{Bodies, Held};
use problem::Problem;
use pumasi_broker::trace;
use pumasi_common::{
    Diagnostic, ErrorCode, PublishOutcome, QueueName, Retryability, TaskId, TaskKind,
    broker::Publication, field, task::TraceContext, telemetry,
};
use pumasi_service::{
    http::{self, Limits},
    shutdown::Shutdown,
};
use serde::{Deserialize, Serialize};
use std::{net::SocketAddr, num::NonZeroU32, time::Duration};
use tracing::{Instrument as _, Span, field::Empty, info_span};

/// The route of a submit, as it is matched and as traces name it.
const SUBMIT: &str = "/v1/queues/{queue}/tasks";

/// What the query of a submit may hold.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SubmitQuery {
    kind: Option<TaskKind>,
    id: Option<TaskId>,
    delay: Option<String>,
    at: Option<String>,
    #[serde(default, with = "field::duration_option")]
    expires: Option<Duration>,
    #[serde(default, with = "field::duration_option")]
    timeout: Option<Duration>,
    priority: Option<u8>,
    attempts: Option<NonZeroU32>,
}

/// The answer to an accepted submit.
#[derive(Debug, Serialize)]
struct Accepted<'a> {
    id: &'a TaskId,
}

/// What every request shares.
#[derive(Clone, Debug)]
struct Gateway {
    client: Client,
    bodies: Bodies,
}

/// The gateway's routes.
pub fn routes(client: Client, config: &GatewayConfig) -> Router {
    let bodies = Bodies::new(config);
    Router::new()
        .route(SUBMIT, post(submit))
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .with_state(Gateway { client, bodies })
}

/// Serves until `stop`, then finishes the requests under way.
///
/// # Errors
/// When the address cannot be bound.
pub async fn serve(
    client: Client,
    config: &GatewayConfig,
    stop: Shutdown,
) -> Result<(), ListenError> {
    let refuse = |source| ListenError {
        address: config.listen,
        source,
    };
    let listener = tokio::net::TcpListener::bind(config.listen)
        .await
        .map_err(refuse)?;
    let address = listener.local_addr().map_err(refuse)?;
    tracing::info!(%address, "gateway listening");
    let limits = Limits {
        connections_max: config.connections_max,
        head_timeout: config.request_timeout,
        drain_timeout: config.drain_timeout,
    };
    http::serve(listener, routes(client, config), limits, stop).await;
    Ok(())
}

/// The gateway's address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve the gateway on {address}")]
pub struct ListenError {
    /// Where.
    pub address: SocketAddr,
    /// The system's words.
    pub source: std::io::Error,
}

impl Diagnostic for ListenError {
    fn code(&self) -> ErrorCode {
        ErrorCode::ConfigInvalid
    }
    fn retryability(&self) -> Retryability {
        Retryability::Permanent
    }
    fn help(&self) -> Option<String> {
        Some("give `gateway.listen` an address of this host and a port that is free".to_owned())
    }
}

async fn unknown_path(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(256).collect();
    Problem::request(
        StatusCode::NOT_FOUND,
        format!("nothing is served at {path}"),
    )
}

async fn unknown_method(method: Method) -> Problem {
    let title = format!("{method} is not served here");
    Problem::request(StatusCode::METHOD_NOT_ALLOWED, title)
}

async fn submit(
    State(gateway): State<Gateway>,
    queue: Result<Path<String>, PathRejection>,
    query: Result<Query<SubmitQuery>, QueryRejection>,
    request: HttpRequest,
) -> Response {
    let trace = trace_of(request.headers());
    let span = request_span(trace.as_ref());
    let seen = span.clone();
    async move {
        let answer = match accept(&gateway, queue, query, request).await {
            Ok((publication, held)) => publish(&gateway.client, publication, trace, held).await,
            Err(problem) => Err(problem),
        };
        let response = answer.unwrap_or_else(IntoResponse::into_response);
        record(&seen, response.status());
        response
    }
    .instrument(span)
    .await
}

/// Reads and checks a submit; gives the room its body takes beside it.
async fn accept(
    gateway: &Gateway,
    queue: Result<Path<String>, PathRejection>,
    query: Result<Query<SubmitQuery>, QueryRejection>,
    request: HttpRequest,
) -> Result<(Publication, Held), Problem> {
    let Path(queue) =
        queue.map_err(|error| Problem::argument(error.status(), error.body_text()))?;
    let queue = QueueName::new(&queue).map_err(|error| Problem::of(&error))?;
    let Query(query) =
        query.map_err(|error| Problem::argument(error.status(), error.body_text()))?;
    let (delay, at) = (query.delay.as_deref(), query.at.as_deref());
    // The caller's clock may be in any time zone: its time has to say its offset.
    let start = Start::of_texts(delay, at, start::instant)
        .map_err(|problem| Problem::argument(StatusCode::BAD_REQUEST, problem))?;
    let content_type = text(request.headers(), header::CONTENT_TYPE.as_str());
    let (payload, held) = gateway.bodies.read(request.into_body()).await?;
    let request = Request {
        payload,
        content_type,
        kind: query.kind,
        id: query.id,
        start,
        expires: query.expires,
        timeout: query.timeout,
        priority: query.priority,
        attempts_max: query.attempts,
        headers: Vec::new(),
    };
    let publication = request
        .to_queue(&queue)
        .map_err(|error| Problem::of(&error))?;
    Ok((publication, held))
}

async fn publish(
    client: &Client,
    mut publication: Publication,
    trace: Option<TraceContext>,
    held: Held,
) -> Result<Response, Problem> {
    if !trace::is_on() {
        // No span of ours stands between the caller's and the worker's.
        publication.task.trace = trace;
    }
    let outcome = client.submit(publication).await;
    drop(held);
    match outcome {
        PublishOutcome::Accepted(id) => {
            Ok((StatusCode::ACCEPTED, Json(Accepted { id: &id })).into_response())
        }
        PublishOutcome::Refused(id, refusal) => Err(Problem::of(&refusal).about(&id)),
        PublishOutcome::Unknown(id, why) => Err(Problem::of(&why).about(&id)),
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?;
    Some(value.to_owned())
}

/// The caller's context, where it is one.
fn trace_of(headers: &HeaderMap) -> Option<TraceContext> {
    let traceparent = text(headers, telemetry::TRACEPARENT)?;
    TraceContext::parse(traceparent, text(headers, telemetry::TRACESTATE))
}

/// The span of one request, in the caller's trace; none where traces are off.
fn request_span(caller: Option<&TraceContext>) -> Span {
    if !trace::is_on() {
        return Span::none();
    }
    let span = info_span!(
        "request",
        otel.name = format!("POST {SUBMIT}"),
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = "POST",
        http.route = SUBMIT,
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
