//! `pumasi task cancel`.

use super::Session;
use crate::{
    cli::{Global, TaskCommand},
    failure::Failure,
    say::{print, print_json},
};
use pumasi_common::broker::Cancelled;
use std::process::ExitCode;

pub(super) async fn run(global: Global, command: TaskCommand) -> Result<ExitCode, Failure> {
    let TaskCommand::Cancel { id } = command;
    let session = Session::open(global).await?;
    let cancelled = session.broker.admin().cancel(&id).await;
    let json = session.global.json;
    session.close().await;
    let cancelled = cancelled?;
    let (words, code) = match cancelled {
        Cancelled::Done => ("cancelled", ExitCode::SUCCESS),
        Cancelled::Requested => ("cancellation requested", ExitCode::SUCCESS),
        Cancelled::Missing => ("no such task", ExitCode::FAILURE),
    };
    if json {
        print_json(&serde_json::json!({ "id": id, "cancelled": cancelled }));
    } else {
        print(words);
    }
    Ok(code)
}
