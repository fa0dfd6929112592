//! Bad input: a typed error, its text, its exit status, and nothing else affected.

mod configuration;
mod connection;
mod file;
mod limits;
mod submit;
mod worker;

use std::process::Output;

/// Checks the exit status and what standard error holds, and that no password is in it.
fn check(output: &Output, status: i32, texts: &[&str]) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{errors}");
    for text in texts {
        assert!(errors.contains(text), "expected {text:?} in: {errors}");
    }
    for stream in [&output.stderr, &output.stdout] {
        assert!(!String::from_utf8_lossy(stream).contains("hunter2"));
    }
}
