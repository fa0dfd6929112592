//! Bad input: a typed error, its text, its exit status, and nothing else affected.

use crate::{
    broker::{TestBroker, on_every_broker},
    process::{lines, pumasi, run},
};
use pumasi_testkit::rabbitmq::{RabbitMq, Version};
use std::process::Output;

fn check(output: &Output, status: i32, texts: &[&str]) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{errors}");
    for text in texts {
        assert!(errors.contains(text), "expected {text:?} in: {errors}");
    }
}

#[test]
fn an_absent_broker_is_named_without_the_password() {
    let port = pumasi_testkit::rabbitmq::free_port();
    let output = run(
        &format!("amqp://u:hunter2@127.0.0.1:{port}"),
        &["submit", "x"],
    );
    check(&output, 69, &["error[PU2001]", "127.0.0.1"]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("hunter2"));
}

#[test]
fn a_queue_that_does_not_exist_refuses_the_task() {
    on_every_broker(|broker| {
        let output = run(
            &broker.url,
            &["submit", "--no-declare", "-q", "nowhere", "x"],
        );
        check(
            &output,
            69,
            &[
                "error[PU4003]",
                "queue `nowhere` does not exist",
                "pumasi queue declare",
            ],
        );
    });
}

#[test]
fn a_queue_declared_otherwise_is_reported_as_a_difference() {
    on_every_broker(|broker| {
        lines(
            &broker.url,
            &["queue", "declare", "limited", "--length-max", "5"],
        );
        let output = run(&broker.url, &["submit", "-q", "limited", "x"]);
        check(
            &output,
            69,
            &["error[PU3002]", "limited", "pumasi topology plan"],
        );
    });
}

#[test]
fn a_transient_queue_is_made_on_3_10_and_refused_with_a_reason_elsewhere() {
    on_every_broker(|broker| {
        let arguments = ["queue", "declare", "fleeting", "--kind", "transient"];
        let output = run(&broker.url, &arguments);
        match broker.node.map(RabbitMq::version) {
            Some(Version::V3_10) => {
                check(&output, 0, &[]);
                let made = String::from_utf8(output.stdout).unwrap();
                assert_eq!(
                    made,
                    "created  queue `fleeting.dead`\ncreated  queue `fleeting`\n"
                );
            }
            Some(Version::V4_3) => check(
                &output,
                69,
                &[
                    "error[PU3003]: cannot declare queue `fleeting`: kind `transient` is \
                     supported up to RabbitMQ 4.2, and this is RabbitMQ 4.3.",
                    "help:  use kind `quorum`",
                ],
            ),
            None => check(
                &output,
                69,
                &[
                    "error[PU3003]: cannot declare queue `fleeting`: the embedded broker keeps \
                     every queue on disk",
                    "help:  use kind `quorum` or `classic`",
                ],
            ),
        }
    });
}

#[test]
fn invalid_names_are_usage_errors() {
    let broker = TestBroker::embedded();
    check(
        &run(&broker.url, &["submit", "-q", "../x", "x"]),
        64,
        &["invalid queue name"],
    );
    check(
        &run(&broker.url, &["submit", "-k", "a b", "x"]),
        64,
        &["invalid task kind"],
    );
    check(
        &run(
            &broker.url,
            &["submit", "--header", "pumasi-attempt=9", "x"],
        ),
        65,
        &["reserved"],
    );
}

#[test]
fn a_malformed_line_stops_or_is_skipped_as_asked() {
    let broker = TestBroker::embedded();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tasks.jsonl");
    std::fs::write(&file, "{\"payload\":1}\n{\"payload\":\n{\"payload\":3}\n").unwrap();
    let file = file.to_str().unwrap();
    let stopped = run(&broker.url, &["submit", "--file", file]);
    check(&stopped, 65, &["line 2 is not a task", "accepted 1,"]);
    let skipped = run(
        &broker.url,
        &["submit", "--file", file, "--on-error", "skip"],
    );
    check(
        &skipped,
        65,
        &["line 2 is not a task", "accepted 2,", "malformed lines 1"],
    );
}

#[test]
fn an_unknown_configuration_key_is_named_with_its_origin() {
    let broker = TestBroker::embedded();
    let output = pumasi(&broker.url, &["config", "check"])
        .env("PUMASI__BROKER__HEARTBEET", "5s")
        .output()
        .unwrap();
    check(
        &output,
        64,
        &["error[PU1001]", "heartbeet", "PUMASI__BROKER__HEARTBEET"],
    );
}

#[test]
fn a_missing_handler_program_is_refused_at_start() {
    let broker = TestBroker::embedded();
    let output = run(&broker.url, &["worker", "--exec", "/no/such/program"]);
    check(
        &output,
        64,
        &["error[PU5003]", "/no/such/program", "does not exist"],
    );
}

#[test]
fn an_unknown_kind_is_moved_aside_and_nothing_else_is() {
    on_every_broker(|broker| {
        let mut worker = crate::process::Worker::start(&broker.url, &["-q", "kinds"]);
        lines(
            &broker.url,
            &["submit", "-q", "kinds", "-k", "no.such.kind", "odd"],
        );
        lines(&broker.url, &["submit", "-q", "kinds", "good"]);
        assert_eq!(worker.wait_for_lines(1), ["good"]);
        crate::process::until("a dead letter", || {
            crate::process::ready(&broker.url, "kinds.dead") == 1
        });
    });
}
