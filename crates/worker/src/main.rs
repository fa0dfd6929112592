//! `pumasi-worker`: the worker service, for containers. Configuration from file and environment.

use pumasi_common::{Broker, ConnectionSettings, QueueSpec, Topology, queue::TopicSpec};
use pumasi_service::{
    config::Loaded,
    flags::Flags,
    health::HealthConfig,
    process,
    shutdown::{self, Shutdown},
    telemetry::{self, TelemetryConfig},
};
use pumasi_worker::{Handlers, Worker, WorkerConfig, handler::exec::lifeline, service};
use serde::{Deserialize, Serialize};
use std::{process::ExitCode, sync::Arc};

/// Consumes queues and runs handlers, until SIGTERM.
///
/// Settings come from the file, then from the environment (`PUMASI__BROKER__URL`, `__` between
/// levels), then from these flags; the later one wins.
#[derive(clap::Parser)]
#[command(name = "pumasi-worker", version, max_term_width = 100)]
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
    worker: WorkerConfig,
    health: HealthConfig,
    telemetry: TelemetryConfig,
    gateway: Option<serde_json::Value>,
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
    if let Some(code) = lifeline::run_if_asked() {
        return code;
    }
    match process::parse::<Cli>() {
        Ok(cli) => cli.flags.main(|settings: &Settings| &settings.health, run),
        Err(code) => code,
    }
}

async fn run(loaded: Loaded<Settings>) -> Result<(), process::Fatal> {
    let settings = &loaded.value;
    let mut problems = settings.broker.problems();
    problems.extend(settings.topology().problems());
    problems.extend(settings.worker.problems());
    loaded.refuse(problems)?;
    let settings = loaded.value;
    let handlers = service::handlers(&settings.worker)?;
    let telemetry = telemetry::start(&settings.telemetry, "pumasi-worker")?;
    let stop = shutdown::on_signals();
    // Told to stop before the broker was reached, it ends at once.
    let opening = pumasi_broker::open(&settings.broker);
    if let Some(opened) = stop.intake.clone().run_until_cancelled(opening).await {
        work(&opened?, settings, handlers, stop).await?;
    }
    process::finish(telemetry).await;
    Ok(())
}

async fn work(
    broker: &Arc<dyn Broker>,
    settings: Settings,
    handlers: Handlers,
    stop: Shutdown,
) -> Result<(), process::Fatal> {
    let mut topology = settings.topology();
    topology.add_missing(&settings.worker.queues);
    broker.ensure_topology(&topology).await?;
    let worker = Worker::builder(Arc::clone(broker), settings.worker)
        .handlers(handlers)
        .queues(settings.queues)
        .duplicate_window(settings.broker.duplicate_window)
        .build()?;
    service::run(worker, broker, settings.health.listen, stop).await?;
    Ok(())
}
