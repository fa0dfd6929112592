//! Running programs, with what they print shown.

use std::process::{Command, Stdio};

/// A step's result; the text says what failed.
pub(crate) type Result<T = ()> = std::result::Result<T, String>;

/// Runs cargo and fails when it fails.
pub(crate) fn cargo(arguments: &[&str]) -> Result {
    run_with("cargo", arguments, &[])
}

/// Runs a program with extra environment and fails when it fails.
pub(crate) fn run_with(program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Result {
    println!("$ {program} {}", arguments.join(" "));
    let status = Command::new(program)
        .args(arguments)
        .envs(environment.iter().copied())
        .status()
        .map_err(|error| format!("cannot start {program}: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!(
            "{program} {} failed: {status}",
            arguments.join(" ")
        ))
    }
}

/// Whether a program runs and ends well; shows nothing.
pub(crate) fn succeeds(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
