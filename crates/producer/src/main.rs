//! `pumasi-producer`: the HTTP gateway service, for containers. Configuration from file and
//! environment.

use pumasi_common::{Broker, ConnectionSettings, QueueSpec, Topology, queue::TopicSpec};
use pumasi_producer::{GatewayConfig, service};
use pumasi_service::{
    config::Loaded,
    flags::Flags,
    health::HealthConfig,
    process,
    shutdown::{self, Shutdown},
    telemetry::{self, TelemetryConfig},
};
use serde::{Deserialize, Serialize};
use std::{process::ExitCode, sync::Arc};

/// Takes tasks over HTTP, until SIGTERM.
///
/// Settings come from the file, then from the environment (`PUMASI__BROKER__URL`, `__` between
/// levels), then from these flags; the later one wins.
#[derive(clap::Parser)]
#[command(name = "pumasi-producer", version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    flags: Flags,
}

/// The sections of `pumasi.toml`; those of other processes are left to them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    broker: ConnectionSettings,
    queues: Vec<QueueSpec>,
    topics: Vec<TopicSpec>,
    gateway: GatewayConfig,
    health: HealthConfig,
    telemetry: TelemetryConfig,
    worker: Option<serde_json::Value>,
}

impl Settings {
    fn topology(&self) -> Topology {
        Topology {
            queues: self.queues.clone(),
            topics: self.topics.clone(),
        }
    }
}

fn main() -> ExitCode {
    match process::parse::<Cli>() {
        Ok(cli) => cli.flags.main(|settings: &Settings| &settings.health, run),
        Err(code) => code,
    }
}

async fn run(loaded: Loaded<Settings>) -> Result<(), process::Fatal> {
    let settings = &loaded.value;
    let mut problems = settings.broker.problems();
    problems.extend(settings.topology().problems());
    problems.extend(settings.gateway.problems());
    loaded.refuse(problems)?;
    let settings = loaded.value;
    let telemetry = telemetry::start(&settings.telemetry, "pumasi-producer")?;
    let stop = shutdown::on_signals();
    // Told to stop before the broker was reached, it ends at once.
    let opening = pumasi_broker::open(&settings.broker);
    if let Some(opened) = stop.intake.clone().run_until_cancelled(opening).await {
        work(&opened?, settings, stop).await?;
    }
    process::finish(telemetry).await;
    Ok(())
}

async fn work(
    broker: &Arc<dyn Broker>,
    settings: Settings,
    stop: Shutdown,
) -> Result<(), process::Fatal> {
    let topology = settings.topology();
    broker.ensure_topology(&topology).await?;
    service::run(broker, &settings.gateway, settings.health.listen, stop).await?;
    Ok(())
}
