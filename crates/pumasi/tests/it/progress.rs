//! What a person sees while a file is submitted.

use crate::broker::TestBroker;
use std::process::{Command, Stdio};

/// Runs a shell line whose standard streams are a terminal, and gives all that it shows.
fn on_a_terminal(line: &str) -> String {
    let output = Command::new("script")
        .args(["--quiet", "--return", "--command", line, "/dev/null"])
        .env("TERM", "xterm")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_bar_shows_the_progress_and_is_not_drawn_for_every_task() {
    const TASKS: usize = 5_000;
    let broker = TestBroker::embedded();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tasks.jsonl");
    std::fs::write(&file, "{\"payload\":1}\n".repeat(TASKS)).unwrap();
    let submit = format!(
        "{} --broker {} submit --file {}",
        env!("CARGO_BIN_EXE_pumasi"),
        broker.url,
        file.display()
    );

    let ids = folder.path().join("ids.txt");
    let shown = on_a_terminal(&format!("{submit} >{}", ids.display()));
    let drawn = shown.matches("eta").count();
    assert!((1..TASKS / 10).contains(&drawn), "drawn {drawn} times");
    assert!(shown.contains("accepted 5000,"));
    assert_eq!(std::fs::read_to_string(ids).unwrap().lines().count(), TASKS);

    // Where the ids themselves are shown, they are the progress.
    let shown = on_a_terminal(&submit);
    assert!(!shown.contains("eta"), "{shown}");
    assert!(shown.contains("accepted 5000,"));
}
