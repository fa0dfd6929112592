//! What ends a command early, besides the errors of the crates below.

use pumasi_common::{Diagnostic, ErrorCode, Retryability, error::Cause};
use pumasi_service::process::Fatal;

/// An error on its way to a person.
pub(crate) type Failure = Fatal;

pub(crate) fn usage(text: impl Into<String>) -> Failure {
    Plain {
        text: text.into(),
        code: ErrorCode::ArgumentInvalid,
        source: None,
    }
    .into()
}

pub(crate) fn internal(text: &str, source: impl Into<Cause>) -> Failure {
    let source = Some(source.into());
    Plain {
        text: text.to_owned(),
        code: ErrorCode::Internal,
        source,
    }
    .into()
}

pub(crate) fn too_large(text: String) -> Failure {
    Plain {
        text,
        code: ErrorCode::TaskTooLarge,
        source: None,
    }
    .into()
}

pub(crate) fn unreadable(text: String, source: impl Into<Cause>) -> Failure {
    let source = Some(source.into());
    Plain {
        text,
        code: ErrorCode::ConfigUnreadable,
        source,
    }
    .into()
}

#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct Plain {
    text: String,
    code: ErrorCode,
    source: Option<Cause>,
}

impl Diagnostic for Plain {
    fn code(&self) -> ErrorCode {
        self.code
    }
    fn retryability(&self) -> Retryability {
        Retryability::Permanent
    }
}
