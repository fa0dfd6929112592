//! `pumasi worker`.

use super::Session;
use crate::{
    cli::{Global, Worker},
    failure::Failure,
    settings::Settings,
};
use pumasi_common::QueueName;
use pumasi_service::{process, shutdown, telemetry};
use pumasi_worker::{HandlerConfig, service};
use std::{process::ExitCode, sync::Arc, time::Duration};

pub(super) async fn run(global: Global, arguments: Worker) -> Result<ExitCode, Failure> {
    let declare = !arguments.no_declare;
    let mut loaded = Settings::load_with(&global, overrides(&arguments))?;
    if !arguments.exec.is_empty() {
        loaded.value.worker.handlers = vec![HandlerConfig {
            every_kind: true,
            exec: arguments.exec,
            ..HandlerConfig::default()
        }];
    }
    let settings = loaded.value;
    let handlers = service::handlers(&settings.worker)?;
    let telemetry = telemetry::start(&settings.telemetry, "pumasi-worker")?;
    let stop = shutdown::on_signals();
    let session = Session::open_with(global, settings).await?;
    let config = session.settings.worker.clone();
    if declare {
        let topology = session.settings.topology_with(&config.queues);
        session.broker.ensure_topology(&topology).await?;
    }
    let worker = pumasi_worker::Worker::builder(Arc::clone(&session.broker), config)
        .handlers(handlers)
        .queues(session.settings.queues.clone())
        .duplicate_window(session.settings.broker.duplicate_window)
        .build()?;
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

/// The flags by the keys that they stand for, so that what contradicts is told with its origin.
fn overrides(arguments: &Worker) -> Vec<(String, String)> {
    let mut all = Vec::new();
    let mut set = |key: &str, value: Option<String>| {
        all.extend(value.map(|value| (format!("worker.{key}"), value)));
    };
    let queues: Vec<&str> = arguments.queues.iter().map(QueueName::as_str).collect();
    set("queues", (!queues.is_empty()).then(|| queues.join(",")));
    set(
        "concurrency",
        arguments.concurrency.map(|it| it.to_string()),
    );
    set("prefetch", arguments.prefetch.map(|it| it.to_string()));
    set("ack", arguments.ack.map(|it| it.to_string()));
    let time = |it: Duration| humantime::format_duration(it).to_string();
    set("drain_timeout", arguments.drain_timeout.map(time));
    set("name", arguments.name.clone());
    all
}
