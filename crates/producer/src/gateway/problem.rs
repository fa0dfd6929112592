//! Errors at the HTTP edge: `application/problem+json`.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use pumasi_common::{Diagnostic, ErrorCode, TaskId};
use serde::Serialize;

/// How long a client should wait before it tries again, in seconds.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

/// A problem document (RFC 9457).
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Problem {
    status: u16,
    pub(super) title: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
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
            code: Some(error.code().to_string()),
            id: None,
        }
    }

    pub(super) fn request(status: StatusCode, title: String) -> Self {
        Self {
            status: status.as_u16(),
            title,
            detail: None,
            code: None,
            id: None,
        }
    }

    /// A request that is wrong in itself.
    pub(super) fn argument(status: StatusCode, title: String) -> Self {
        Self::request(status, title).coded(ErrorCode::ArgumentInvalid)
    }

    pub(super) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status.as_u16();
        self
    }

    pub(super) fn coded(mut self, code: ErrorCode) -> Self {
        self.code = Some(code.to_string());
        self
    }

    /// With what to do.
    pub(super) fn detailed(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    pub(super) fn about(mut self, id: &TaskId) -> Self {
        self.id = Some(id.as_str().to_owned());
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(&self)).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}
