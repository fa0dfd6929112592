//! `pumasi gateway`.

use super::Session;
use crate::{cli::Global, failure::Failure, settings::Settings};
use pumasi_producer::{Client, gateway};
use pumasi_service::{process, shutdown, telemetry};
use std::{process::ExitCode, sync::Arc};

pub(super) async fn run(global: Global) -> Result<ExitCode, Failure> {
    let settings = Settings::load(&global)?.value;
    let telemetry = telemetry::start(&settings.telemetry, "pumasi-gateway")?;
    let session = Session::open_with(global, settings).await?;
    session
        .broker
        .ensure_topology(&session.settings.topology())
        .await?;
    let stop = shutdown::on_signals();
    let client = Client::new(Arc::clone(&session.broker));
    let config = &session.settings.gateway;
    gateway::serve(client, config, stop.intake).await?;
    session.broker.close().await;
    process::finish(telemetry).await;
    Ok(ExitCode::SUCCESS)
}
