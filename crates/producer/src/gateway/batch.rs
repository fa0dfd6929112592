//! Tasks as JSON lines, each with an outcome of its own, in their order.
//!
//! Lines are read while others are on their way to the broker, so that they go out together. What
//! a batch takes of the process does not grow with its length: each line that is not confirmed and
//! each outcome that its client has not read takes room of [`Bodies`](super::body::Bodies), and there
//! is a time for either side to go on.

mod lines;

use super::{
    body::{Held, least},
    media,
    parts::{Nothing, idempotency_key},
    problem::Problem,
    submit::{self, Submitter},
};
use axum::{
    body::Body,
    extract::Request as HttpRequest,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use lines::{Line, Lines};
use pumasi_common::{PublishOutcome, TaskId};
use serde::Serialize;
use std::{io, pin::pin};
use tokio::{sync::mpsc, task::JoinSet};
use tracing::{Instrument as _, Span};

/// Most lines of a batch that are on their way to the broker at once.
const WINDOW: usize = 256;
/// Most outcomes that are handed over together.
const TOGETHER: usize = 64;
/// Most parts of an answer that wait for their client.
const PARTS_MAX: usize = 1024;

/// What became of a line.
#[derive(Serialize)]
struct Outcome {
    line: u64,
    outcome: &'static str,
    #[serde(flatten)]
    what: What,
    /// The room it takes until its client has it.
    #[serde(skip)]
    held: Option<Held>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum What {
    Accepted { id: TaskId },
    Not(Problem),
}

/// A part of an answer and the room it takes.
type Part = (Bytes, Vec<Held>);

/// Takes a batch. The answer begins with the first line, and goes on while lines come.
pub(super) async fn submit(
    by: Submitter,
    _: Nothing,
    request: HttpRequest,
) -> Result<Response, Problem> {
    media::require(request.headers(), media::LINES)?;
    if idempotency_key(request.headers())?.is_some() {
        let title = "a batch has no `Idempotency-Key`: give its lines an `id`".to_owned();
        return Err(Problem::argument(StatusCode::BAD_REQUEST, title));
    }
    let lines = Lines::begin(request.into_body(), by.gateway.bodies.clone()).await?;
    let (send, receive) = mpsc::channel(PARTS_MAX);
    let mut work = JoinSet::new();
    work.spawn(by.run(lines, send).instrument(Span::current()));
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((kind, Body::from_stream(answer(receive, work))).into_response())
}

/// The parts as they come. Whoever drops it ends the batch. One that failed ends in an error, so that
/// nobody takes its answer for a whole one.
fn answer(
    receive: mpsc::Receiver<Part>,
    work: JoinSet<()>,
) -> impl Stream<Item = io::Result<Bytes>> {
    stream::unfold((receive, work), |(mut receive, mut work)| async move {
        let part = match receive.recv().await {
            Some((part, _held)) => Ok(part),
            None => match work.join_next().await {
                None | Some(Ok(())) => return None,
                Some(Err(error)) => Err(io::Error::other(error)),
            },
        };
        Some((part, (receive, work)))
    })
}

impl Submitter {
    /// Submits the lines and hands over what became of them, until nobody wants to know.
    async fn run(self, lines: Lines, send: mpsc::Sender<Part>) {
        let outcomes = lines
            .into_stream(self.caller.clone())
            .map(|line| self.submit(line))
            .buffered(WINDOW)
            .ready_chunks(TOGETHER);
        let mut outcomes = pin!(outcomes);
        while let Some(outcomes) = outcomes.next().await {
            let text: String = outcomes.iter().map(line_of).collect();
            let held = outcomes.into_iter().filter_map(|outcome| outcome.held);
            if send.send((text.into(), held.collect())).await.is_err() {
                return;
            }
        }
    }

    /// Submits one line. What the line held is enough for its outcome, so that nothing waits for room
    /// whose end others wait for.
    async fn submit(&self, line: Line) -> Outcome {
        let Line { number, task, held } = line;
        let published = async {
            let json = task?;
            let (queue, asked) = submit::task_of(&json)?;
            self.caller.may_submit(&queue, asked.kind.as_ref())?;
            drop(json);
            let publication = asked.to_queue(&queue);
            let mut publication = publication.map_err(|error| Problem::of(&error))?;
            self.origin.mark(&mut publication);
            Ok(self.gateway.client.submit(publication).await)
        };
        let (outcome, what) = match published.await {
            Err(problem) => ("refused", What::Not(problem)),
            Ok(outcome) => {
                let word = match outcome {
                    PublishOutcome::Accepted(_) => "accepted",
                    PublishOutcome::Refused(..) => "refused",
                    PublishOutcome::Unknown(..) => "unknown",
                };
                let accepted = submit::accepted(outcome).map(|id| What::Accepted { id });
                (word, accepted.unwrap_or_else(What::Not))
            }
        };
        Outcome {
            line: number,
            outcome,
            what,
            held: held.and_then(least),
        }
    }
}

fn line_of(outcome: &Outcome) -> String {
    // Texts and numbers are always JSON.
    let json = serde_json::to_string(outcome).unwrap_or_default();
    json + "\n"
}
