//! Handlers that are missing, or say more than anybody wants to hear.

use super::check;
use crate::{
    broker::{TestBroker, on_every_broker},
    process::{Worker, lines, pumasi, ready, run, until},
};
use pumasi_testkit::rabbitmq::Version;
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

#[test]
fn a_run_that_may_outlast_what_the_broker_allows_is_refused_at_start() {
    let Some(broker) = TestBroker::rabbitmq(Version::V3_10) else {
        return;
    };
    let start = |settings: &[(&str, &str)]| {
        let mut command = pumasi(&broker.url, &["worker", "-q", "long"]);
        command.envs(settings.iter().copied()).output().unwrap()
    };
    let refused = "cannot work: a handler may run for 40m 10s, and the broker takes a task back \
                   after 30m";
    let output = start(&[("PUMASI__WORKER__TIMEOUT", "40m")]);
    check(
        &output,
        64,
        &["PU1001", refused, "consumer_timeout", "broker.ack_timeout"],
    );
    let of_kind = broker
        .config("[[worker.handlers]]\nkind = \"report\"\nexec = [\"true\"]\ntimeout = \"40m\"\n");
    let output = run(&broker.url, &["worker", "-q", "long", "--config", &of_kind]);
    check(&output, 64, &[refused]);
    // Who knows better may say so.
    let mut command = pumasi(&broker.url, &["worker", "-q", "long", "--config", &of_kind]);
    command.env("PUMASI__BROKER__ACK_TIMEOUT", "1h");
    let worker = Worker::spawn(command);
    worker.terminate();
}

#[test]
fn an_unknown_kind_waits_where_the_worker_says_so() {
    let broker = TestBroker::embedded();
    let mut command = pumasi(&broker.url, &["worker", "-q", "kinds"]);
    command
        .env("PUMASI__WORKER__UNKNOWN", "requeue-later")
        .env("PUMASI__WORKER__UNKNOWN_DELAY", "1s");
    let worker = Worker::spawn(command);
    lines(
        &broker.url,
        &["submit", "-q", "kinds", "-k", "new.kind", "odd"],
    );
    until("the task to be kept back twice", || {
        let again = |line: &&String| line.contains("task to be tried again");
        worker.log().iter().filter(again).count() >= 2
    });
    assert_eq!(ready(&broker.url, "kinds.dead"), 0);
}
