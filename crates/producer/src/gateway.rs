//! The HTTP gateway: `POST /v1/queues/{queue}/tasks?kind=` with any body.
//!
//! 202 with the id only after the broker's confirm; 503 with `Retry-After` when the broker cannot
//! take it. Errors are `application/problem+json`.

mod problem;

use crate::{Client, submit::Request};
use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use problem::Problem;
use pumasi_common::{
    Diagnostic, ErrorCode, PublishOutcome, QueueName, Retryability, TaskId, TaskKind,
    task::TraceContext, telemetry,
};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use tokio_util::sync::CancellationToken;

/// The `[gateway]` section of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatewayConfig {
    /// Where it listens. Default `127.0.0.1:8080`.
    pub listen: SocketAddr,
    /// The largest request body. Default 8 MiB.
    #[serde(with = "pumasi_common::field::size")]
    pub body_bytes_max: usize,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            body_bytes_max: 8 * 1024 * 1024,
        }
    }
}

/// What the query of a submit may hold.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SubmitQuery {
    kind: Option<TaskKind>,
    id: Option<TaskId>,
}

/// The answer to an accepted submit.
#[derive(Debug, Serialize)]
struct Accepted<'a> {
    id: &'a TaskId,
}

/// The gateway's routes.
pub fn routes(client: Client, config: &GatewayConfig) -> Router {
    Router::new()
        .route("/v1/queues/{queue}/tasks", post(submit))
        .layer(DefaultBodyLimit::max(config.body_bytes_max))
        .with_state(client)
}

/// Serves until `stop` is cancelled, then finishes the requests under way.
///
/// # Errors
/// When the address cannot be bound or the server fails.
pub async fn serve(
    client: Client,
    config: &GatewayConfig,
    stop: CancellationToken,
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
    axum::serve(listener, routes(client, config))
        .with_graceful_shutdown(async move { stop.cancelled().await })
        .await
        .map_err(refuse)
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

async fn submit(
    State(client): State<Client>,
    Path(queue): Path<String>,
    query: Result<Query<SubmitQuery>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Response {
    match try_submit(&client, &queue, query, &headers, body).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}

async fn try_submit(
    client: &Client,
    queue: &str,
    query: Result<Query<SubmitQuery>, axum::extract::rejection::QueryRejection>,
    headers: &HeaderMap,
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Result<Response, Problem> {
    let queue = QueueName::new(queue).map_err(|error| Problem::of(&error))?;
    let Query(query) =
        query.map_err(|error| Problem::request(error.status(), error.body_text()))?;
    let payload = body.map_err(|error| Problem::request(error.status(), error.body_text()))?;
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    let request = Request {
        payload,
        content_type: text(header::CONTENT_TYPE.as_str()),
        kind: query.kind,
        id: query.id,
        ..Request::default()
    };
    let mut publication = request
        .to_queue(&queue)
        .map_err(|error| Problem::of(&error))?;
    publication.task.trace = text(telemetry::TRACEPARENT).map(|traceparent| TraceContext {
        traceparent,
        tracestate: text(telemetry::TRACESTATE),
    });
    match client.submit(publication).await {
        PublishOutcome::Accepted(id) => {
            Ok((StatusCode::ACCEPTED, Json(Accepted { id: &id })).into_response())
        }
        PublishOutcome::Refused(id, refusal) => Err(Problem::of(&refusal).about(&id)),
        PublishOutcome::Unknown(id, why) => Err(Problem::of(&why).about(&id)),
    }
}
