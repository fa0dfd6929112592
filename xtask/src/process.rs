//! Running programs, with what they print shown.

use std::process::{Command, Stdio};

/// A step's result; the text says what failed.
pub(crate) type Result<T = ()> = std::result::Result<T, String>;

/// Runs cargo and fails when it fails.
pub(crate) fn cargo(arguments: &[&str]) -> Result {
    run_with("cargo", arguments, &[])
}

/// Cargo as a person starts it: without what cargo told this program about itself, from which
/// build scripts would conclude that something changed and build the same things anew.
pub(crate) fn cargo_command() -> Command {
    let mut command = Command::new("cargo");
    for (name, _) in std::env::vars_os() {
        let told = [
            "CARGO_PKG_",
            "CARGO_MANIFEST_",
            "CARGO_CRATE_",
            "CARGO_BIN_",
        ];
        let name = name.to_string_lossy();
        if told.iter().any(|prefix| name.starts_with(prefix)) {
            command.env_remove(&*name);
        }
    }
    command
}

/// Runs a program with extra environment and fails when it fails.
pub(crate) fn run_with(program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Result {
    println!("$ {program} {}", arguments.join(" "));
    let mut command = if program == "cargo" {
        cargo_command()
    } else {
        Command::new(program)
    };
    let status = command
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

/// What a program says in one line; `?` where it cannot be started.
pub(crate) fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or_else(
        |_| "?".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}
