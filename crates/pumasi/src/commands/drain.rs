//! `pumasi drain`: asks a worker to finish what it has begun and end.

use super::Session;
use crate::{
    cli::Global,
    failure::Failure,
    say::{print, print_json},
};
use std::process::ExitCode;

pub(super) async fn run(global: Global, worker: &str) -> Result<ExitCode, Failure> {
    let session = Session::open(global).await?;
    let asked = session.broker.admin().drain(worker).await;
    let json = session.global.json;
    session.close().await;
    asked?;
    if json {
        print_json(&serde_json::json!({ "worker": worker, "asked": "drain" }));
    } else {
        print(format_args!("asked {} to drain", worker.escape_debug()));
    }
    Ok(ExitCode::SUCCESS)
}
