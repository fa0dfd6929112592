//! Answers the probes of whoever runs the process: `/healthz` and `/readyz`.

pub mod check;

pub use check::Probe;

use crate::{
    http::{self, Limits},
    shutdown::Shutdown,
};
use axum::{Router, extract::State, http::StatusCode, routing::get};
use pumasi_common::{Diagnostic, ErrorCode, Retryability};
use serde::{Deserialize, Serialize};
use std::{io, net::SocketAddr, num::NonZeroU16, sync::Arc, time::Duration};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// A probe is one small request; few are ever open at once.
const LIMITS: Limits = Limits {
    connections_max: const { NonZeroU16::new(64).unwrap() },
    head_timeout: Duration::from_secs(10),
    drain_timeout: Duration::from_secs(1),
};

/// Says whether the process is ready; the text says why not. Called per probe; must not block.
pub type Ready = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Where probes are answered: the `[health]` section of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HealthConfig {
    /// Address and port, like `0.0.0.0:8081`; port 0 takes a free one. Default: none, no server.
    pub listen: Option<SocketAddr>,
}

/// The address for probes cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for health probes")]
pub struct ListenError {
    /// Where.
    pub address: SocketAddr,
    /// The system's words.
    pub source: io::Error,
}

impl Diagnostic for ListenError {
    fn code(&self) -> ErrorCode {
        ErrorCode::ConfigInvalid
    }
    fn retryability(&self) -> Retryability {
        Retryability::Permanent
    }
    fn help(&self) -> Option<String> {
        Some("give `health.listen` an address of this host and a port that is free".to_owned())
    }
}

/// Listens and serves until `stop` is cancelled. Gives the address in force and the server's task,
/// which ends at most one second after `stop`.
///
/// `/healthz` is 200 while the process lives; `/readyz` is 200 or 503 with the reason. Stop it last:
/// a process that drains is alive and not ready, and must be able to say so.
///
/// # Errors
/// [`ListenError`] when the address cannot be listened on.
///
/// # Cancel safety
/// Cancel safe: until it returns, nothing has been started.
pub async fn serve(
    address: SocketAddr,
    ready: Ready,
    stop: CancellationToken,
) -> Result<(SocketAddr, JoinHandle<()>), ListenError> {
    let refuse = |source| ListenError { address, source };
    let listener = TcpListener::bind(address).await.map_err(refuse)?;
    let bound = listener.local_addr().map_err(refuse)?;
    tracing::info!(address = %bound, "health listening");
    let stop = Shutdown {
        intake: stop,
        abort: CancellationToken::new(),
    };
    let server = http::serve(listener, router(ready), LIMITS, stop);
    Ok((bound, tokio::spawn(server)))
}

fn router(ready: Ready) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readiness))
        .with_state(ready)
}

async fn readiness(State(ready): State<Ready>) -> (StatusCode, String) {
    match ready() {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    async fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn probes_are_answered_until_the_server_is_stopped() {
        let up = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&up);
        let ready: Ready = Arc::new(move || {
            if seen.load(Ordering::SeqCst) {
                Ok(())
            } else {
                Err("the broker is down".to_owned())
            }
        });
        let stop = CancellationToken::new();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (address, server) = serve(any, ready, stop.clone()).await.unwrap();

        assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200"));
        let answer = get(address, "/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(answer.contains("the broker is down"), "{answer}");
        up.store(true, Ordering::SeqCst);
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
        assert!(get(address, "/other").await.starts_with("HTTP/1.1 404"));

        let _idle = TcpStream::connect(address).await.unwrap();
        stop.cancel();
        tokio::time::timeout(Duration::from_secs(5), server)
            .await
            .unwrap()
            .unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn an_address_in_use_is_named_in_the_error() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = taken.local_addr().unwrap();
        let error = serve(address, Arc::new(|| Ok(())), CancellationToken::new())
            .await
            .unwrap_err();
        assert!(error.to_string().contains(&address.to_string()));
        assert_eq!(error.code(), ErrorCode::ConfigInvalid);
    }
}
