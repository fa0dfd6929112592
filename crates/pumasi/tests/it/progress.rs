//! What a person sees while a file is submitted.

use crate::{broker::TestBroker, dead::store::Store, process::Worker};
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

#[test]
fn a_replay_and_a_wait_for_many_show_how_far_they_are() {
    let broker = TestBroker::embedded();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.txt");
    let shown = |arguments: &str| {
        let program = env!("CARGO_BIN_EXE_pumasi");
        let (url, out) = (&broker.url, out.display());
        on_a_terminal(&format!("{program} --broker {url} {arguments} >{out}"))
    };
    let told = || std::fs::read_to_string(&out).unwrap().lines().count();

    Store::open(&broker.url).kill("work", 300);
    let replay = shown("dead replay -q work --yes --rate 1000000");
    assert!(replay.contains("/300 "), "{replay}");
    assert!(replay.contains("replayed 300, not replayed 0"), "{replay}");
    assert_eq!(told(), 300);

    let _worker = Worker::start(&broker.url, &["-q", "echo", "-c", "8"]);
    let file = folder.path().join("tasks.jsonl");
    std::fs::write(&file, "{\"text\":\"1\"}\n".repeat(300)).unwrap();
    let wait = shown(&format!("submit -q echo --wait --file {}", file.display()));
    assert!(wait.contains("/300 ended"), "{wait}");
    assert!(wait.contains("done 300, dead 0"), "{wait}");
    assert_eq!(told(), 300);

    let one = format!(
        "{} --broker {} submit -q echo --wait 1",
        env!("CARGO_BIN_EXE_pumasi"),
        broker.url
    );
    let shown = on_a_terminal(&one);
    assert!(shown.contains("accepted "), "a spinner: {shown}");
}
