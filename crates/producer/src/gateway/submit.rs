//! Submits what a request asks for, and answers with what became of it.

use super::{
    Gateway,
    body::Held,
    parts::{Named, SubmitQuery},
    problem::Problem,
    trace::Origin,
};
use axum::{
    Extension, Json,
    extract::{Request as HttpRequest, State},
    http::{HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use pumasi_common::{Publication, PublishOutcome, QueueName, TaskId};
use serde::Serialize;

/// The answer to an accepted submit.
#[derive(Debug, Serialize)]
struct Accepted<'a> {
    id: &'a TaskId,
}

/// A payload for a queue: any body.
pub(super) async fn to_queue(
    State(gateway): State<Gateway>,
    Extension(origin): Extension<Origin>,
    Named(queue): Named,
    query: SubmitQuery,
    request: HttpRequest,
) -> Result<Response, Problem> {
    let queue = QueueName::new(&queue).map_err(|error| Problem::of(&error))?;
    let mut asked = query.into_request(request.headers())?;
    let (payload, held) = gateway.bodies.read(request.into_body()).await?;
    asked.payload = payload;
    let publication = asked
        .to_queue(&queue)
        .map_err(|error| Problem::of(&error))?;
    publish(&gateway, &origin, publication, held).await
}

/// What is known of a task: nothing, so far.
pub(super) async fn record(Named(id): Named) -> Problem {
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

/// Publishes a task and answers when the broker has confirmed it. The room that its body takes is
/// free again after that.
async fn publish(
    gateway: &Gateway,
    origin: &Origin,
    mut publication: Publication,
    held: Held,
) -> Result<Response, Problem> {
    origin.mark(&mut publication);
    let outcome = gateway.client.submit(publication).await;
    drop(held);
    match outcome {
        PublishOutcome::Accepted(id) => {
            let location: [(HeaderName, String); 1] = [(header::LOCATION, path_of(&id))];
            Ok((StatusCode::ACCEPTED, location, Json(Accepted { id: &id })).into_response())
        }
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
