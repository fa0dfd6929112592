//! `pumasi-producer`: the HTTP gateway service, for containers. Configuration from file and
//! environment.

use pumasi_common::{Broker, ConnectionSettings, QueueSpec, Topology, queue::TopicSpec};
use pumasi_producer::{GatewayConfig, service};
use pumasi_service::{
    config::{self, ConfigError, Layers, Loaded},
    health::{HealthConfig, Probe, check::check},
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
    /// Only ask the process that runs with the same settings how it is, at health.listen; exit
    /// status 0 for yes, 1 for no or no answer
    #[arg(
        long,
        value_name = "PROBE",
        value_enum,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "ready"
    )]
    check: Option<Probe>,
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
    let cli: Cli = match process::parse() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    match (load(&cli), cli.check) {
        (Ok(loaded), Some(probe)) => check(&loaded.value.health, probe),
        (Ok(loaded), None) => process::main_with(run(loaded)),
        (Err(error), _) => process::Fatal::from(error).report(),
    }
}

fn load(cli: &Cli) -> Result<Loaded<Settings>, ConfigError> {
    let url = cli.broker.clone();
    config::load(&Layers {
        file: cli.config.clone(),
        overrides: url
            .map(|url| ("broker.url".to_owned(), url))
            .into_iter()
            .collect(),
        ..Layers::default()
    })
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
