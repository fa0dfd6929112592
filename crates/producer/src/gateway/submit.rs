//! Submits what a request asks for, and answers with what became of it.

use super::{
    Gateway,
    body::Held,
    keys::Caller,
    media,
    parts::{Named, Nothing, SubmitQuery, idempotency_key, one_id},
    problem::Problem,
    trace::Origin,
};
use crate::{
    envelope, start,
    submit::{Request, SubmitError},
};
use axum::{
    Extension, Json,
    extract::{FromRequestParts, Request as HttpRequest, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use pumasi_common::{Publication, PublishOutcome, QueueName, TaskId, TopicName};
use serde::Serialize;

/// Whoever submits, and by what.
#[derive(FromRequestParts)]
#[from_request(state(Gateway))]
pub(super) struct Submitter {
    #[from_request(via(State))]
    pub(super) gateway: Gateway,
    #[from_request(via(Extension))]
    pub(super) origin: Origin,
    #[from_request(via(Extension))]
    pub(super) caller: Caller,
}

impl Submitter {
    /// Publishes a task and answers when the broker has confirmed it. The room that its body takes
    /// is free again after that.
    async fn publish(
        &self,
        publication: Result<Publication, SubmitError>,
        held: Held,
    ) -> Result<Response, Problem> {
        let mut publication = publication.map_err(|error| Problem::of(&error))?;
        self.origin.mark(&mut publication);
        let outcome = self.gateway.client.submit(publication).await;
        drop(held);
        let id = accepted(outcome)?;
        let location = [(header::LOCATION, path_of(&id))];
        Ok((StatusCode::ACCEPTED, location, Json(Accepted { id: &id })).into_response())
    }
}

/// The answer to an accepted submit.
#[derive(Debug, Serialize)]
struct Accepted<'a> {
    id: &'a TaskId,
}

/// A payload for a queue: any body.
pub(super) async fn to_queue(
    by: Submitter,
    Named(queue): Named,
    query: SubmitQuery,
    request: HttpRequest,
) -> Result<Response, Problem> {
    let queue = QueueName::new(&queue).map_err(|error| Problem::of(&error))?;
    let mut asked = query.into_request(request.headers())?;
    by.caller.may_submit(&queue, asked.kind.as_ref())?;
    by.caller.take_turn()?;
    let (payload, held) = by.gateway.bodies.read(request.into_body()).await?;
    asked.payload = payload;
    by.publish(asked.to_queue(&queue), held).await
}

/// An event for every subscription of a topic: any body.
pub(super) async fn to_topic(
    by: Submitter,
    Named(topic): Named,
    query: SubmitQuery,
    request: HttpRequest,
) -> Result<Response, Problem> {
    let topic = TopicName::new(&topic).map_err(|error| Problem::of(&error))?;
    let mut asked = query.into_request(request.headers())?;
    by.caller.may_publish(&topic, asked.kind.as_ref())?;
    by.caller.take_turn()?;
    if asked.start.is_some() {
        let title = "an event is ready at once: it has no `delay` and no `at`".to_owned();
        return Err(Problem::argument(StatusCode::BAD_REQUEST, title));
    }
    let (payload, held) = by.gateway.bodies.read(request.into_body()).await?;
    asked.payload = payload;
    by.publish(asked.to_topic(&topic), held).await
}

/// A task as one JSON object.
pub(super) async fn from_json(
    by: Submitter,
    _: Nothing,
    request: HttpRequest,
) -> Result<Response, Problem> {
    media::require(request.headers(), media::JSON)?;
    let key = idempotency_key(request.headers())?;
    by.caller.take_turn()?;
    let (body, held) = by.gateway.bodies.read(request.into_body()).await?;
    let (queue, mut asked) = task_of(&body)?;
    drop(body);
    by.caller.may_submit(&queue, asked.kind.as_ref())?;
    asked.id = one_id(asked.id, key)?;
    by.publish(asked.to_queue(&queue), held).await
}

/// What is known of a task: nothing, so far.
pub(super) async fn record(Named(id): Named, _: Nothing) -> Problem {
    match TaskId::new(&id) {
        Err(error) => Problem::of(&error),
        Ok(id) => Problem::request(
            StatusCode::NOT_IMPLEMENTED,
            "no records of tasks are kept".to_owned(),
        )
        .detailed("whoever submits with `pumasi submit --wait` hears how its task ends")
        .about(&id),
    }
}

/// Reads a task and its queue. A JSON payload is a part of the bytes and takes no room beside them.
pub(super) fn task_of(json: &Bytes) -> Result<(QueueName, Request), Problem> {
    let own = |part: &[u8]| json.slice_ref(part);
    let (asked, queue) =
        envelope::read(json, own, start::instant).map_err(|error| malformed(&error))?;
    let queue = queue.ok_or_else(|| malformed(&"it names no `queue`".to_owned().into()))?;
    Ok((queue, asked))
}

/// JSON that is no task. What is not JSON at all is a bad request.
fn malformed(error: &envelope::Malformed) -> Problem {
    let problem = Problem::of(error);
    match error.is_json {
        true => problem,
        false => problem.with_status(StatusCode::BAD_REQUEST),
    }
}

/// The id of a task that the broker has confirmed.
pub(super) fn accepted(outcome: PublishOutcome) -> Result<TaskId, Problem> {
    match outcome {
        PublishOutcome::Accepted(id) => Ok(id),
        PublishOutcome::Refused(id, refusal) => Err(Problem::of(&refusal).about(&id)),
        PublishOutcome::Unknown(id, why) => Err(Problem::of(&why).about(&id)),
    }
}

/// What stands as it is in a path, besides letters and digits.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Where a task is asked after.
fn path_of(id: &TaskId) -> String {
    format!("/v1/tasks/{}", utf8_percent_encode(id.as_str(), SEGMENT))
}
