//! The demo's worker process: an ordinary worker whose handler says when it starts and ends.

use super::QUEUE;
use crate::{cli::Global, commands::Session, failure::Failure};
use pumasi_common::{QueueName, Topology};
use pumasi_service::{shutdown, telemetry};
use pumasi_worker::{Context, HandlerResult, Worker, WorkerConfig, service};
use std::{io::Write, num::NonZeroU16, process::ExitCode, sync::Arc, time::Duration};

/// How long a task of the demo takes.
const WORK: Duration = Duration::from_millis(100);

pub(crate) async fn run(global: Global) -> Result<ExitCode, Failure> {
    let session = Session::open(global).await?;
    let _telemetry = telemetry::start(&session.settings.telemetry, "pumasi-demo-worker")?;
    let queue = QueueName::new(QUEUE)?;
    session
        .broker
        .ensure_topology(&Topology::of_queues([queue.clone()]))
        .await?;
    let config = WorkerConfig {
        queues: vec![queue],
        concurrency: NonZeroU16::MIN,
        ..WorkerConfig::default()
    };
    let worker = Worker::builder(Arc::clone(&session.broker), config)
        .handler(None, Arc::new(say_and_work))
        .build()?;
    service::run(worker, &session.broker, None, shutdown::on_signals()).await?;
    Ok(ExitCode::SUCCESS)
}

async fn say_and_work(context: Context) -> HandlerResult {
    let id = context.task.id.as_str();
    writeln!(std::io::stdout(), "start {id}")?;
    tokio::time::sleep(WORK).await;
    writeln!(std::io::stdout(), "done {id}")?;
    Ok(())
}
