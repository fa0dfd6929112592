//! `pumasi gateway`.

use super::Session;
use crate::{cli::Global, failure::Failure, settings::Settings};
use pumasi_producer::service;
use pumasi_service::{process, shutdown, telemetry};
use std::process::ExitCode;

pub(super) async fn run(global: Global) -> Result<ExitCode, Failure> {
    let settings = Settings::load(&global)?.value;
    let telemetry = telemetry::start(&settings.telemetry, "pumasi-gateway")?;
    let stop = shutdown::on_signals();
    let session = Session::open_with(global, settings).await?;
    session
        .broker
        .ensure_topology(&session.settings.topology())
        .await?;
    let settings = &session.settings;
    service::run(
        &session.broker,
        &settings.gateway,
        settings.health.listen,
        stop,
    )
    .await?;
    process::finish(telemetry).await;
    Ok(ExitCode::SUCCESS)
}
