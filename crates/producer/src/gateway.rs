//! The HTTP gateway: tasks come as requests.
//!
//! 202 with the id only after the broker's confirm; 503 with `Retry-After` when the broker cannot
//! take it. Errors are `application/problem+json`. What a client may take of the process is
//! limited: connections, time for head and body, bytes of a body and of all bodies.
//!
//! `routes` comes first; each request passes `trace`, `keys`, then `submit` or `batch`.

mod batch;
mod body;
mod config;
mod keys;
mod media;
mod openapi;
mod parts;
mod problem;
mod submit;
mod trace;

pub use config::GatewayConfig;
pub use keys::KeysError;
pub use openapi::document;

use crate::Client;
use axum::{
    Router,
    http::{Method, StatusCode, Uri},
    middleware,
    routing::{get, post},
};
use body::Bodies;
use keys::{Followed, Keys};
use problem::Problem;
use pumasi_common::{Diagnostic, ErrorCode, Retryability};
use pumasi_service::{
    http::{self, Limits},
    shutdown::Shutdown,
};
use std::net::SocketAddr;
use tokio::task::JoinSet;

/// What every request shares.
#[derive(Clone, Debug)]
struct Gateway {
    client: Client,
    bodies: Bodies,
}

/// The routes. Those before the layers need a key where there are keys. `openapi` documents them.
fn routes(client: Client, config: &GatewayConfig, keys: Keys) -> Router {
    let bodies = Bodies::new(config);
    Router::new()
        .route("/v1/queues/{queue}/tasks", post(submit::to_queue))
        .route("/v1/topics/{topic}", post(submit::to_topic))
        .route("/v1/tasks", post(submit::from_json))
        .route("/v1/tasks/batch", post(batch::submit))
        .route("/v1/tasks/{id}", get(submit::record))
        .route_layer(middleware::from_fn_with_state(keys, keys::authenticated))
        .route_layer(middleware::from_fn(trace::traced))
        .route("/v1/openapi.json", get(openapi::serve))
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .with_state(Gateway { client, bodies })
}

/// Serves until `stop`, then finishes the requests under way.
///
/// # Errors
/// When the address cannot be bound, or the file of keys cannot be used.
pub async fn serve(
    client: Client,
    config: &GatewayConfig,
    stop: Shutdown,
) -> Result<(), GatewayError> {
    let (keys, followed) = Keys::open(config.keys_file.as_ref())?;
    let refuse = |source| GatewayError::Listen {
        address: config.listen,
        source,
    };
    let listener = http::listen(config.listen).map_err(refuse)?;
    let address = listener.local_addr().map_err(refuse)?;
    tracing::info!(%address, "gateway listening");
    let limits = Limits {
        connections_max: config.connections_max,
        head_timeout: config.request_timeout,
        drain_timeout: config.drain_timeout,
    };
    // Ends with this function.
    let mut following = JoinSet::new();
    if let Some(followed) = followed {
        following.spawn(Followed::follow(followed));
    }
    http::serve(listener, routes(client, config, keys), limits, stop).await;
    Ok(())
}

/// Why the gateway cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// Its address cannot be listened on.
    #[error("cannot serve the gateway on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// The system's words.
        source: std::io::Error,
    },
    /// Its file of keys cannot be used.
    #[error(transparent)]
    Keys(#[from] KeysError),
}

impl Diagnostic for GatewayError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Listen { .. } => ErrorCode::ConfigInvalid,
            Self::Keys(error) => error.code(),
        }
    }
    fn retryability(&self) -> Retryability {
        Retryability::Permanent
    }
    fn help(&self) -> Option<String> {
        match self {
            Self::Listen { .. } => Some(
                "give `gateway.listen` an address of this host and a port that is free".to_owned(),
            ),
            Self::Keys(error) => error.help(),
        }
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
