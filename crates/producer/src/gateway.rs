//! The HTTP gateway: tasks come as requests.
//!
//! 202 with the id only after the broker's confirm; 503 with `Retry-After` when the broker cannot
//! take it. Errors are `application/problem+json`. What a client may take of the process is
//! limited: connections, time for head and body, bytes of a body and of all bodies.
//!
//! See [`routes`] first; each request passes `trace`, then `submit`.

mod batch;
mod body;
mod config;
mod media;
mod parts;
mod problem;
mod submit;
mod trace;

pub use config::GatewayConfig;

use crate::Client;
use axum::{
    Router,
    http::{Method, StatusCode, Uri},
    middleware,
    routing::{get, post},
};
use body::Bodies;
use problem::Problem;
use pumasi_common::{Diagnostic, ErrorCode, Retryability};
use pumasi_service::{
    http::{self, Limits},
    shutdown::Shutdown,
};
use std::net::SocketAddr;

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
        .route("/v1/queues/{queue}/tasks", post(submit::to_queue))
        .route("/v1/topics/{topic}", post(submit::to_topic))
        .route("/v1/tasks", post(submit::from_json))
        .route("/v1/tasks/batch", post(batch::submit))
        .route("/v1/tasks/{id}", get(submit::record))
        .route_layer(middleware::from_fn(trace::traced))
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
