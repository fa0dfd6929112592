//! `pumasi publish`: an event to every subscription of a topic.

use super::{Session, payload, submit};
use crate::{
    cli::{Global, Publish},
    failure::Failure,
    settings::Settings,
};
use pumasi_producer::{Client, Request, submit::CONTENT_TYPE_TEXT};
use std::{process::ExitCode, sync::Arc};

pub(super) async fn run(global: Global, arguments: Publish) -> Result<ExitCode, Failure> {
    let loaded = Settings::load(&global)?;
    let request = Request {
        payload: payload(&arguments.words, loaded.value.broker.payload_bytes_max)?.into(),
        content_type: Some(CONTENT_TYPE_TEXT.to_owned()),
        kind: arguments.kind,
        id: arguments.id,
        ..Request::default()
    };
    let session = Session::open_traced(global, loaded).await?;
    session
        .broker
        .ensure_topology(&session.settings.topology())
        .await?;
    let publication = request.to_topic(&arguments.topic)?;
    let client = Client::new(Arc::clone(&session.broker));
    let outcome = submit::submit_one(&client, publication).await;
    let code = submit::tell_one(outcome, session.global.json);
    session.close().await;
    Ok(code)
}
