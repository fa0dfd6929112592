//! `pumasi-producer`: the HTTP gateway service, for containers. Configuration from file and
//! environment.

use pumasi_common::{ConnectionSettings, QueueSpec, Topology, broker::Health, queue::TopicSpec};
use pumasi_producer::{Client, GatewayConfig, gateway};
use pumasi_service::{
    config::{self, Layers},
    health::{self, HealthConfig},
    process, shutdown,
    telemetry::{self, TelemetryConfig},
};
use serde::{Deserialize, Serialize};
use std::{path::PathBuf, process::ExitCode, sync::Arc};

/// Takes tasks over HTTP, until SIGTERM.
#[derive(clap::Parser)]
#[command(name = "pumasi-producer", version)]
struct Cli {
    /// Configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Broker URL; there is no default
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

fn main() -> ExitCode {
    process::main_with(run(<Cli as clap::Parser>::parse()))
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
    loaded.refuse(loaded.value.broker.problems())?;
    let settings = loaded.value;
    let telemetry = telemetry::start(&settings.telemetry, "pumasi-producer")?;
    let stop = shutdown::on_signals();
    let broker = pumasi_broker::open(&settings.broker).await?;
    let topology = Topology {
        queues: settings.queues,
        topics: settings.topics,
    };
    broker.ensure_topology(&topology).await?;
    if let Some(address) = settings.health.listen {
        let watched = Arc::clone(&broker);
        let ready = Arc::new(move || match watched.health() {
            Health::Up => Ok(()),
            Health::Blocked(problem) => Err(format!("the broker takes no tasks: {problem}")),
            Health::Down(problem) => Err(format!("the broker is away: {problem}")),
        });
        health::serve(address, ready, stop.intake.clone()).await?;
    }
    gateway::serve(
        Client::new(Arc::clone(&broker)),
        &settings.gateway,
        stop.intake,
    )
    .await?;
    broker.close().await;
    process::finish(telemetry).await;
    Ok(())
}
