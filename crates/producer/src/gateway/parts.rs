//! What a request says besides its body: names in its path, its query, the caller's id.

use super::problem::Problem;
use crate::{
    start::{self, Start},
    submit::Request,
};
use axum::{
    extract::{
        FromRequestParts, Path, Query,
        rejection::{PathRejection, QueryRejection},
    },
    http::{HeaderMap, StatusCode, header},
};
use pumasi_common::{TaskId, TaskKind, field};
use serde::Deserialize;
use std::{num::NonZeroU32, time::Duration};

/// The header that holds an id of the caller's own.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// What the path names.
#[derive(Deserialize, FromRequestParts)]
#[from_request(via(Path), rejection(Problem))]
pub(super) struct Named(pub(super) String);

/// A query that says nothing: what is said elsewhere is not ignored here.
#[derive(Deserialize, FromRequestParts)]
#[from_request(via(Query), rejection(Problem))]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

impl From<PathRejection> for Problem {
    fn from(error: PathRejection) -> Self {
        Self::argument(error.status(), error.body_text())
    }
}

impl From<QueryRejection> for Problem {
    fn from(error: QueryRejection) -> Self {
        Self::argument(error.status(), error.body_text())
    }
}

/// What the query of a submit may hold.
#[derive(Debug, Deserialize, FromRequestParts)]
#[from_request(via(Query), rejection(Problem))]
#[serde(deny_unknown_fields)]
pub(super) struct SubmitQuery {
    kind: Option<TaskKind>,
    id: Option<TaskId>,
    delay: Option<String>,
    at: Option<String>,
    #[serde(default, with = "field::duration_option")]
    expires: Option<Duration>,
    #[serde(default, with = "field::duration_option")]
    timeout: Option<Duration>,
    priority: Option<u8>,
    attempts: Option<NonZeroU32>,
}

impl SubmitQuery {
    /// The request without its payload.
    pub(super) fn into_request(self, headers: &HeaderMap) -> Result<Request, Problem> {
        let (delay, at) = (self.delay.as_deref(), self.at.as_deref());
        // The caller's clock may be in any time zone: its time has to say its offset.
        let start = Start::of_texts(delay, at, start::instant).map_err(bad)?;
        Ok(Request {
            content_type: text(headers, header::CONTENT_TYPE.as_str()),
            kind: self.kind,
            id: one_id(self.id, idempotency_key(headers)?)?,
            start,
            expires: self.expires,
            timeout: self.timeout,
            priority: self.priority,
            attempts_max: self.attempts,
            ..Request::default()
        })
    }
}

/// The id that the headers give a task. It may stand in quotes, as a structured field does.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<TaskId>, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(bad("`Idempotency-Key` is given more than once".to_owned()));
    }
    let text = std::str::from_utf8(value.as_bytes())
        .map_err(|_| bad("`Idempotency-Key` is not UTF-8".to_owned()))?;
    let bare = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    let id = TaskId::new(bare.unwrap_or(text)).map_err(|error| {
        let mut problem = Problem::of(&error);
        problem.title = format!("`Idempotency-Key`: {}", problem.title);
        problem
    })?;
    Ok(Some(id))
}

/// The caller's id, which may be given in two places but not as two.
pub(super) fn one_id(
    given: Option<TaskId>,
    key: Option<TaskId>,
) -> Result<Option<TaskId>, Problem> {
    match (given, key) {
        (Some(id), Some(key)) if id != key => Err(bad(format!(
            "the id `{id}` and the `Idempotency-Key` `{key}` differ: give one of them, or the same"
        ))),
        (given, key) => Ok(given.or(key)),
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?;
    Some(value.to_owned())
}

fn bad(title: String) -> Problem {
    Problem::argument(StatusCode::BAD_REQUEST, title)
}
