//! Handlers that are missing, or say more than anybody wants to hear.

use super::check;
use crate::{
    broker::{TestBroker, on_every_broker},
    process::{Worker, lines, ready, run, until},
};
use std::os::unix::fs::PermissionsExt;

#[test]
fn a_handler_that_cannot_be_run_is_refused_at_start() {
    let broker = TestBroker::embedded();
    let text = broker.file("handler.sh", b"#!/bin/sh\n");
    for (program, problem) in [
        ("/no/such/program", "it does not exist"),
        ("no-such-program-anywhere", "it is not on the PATH"),
        (text.as_str(), "it is not executable"),
        ("/tmp", "it is not executable"),
        ("", "it is not on the PATH"),
    ] {
        let output = run(&broker.url, &["worker", "--exec", program]);
        let expected = format!("error[PU5003]: cannot use `{program}` as a handler: {problem}");
        check(&output, 64, &[&expected, "help:  give an absolute path"]);
    }
}

/// A program of its own for one test.
fn script(broker: &TestBroker, text: &str) -> String {
    let path = broker.file("handler.sh", text.as_bytes());
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn a_handler_that_vanishes_or_is_no_program_costs_its_tasks_and_no_worker() {
    let broker = TestBroker::embedded();
    let path = script(&broker, "not a program\0\0");
    let mut worker = Worker::start(&broker.url, &["-q", "work", "--exec", &path]);
    let submit = ["submit", "-q", "work", "--attempts", "1", "x"];
    lines(&broker.url, &submit);
    until("a dead letter", || ready(&broker.url, "work.dead") == 1);
    std::fs::remove_file(&path).unwrap();
    lines(&broker.url, &submit);
    until("a dead letter", || ready(&broker.url, "work.dead") == 2);
    worker.terminate();
    assert_eq!(worker.wait(), Some(0));
}

/// The most memory that a process ever had, in KiB.
fn peak_memory(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_flood_of_output_is_read_and_forgotten() {
    on_every_broker(|broker| {
        let path = script(
            broker,
            "#!/bin/sh\nread line\n[ \"$line\" = flood ] || exit 0\n\
             yes pumasi | head -c 300000000\nyes pumasi | head -c 300000000 >&2\nexit 3\n",
        );
        let flags = ["-q", "work", "-c", "1", "--exec", &path];
        let worker = Worker::start(&broker.url, &flags);
        lines(&broker.url, &["submit", "-q", "work", "quiet"]);
        until("a quiet task", || ready(&broker.url, "work") == 0);
        let before = peak_memory(worker.id());
        let flood = ["submit", "-q", "work", "--attempts", "1", "flood"];
        lines(&broker.url, &flood);
        until("a dead letter", || ready(&broker.url, "work.dead") == 1);
        lines(&broker.url, &["submit", "-q", "work", "quiet"]);
        until("a quiet task", || ready(&broker.url, "work") == 0);
        // 600 MB went through; what is kept is bounded.
        let grown = peak_memory(worker.id()) - before;
        assert!(grown < 32 * 1024, "{grown} KiB more than before");
        assert_eq!(ready(&broker.url, "work.dead"), 1);
    });
}

#[test]
fn an_unknown_kind_is_moved_aside_and_nothing_else_is() {
    on_every_broker(|broker| {
        let mut worker = Worker::start(&broker.url, &["-q", "kinds"]);
        lines(
            &broker.url,
            &["submit", "-q", "kinds", "-k", "no.such.kind", "odd"],
        );
        lines(&broker.url, &["submit", "-q", "kinds", "good"]);
        assert_eq!(worker.wait_for_lines(1), ["good"]);
        until("a dead letter", || ready(&broker.url, "kinds.dead") == 1);
    });
}
