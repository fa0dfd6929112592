//! `pumasi submit`: one task, or a file of millions in constant memory.

mod file;
mod wait;

use super::{Session, payload};
use crate::{
    cli::{Global, Submit},
    failure::Failure,
    say::{self, note, print, print_json},
    settings::Settings,
};
use pumasi_broker::trace;
use pumasi_common::{Diagnostic, ErrorCode, PublishOutcome, TaskId, broker::Publication};
use pumasi_producer::{Client, Request, submit::CONTENT_TYPE_TEXT};
use pumasi_service::telemetry;
use serde::Serialize;
use std::{process::ExitCode, sync::Arc, time::SystemTime};
use tracing::{Instrument as _, info_span};
use wait::Waiter;

pub(super) async fn run(global: Global, arguments: Submit) -> Result<ExitCode, Failure> {
    let loaded = Settings::load(&global)?;
    // Read and checked before anything is opened or declared.
    let input = match &arguments.file {
        None => {
            let request = request(&arguments, loaded.value.broker.payload_bytes_max)?;
            Input::One(Box::new(request.to_queue(&arguments.queue)?))
        }
        Some(path) => Input::File(file::Source::open(path)?),
    };
    if arguments.at.is_some_and(|time| time <= SystemTime::now()) {
        note("the time of --at has passed: what it stands for is ready at once");
    }
    let session = Session::open_traced(global, loaded).await?;
    if !arguments.no_declare {
        let topology = session.settings.topology_of(&arguments.queue);
        session.broker.ensure_topology(&topology).await?;
    }
    let client = Client::new(Arc::clone(&session.broker));
    let code = submit(&session, &client, input, &arguments).await;
    session.close().await;
    code
}

async fn submit(
    session: &Session,
    client: &Client,
    input: Input,
    arguments: &Submit,
) -> Result<ExitCode, Failure> {
    match input {
        Input::One(publication) if arguments.wait => {
            wait::one(session, client, *publication, arguments.wait_timeout).await
        }
        Input::One(publication) => {
            let outcome = submit_one(client, *publication).await;
            Ok(tell_one(outcome, session.global.json))
        }
        Input::File(source) => {
            let waiter = match arguments.wait {
                true => Some(Waiter::open(&*session.broker).await?),
                false => None,
            };
            Ok(file::submit(session, client, source, arguments, waiter).await)
        }
    }
}

/// Submits a task in the trace that the command was started in, as from a handler's program.
pub(super) async fn submit_one(client: &Client, mut publication: Publication) -> PublishOutcome {
    let Some(caller) = telemetry::caller() else {
        return client.submit(publication).await;
    };
    if !trace::is_on() {
        publication.task.trace = Some(caller);
        return client.submit(publication).await;
    }
    let span = info_span!("submit", otel.kind = "internal");
    trace::continue_from(&span, &caller);
    client.submit(publication).instrument(span).await
}

/// What is submitted.
enum Input {
    One(Box<Publication>),
    File(file::Source),
}

fn request(arguments: &Submit, bytes_max: usize) -> Result<Request, Failure> {
    Ok(Request {
        payload: payload(&arguments.words, bytes_max)?.into(),
        content_type: Some(
            arguments
                .content_type
                .clone()
                .unwrap_or_else(|| CONTENT_TYPE_TEXT.to_owned()),
        ),
        kind: arguments.kind.clone(),
        id: arguments.id.clone(),
        start: arguments.start(),
        priority: arguments.priority,
        expires: arguments.expires,
        timeout: arguments.timeout,
        attempts_max: arguments.attempts,
        headers: arguments.headers.clone(),
    })
}

/// An outcome as `--json` prints it.
#[derive(Serialize)]
struct Line<'a> {
    id: &'a TaskId,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Prints one outcome: the id of an accepted task to standard output, all else to standard error.
/// Gives the error's code where it was not accepted.
fn tell(outcome: &PublishOutcome, json: bool) -> Option<ErrorCode> {
    let (word, id, error): (_, _, Option<&dyn Diagnostic>) = match outcome {
        PublishOutcome::Accepted(id) => ("accepted", id, None),
        PublishOutcome::Refused(id, refusal) => ("refused", id, Some(refusal)),
        PublishOutcome::Unknown(id, uncertainty) => ("unknown", id, Some(uncertainty)),
    };
    let code = error.map(Diagnostic::code);
    if json {
        print_json(&Line {
            id,
            outcome: word,
            code: code.map(|code| code.to_string()),
            error: error.map(ToString::to_string),
        });
    } else if error.is_none() {
        print(id);
    }
    code
}

/// Prints the outcome of a single submit, with the whole error text where it was not accepted.
pub(super) fn tell_one(outcome: PublishOutcome, json: bool) -> ExitCode {
    tell(&outcome, json);
    match outcome {
        PublishOutcome::Accepted(_) => ExitCode::SUCCESS,
        PublishOutcome::Refused(_, refusal) => say::report(&refusal.into()),
        PublishOutcome::Unknown(id, uncertainty) => {
            note(format_args!("outcome unknown for {id}"));
            say::report(&uncertainty.into())
        }
    }
}
