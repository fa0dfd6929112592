//! The frame of a service's `main`: runtime, one report of a fatal error, exit status.

use crate::{fatal, telemetry::Telemetry};
use pumasi_common::{Diagnostic, ErrorCode, Retryability};
use std::{future::Future, io::Write, process::ExitCode};

/// Any error that ends a process.
#[derive(Debug)]
pub struct Fatal(Box<dyn Diagnostic + Send + Sync>);

impl<E: Diagnostic + Send + Sync + 'static> From<E> for Fatal {
    fn from(error: E) -> Self {
        Self(Box::new(error))
    }
}

impl Fatal {
    /// Prints the error to standard error and gives the exit status that fits it.
    #[must_use]
    pub fn report(&self) -> ExitCode {
        // Nobody is left to be told when standard error is closed.
        let _ = writeln!(std::io::stderr(), "{}", fatal::render(&*self.0));
        fatal::exit_code(&*self.0)
    }

    /// As [`Fatal::report`], as one JSON object on one line.
    #[must_use]
    pub fn report_json(&self) -> ExitCode {
        let _ = writeln!(std::io::stderr(), "{}", fatal::render_json(&*self.0));
        fatal::exit_code(&*self.0)
    }
}

/// What is wrong with a command line.
#[derive(Debug, thiserror::Error)]
#[error("{problem}")]
struct Usage {
    problem: String,
    help: String,
}

impl From<&clap::Error> for Usage {
    fn from(complaint: &clap::Error) -> Self {
        let text = complaint.to_string();
        let (problem, help) = text.split_once("\n\n").unwrap_or((&text, ""));
        Self {
            problem: problem.trim_start_matches("error: ").to_owned(),
            help: help.trim().to_owned(),
        }
    }
}

impl Diagnostic for Usage {
    fn code(&self) -> ErrorCode {
        ErrorCode::ArgumentInvalid
    }
    fn retryability(&self) -> Retryability {
        Retryability::Permanent
    }
    fn help(&self) -> Option<String> {
        Some(self.help.clone())
    }
}

/// Whether the command line that was not understood asked for JSON.
fn asks_for_json() -> bool {
    std::env::args_os()
        .take_while(|argument| argument != "--")
        .any(|argument| argument == "--json")
}

/// The exit status of a command line that cannot be understood (`EX_USAGE`).
const EXIT_USAGE: u8 = 64;

/// Reads the command line. Help, version and complaints are printed; their exit status comes back.
///
/// # Errors
/// The status to exit with at once: 0 after help and version, 64 after a complaint.
pub fn parse<C: clap::Parser>() -> Result<C, ExitCode> {
    C::try_parse().map_err(|answer| {
        // Nobody is left to be told when the output is closed.
        if answer.use_stderr() && asks_for_json() {
            let usage = Usage::from(&answer);
            let _ = writeln!(std::io::stderr(), "{}", fatal::render_json(&usage));
        } else {
            let _ = answer.print();
        }
        if answer.use_stderr() {
            ExitCode::from(EXIT_USAGE)
        } else {
            ExitCode::SUCCESS
        }
    })
}

/// Runs a service on a multi-threaded runtime and reports the error that ends it, if any.
pub fn main_with(service: impl Future<Output = Result<(), Fatal>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "cannot start the runtime: {error}");
            return ExitCode::from(70);
        }
    };
    match runtime.block_on(service) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(),
    }
}

/// Sends the last traces, off the runtime's own threads.
pub async fn finish(telemetry: Telemetry) {
    let _ = tokio::task::spawn_blocking(|| telemetry.shutdown()).await;
}
