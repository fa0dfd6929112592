//! The worker as a process: from configuration to drain. Shared by `pumasi worker` and
//! `pumasi-worker`.

use crate::{
    config::{HandlerConfig, WorkerConfig},
    error::WorkerError,
    handler::{Handler, Handlers, Rules, builtin, exec, http},
    runtime::Worker,
};
use pumasi_common::{Broker, broker::Health};
use pumasi_service::{health, shutdown::Shutdown};
use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
};
use tokio_util::sync::CancellationToken;

/// The handlers of the configuration; the built-in kinds where it names none. To be asked for
/// before anything is opened or declared.
///
/// # Errors
/// When a handler's program is missing, or the certificates for its service cannot be read.
pub fn handlers(config: &WorkerConfig) -> Result<Handlers, WorkerError> {
    let mut handlers = Handlers::default();
    if config.handlers.is_empty() {
        builtin::add(&mut handlers);
        return Ok(handlers);
    }
    for handler in &config.handlers {
        let performer = performer(handler)?;
        match &handler.kind {
            Some(kind) => handlers.set(kind.clone(), performer),
            None if handler.every_kind => handlers.set_every(performer),
            None => handlers.set_default(performer),
        }
        let rules = Rules {
            timeout: handler.timeout,
            retry: handler.retry,
        };
        handlers.set_rules(handler.kind.as_ref(), rules);
    }
    let has_programs = config.handlers.iter().any(|it| it.http.is_none());
    if has_programs && let Err(error) = exec::lifeline::start() {
        tracing::warn!(%error, "cannot watch over handler programs: they outlive a killed worker");
    }
    Ok(handlers)
}

fn performer(handler: &HandlerConfig) -> Result<Arc<dyn Handler>, WorkerError> {
    Ok(match &handler.http {
        Some(service) => Arc::new(http::Http::new(service)?),
        None => Arc::new(exec::Exec::new(&handler.exec)?),
    })
}

/// Runs a worker with its probes until `stop`, and closes the broker.
///
/// # Errors
/// When a consumer cannot start or the address for probes cannot be listened on.
pub async fn run(
    worker: Worker,
    broker: &Arc<dyn Broker>,
    probes: Option<SocketAddr>,
    stop: Shutdown,
) -> Result<(), WorkerError> {
    let end = CancellationToken::new();
    if let Some(address) = probes {
        let live = worker.live_consumers();
        let broker = Arc::clone(broker);
        let stopping = stop.intake.clone();
        let ready = Arc::new(move || match broker.health() {
            _ if stopping.is_cancelled() => Err("draining".to_owned()),
            Health::Down(problem) => Err(format!("the broker is away: {problem}")),
            Health::Up | Health::Blocked(_) if live.load(Ordering::Relaxed) == 0 => {
                Err("no consumer".to_owned())
            }
            Health::Up | Health::Blocked(_) => Ok(()),
        });
        health::serve(address, ready, end.clone()).await?;
    }
    let result = worker.run(stop).await;
    broker.close().await;
    end.cancel();
    result
}
