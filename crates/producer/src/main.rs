//! `pumasi-producer`: the HTTP gateway service, for containers. Configuration from file and
//! environment.

use pumasi_common::{Broker, ConnectionSettings, QueueSpec, Topology, queue::TopicSpec};
use pumasi_producer::{GatewayConfig, service};
use pumasi_service::{
    config::{self, Layers},
    health::HealthConfig,
    process,
    shutdown::{self, Shutdown},
    telemetry::{self, TelemetryConfig},
};
use serde::{Deserialize, Serialize};
use std::{path::PathBuf, process::ExitCode, sync::Arc};

/// Takes tasks over HTTP, until SIGTERM.
///
/// Settings come from the file, then from the environment (`PUMASI__BROKER__URL`, `__` between
/// levels), then from these flags; the later one wins.
#[derive(clap::Parser)]
#[command(name = "pumasi-producer", version, max_term_width = 100)]
struct Cli {
    /// Configuration file (default: pumasi.toml, else /etc/pumasi/pumasi.toml, where they exist)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Broker URL: amqp://user@host:5672/vhost, amqps://…, or sqlite:PATH. There is no default
    #[arg(long, value_name = "URL")]
    broker: Option<String>,
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
    match process::parse() {
        Ok(cli) => process::main_with(run(cli)),
        Err(code) => code,
    }
}

async fn run(cli: Cli) -> Result<(), process::Fatal> {
    let overrides = cli
        .broker
        .map(|url| ("broker.url".to_owned(), url))
        .into_iter()
        .collect();
    let loaded = config::load::<Settings>(&Layers {
        file: cli.config,
        overrides,
        ..Layers::default()
    })?;
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
