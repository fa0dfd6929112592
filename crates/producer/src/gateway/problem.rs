//! Errors at the HTTP edge: `application/problem+json`.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use pumasi_common::{Diagnostic, ErrorCode, TaskId};
use serde::{Serialize, Serializer};
use std::time::Duration;

/// How long a client should wait before it tries again, in seconds.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

/// A problem document (RFC 9457).
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Problem {
    status: u16,
    pub(super) title: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_text")]
    code: Option<ErrorCode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<TaskId>,
    /// What a client without a key is told to bring.
    #[serde(skip)]
    challenge: Option<&'static str>,
    /// When a client may come again, in seconds.
    #[serde(skip)]
    retry_after: Option<u64>,
}

impl Problem {
    pub(super) fn of(error: &dyn Diagnostic) -> Self {
        let status = match error.code().exit_status() {
            64 => StatusCode::BAD_REQUEST,
            65 if error.code() == ErrorCode::TaskTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            65 => StatusCode::UNPROCESSABLE_ENTITY,
            69 if error.code() == ErrorCode::Unroutable => StatusCode::NOT_FOUND,
            69 if error.code() == ErrorCode::Unsupported => StatusCode::UNPROCESSABLE_ENTITY,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self {
            status: status.as_u16(),
            title: error.to_string(),
            detail: error.help(),
            code: Some(error.code()),
            id: None,
            challenge: None,
            retry_after: None,
        }
    }

    pub(super) fn request(status: StatusCode, title: String) -> Self {
        Self {
            status: status.as_u16(),
            title,
            detail: None,
            code: None,
            id: None,
            challenge: None,
            retry_after: None,
        }
    }

    /// A request that is wrong in itself.
    pub(super) fn argument(status: StatusCode, title: String) -> Self {
        Self::request(status, title).coded(ErrorCode::ArgumentInvalid)
    }

    pub(super) fn challenging(mut self, challenge: &'static str) -> Self {
        self.challenge = Some(challenge);
        self
    }

    pub(super) fn retry_after(mut self, wait: Duration) -> Self {
        // Whoever comes a part of a second early would come in vain.
        self.retry_after = Some(wait.as_secs() + u64::from(wait.subsec_nanos() > 0));
        self
    }

    pub(super) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status.as_u16();
        self
    }

    pub(super) fn coded(mut self, code: ErrorCode) -> Self {
        self.code = Some(code);
        self
    }

    /// With what to do.
    pub(super) fn detailed(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    pub(super) fn about(mut self, id: &TaskId) -> Self {
        self.id = Some(id.clone());
        self
    }
}

#[expect(clippy::ref_option, reason = "serde hands a reference to the field")]
fn as_text<S: Serializer>(code: &Option<ErrorCode>, to: S) -> Result<S::Ok, S::Error> {
    match code {
        Some(code) => to.collect_str(code),
        None => to.serialize_none(),
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(&self)).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, kind);
        if let Some(challenge) = self.challenge {
            let challenge = HeaderValue::from_static(challenge);
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        } else if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}
