//! `pumasi worker`.

use super::Session;
use crate::{
    cli::{Global, Worker},
    failure::Failure,
    settings::Settings,
};
use pumasi_common::QueueName;
use pumasi_service::{process, shutdown, telemetry};
use pumasi_worker::{HandlerConfig, WorkerConfig, service};
use std::{process::ExitCode, sync::Arc};

pub(super) async fn run(global: Global, arguments: Worker) -> Result<ExitCode, Failure> {
    let mut settings = Settings::load(&global)?.value;
    let declare = !arguments.no_declare;
    apply(&mut settings.worker, arguments)?;
    let telemetry = telemetry::start(&settings.telemetry, "pumasi-worker")?;
    let stop = shutdown::on_signals();
    let session = Session::open_with(global, settings).await?;
    let config = session.settings.worker.clone();
    if declare {
        let topology = session.settings.topology_with(&config.queues);
        session.broker.ensure_topology(&topology).await?;
    }
    let worker = service::builder(Arc::clone(&session.broker), config)?.build()?;
    service::run(
        worker,
        &session.broker,
        session.settings.health.listen,
        stop,
    )
    .await?;
    process::finish(telemetry).await;
    Ok(ExitCode::SUCCESS)
}

fn apply(config: &mut WorkerConfig, arguments: Worker) -> Result<(), Failure> {
    if !arguments.queues.is_empty() {
        config.queues = arguments.queues;
    }
    if config.queues.is_empty() {
        config.queues.push(QueueName::new("tasks")?);
    }
    if let Some(concurrency) = arguments.concurrency {
        config.concurrency = concurrency;
    }
    if let Some(prefetch) = arguments.prefetch {
        config.prefetch = prefetch;
    }
    if let Some(ack) = arguments.ack {
        config.ack = ack;
    }
    if let Some(time) = arguments.drain_timeout {
        config.drain_timeout = time;
    }
    if arguments.name.is_some() {
        config.name = arguments.name;
    }
    if !arguments.exec.is_empty() {
        config.handlers = vec![HandlerConfig {
            kind: None,
            every_kind: true,
            exec: arguments.exec,
        }];
    }
    Ok(())
}
