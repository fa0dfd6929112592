//! What a command says: data to standard output, all else to standard error; with `--json` each
//! line of either is one JSON object. A closed pipe ends the output, not the command.

use crate::failure::Failure;
use pumasi_common::Diagnostic;
use pumasi_service::fatal;
use serde::Serialize;
use std::{
    fmt::Display,
    io::Write,
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
};

/// Set once, before anything is said.
static JSON: AtomicBool = AtomicBool::new(false);

/// From now on everything is said in JSON.
pub(crate) fn speak_json() {
    JSON.store(true, Ordering::Relaxed);
}

fn speaks_json() -> bool {
    JSON.load(Ordering::Relaxed)
}

/// A line of data.
pub(crate) fn print(line: impl Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// One JSON object as a line of data.
pub(crate) fn print_json(value: &impl Serialize) {
    match serde_json::to_string(value) {
        Ok(line) => print(line),
        Err(error) => note(format_args!("cannot write the result as JSON: {error}")),
    }
}

/// A line for a person; `{"note": "…"}` for a machine.
pub(crate) fn note(line: impl Display) {
    if speaks_json() {
        note_json(&serde_json::json!({ "note": line.to_string() }));
    } else {
        let _ = writeln!(std::io::stderr(), "{line}");
    }
}

/// One JSON object as a line beside the data.
pub(crate) fn note_json(value: &serde_json::Value) {
    let _ = writeln!(std::io::stderr(), "{value}");
}

/// An error that does not end the command: its text, or the whole of it for a machine.
pub(crate) fn complain(error: &dyn Diagnostic) {
    if speaks_json() {
        let _ = writeln!(std::io::stderr(), "{}", fatal::render_json(error));
    } else {
        let _ = writeln!(std::io::stderr(), "{error}");
    }
}

/// The error that ends the command; gives the exit status that fits it.
pub(crate) fn report(failure: &Failure) -> ExitCode {
    if speaks_json() {
        failure.report_json()
    } else {
        failure.report()
    }
}
