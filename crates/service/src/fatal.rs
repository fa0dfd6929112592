//! The last words of a process: an error as text or JSON, and the exit status.

use pumasi_common::Diagnostic;
use std::{error::Error, process::ExitCode};

/// Most causes that are shown, against chains that do not end.
const CAUSES_MAX: usize = 16;

/// The error as text for a person, several lines, without a final newline.
///
/// ```text
/// error[PU3002]: cannot declare queue `email`: it exists with other arguments
///   cause: RabbitMQ closed the channel: 406 PRECONDITION_FAILED
///   help:  compare with `pumasi topology plan`
/// ```
#[must_use]
pub fn render(error: &dyn Diagnostic) -> String {
    let mut text = format!("error[{}]: {error}", error.code());
    for cause in causes(error) {
        text.push_str("\n  cause: ");
        text.push_str(&one_line(&cause));
    }
    if let Some(help) = error.help() {
        text.push_str("\n  help:  ");
        text.push_str(&one_line(&help));
    }
    text
}

/// The error as one JSON object: `code`, `message`, `causes`, `help`.
#[must_use]
pub fn render_json(error: &dyn Diagnostic) -> String {
    serde_json::json!({
        "code": error.code().to_string(),
        "message": error.to_string(),
        "causes": causes(error),
        "help": error.help(),
    })
    .to_string()
}

/// The exit status that fits the error's code.
#[must_use]
pub fn exit_code(error: &dyn Diagnostic) -> ExitCode {
    ExitCode::from(error.code().exit_status())
}

/// The chain behind the error; a source that only repeats the end of the text above it is left
/// out.
fn causes(error: &dyn Diagnostic) -> Vec<String> {
    let mut causes: Vec<String> = Vec::new();
    let mut above = error.to_string();
    let mut next: Option<&(dyn Error + 'static)> = error.source();
    while let Some(cause) = next.filter(|_| causes.len() < CAUSES_MAX) {
        let text = cause.to_string();
        if !above.ends_with(&text) {
            causes.push(text.clone());
        }
        above = text;
        next = cause.source();
    }
    causes
}

fn one_line(text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    lines.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use pumasi_common::{ErrorCode, Retryability};

    #[derive(Debug, thiserror::Error)]
    #[error("cannot declare queue `email`: it exists with other arguments")]
    struct Mismatch {
        source: std::io::Error,
    }

    impl Diagnostic for Mismatch {
        fn code(&self) -> ErrorCode {
            ErrorCode::TopologyMismatch
        }
        fn retryability(&self) -> Retryability {
            Retryability::Permanent
        }
        fn help(&self) -> Option<String> {
            Some("compare with `pumasi topology plan`".to_owned())
        }
    }

    fn mismatch() -> Mismatch {
        Mismatch {
            source: std::io::Error::other("RabbitMQ closed the channel\n406 PRECONDITION_FAILED"),
        }
    }

    #[test]
    fn an_error_is_shown_with_its_code_causes_and_help() {
        assert_eq!(
            render(&mismatch()),
            "error[PU3002]: cannot declare queue `email`: it exists with other arguments\n  \
             cause: RabbitMQ closed the channel; 406 PRECONDITION_FAILED\n  \
             help:  compare with `pumasi topology plan`"
        );
    }

    #[derive(Debug, thiserror::Error)]
    #[error("cannot connect: {0}")]
    struct Repeating(#[source] std::io::Error);

    impl Diagnostic for Repeating {
        fn code(&self) -> ErrorCode {
            ErrorCode::BrokerUnreachable
        }
        fn retryability(&self) -> Retryability {
            Retryability::Transient
        }
    }

    #[test]
    fn a_source_that_was_shown_already_is_not_shown_again() {
        let refused = std::io::Error::other("connection refused");
        assert_eq!(
            render(&Repeating(refused)),
            "error[PU2001]: cannot connect: connection refused"
        );
    }

    #[test]
    fn an_error_as_json_is_one_object_on_one_line() {
        let text = render_json(&mismatch());
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(!text.contains('\n'));
        assert_eq!(value["code"], "PU3002");
        assert_eq!(value["causes"].as_array().unwrap().len(), 1);
        assert_eq!(value["help"], "compare with `pumasi topology plan`");
    }

    #[test]
    fn the_exit_status_follows_the_code() {
        assert_eq!(exit_code(&mismatch()), ExitCode::from(69));
    }
}
