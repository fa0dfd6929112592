//! The gateway as a process: from an open broker to drain. Shared by `pumasi gateway` and
//! `pumasi-producer`.

use crate::{
    Client, GatewayConfig,
    gateway::{self, GatewayError},
};
use pumasi_common::{Broker, Diagnostic, ErrorCode, Retryability, broker::Health};
use pumasi_service::{health, shutdown::Shutdown};
use std::{net::SocketAddr, sync::Arc};
use tokio_util::sync::CancellationToken;

/// Why the gateway cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The gateway cannot serve.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    /// The address for probes cannot be listened on.
    #[error(transparent)]
    Health(#[from] health::ListenError),
}

impl Diagnostic for ServiceError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Gateway(error) => error.code(),
            Self::Health(error) => error.code(),
        }
    }
    fn retryability(&self) -> Retryability {
        Retryability::Permanent
    }
    fn help(&self) -> Option<String> {
        match self {
            Self::Gateway(error) => error.help(),
            Self::Health(error) => error.help(),
        }
    }
}

/// Serves the gateway with its probes until `stop`, answers what is under way, closes the broker.
///
/// # Errors
/// When an address cannot be listened on.
pub async fn run(
    broker: &Arc<dyn Broker>,
    config: &GatewayConfig,
    probes: Option<SocketAddr>,
    stop: Shutdown,
) -> Result<(), ServiceError> {
    let end = CancellationToken::new();
    if let Some(address) = probes {
        let ready = readiness(Arc::clone(broker), stop.intake.clone());
        health::serve(address, ready, end.clone()).await?;
    }
    let served = gateway::serve(Client::new(Arc::clone(broker)), config, stop).await;
    broker.close().await;
    end.cancel();
    Ok(served?)
}

/// Ready while the broker takes tasks and the process does not stop.
fn readiness(broker: Arc<dyn Broker>, stop: CancellationToken) -> health::Ready {
    Arc::new(move || match broker.health() {
        _ if stop.is_cancelled() => Err("draining".to_owned()),
        Health::Up => Ok(()),
        Health::Blocked(problem) => Err(format!("the broker takes no tasks: {problem}")),
        Health::Down(problem) => Err(format!("the broker is away: {problem}")),
    })
}
