//! Texts that are kept as files: a change shows in review. `PUMASI_BLESS=1` writes them anew.

use std::{
    path::Path,
    process::{Command, Stdio},
};

/// Compares a text with a file.
///
/// # Panics
/// When they differ; the text says in which line.
pub fn golden(file: &Path, text: &str) {
    if std::env::var_os("PUMASI_BLESS").is_some() {
        std::fs::write(file, text).expect("the file is written");
    }
    let have = std::fs::read_to_string(file).unwrap_or_default();
    let first = have.lines().zip(text.lines()).find(|(a, b)| a != b);
    assert!(
        have == text,
        "{} is stale, run with PUMASI_BLESS=1: {first:?}",
        file.display()
    );
}

/// What a program says when it is asked for help, in lines of at most 100 columns whatever the
/// terminal.
///
/// # Panics
/// When it does not end well.
#[must_use]
pub fn help(program: &str) -> String {
    let output = Command::new(program)
        .arg("--help")
        .env_clear()
        .env("COLUMNS", "100")
        .stdin(Stdio::null())
        .output()
        .expect("the program starts");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n") + "\n"
}
