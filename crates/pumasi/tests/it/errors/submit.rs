//! Tasks that cannot be taken.

use super::check;
use crate::{
    broker::{TestBroker, on_every_broker},
    process::{lines, pumasi, ready, run},
};
use pumasi_testkit::rabbitmq::{RabbitMq, Version};
use std::{
    io::Write,
    process::{Output, Stdio},
};

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
    for (arguments, text) in [
        (&["submit", "-q", "../x", "x"][..], "invalid queue name"),
        (&["submit", "-q", "", "x"], "it is empty"),
        (&["submit", "-k", "a b", "x"], "invalid task kind"),
        (&["submit", "--id", "a b", "x"], "invalid task id"),
        (&["publish", "amq.topic", "x"], "invalid topic name"),
        (&["queue", "declare", "ü"], "invalid queue name"),
        (&["submit", "--header", "k", "x"], "expected NAME=VALUE"),
        (&["submit", "--timeout", "soon", "x"], "is not a duration"),
        (&["submit", "--priority", "256", "x"], "invalid value '256'"),
        (&["submit", "--attempts", "0", "x"], "invalid value '0'"),
        (&["submit", "--at", "soon", "x"], "is not a time: expected"),
        (
            &["submit", "--at", "2026-12-24T18:00", "--delay", "1s", "x"],
            "cannot be used with",
        ),
        (&["submit"], "required arguments were not provided"),
    ] {
        check(&run(&broker.url, arguments), 64, &[text]);
    }
    let long = "q".repeat(200);
    let output = run(&broker.url, &["submit", "-q", &long, "x"]);
    check(&output, 64, &["it is longer than 199 bytes"]);
    let config = broker.config("[[topics]]\nname = 'orders'\nsubscriptions = ['a b']\n");
    let output = run(&broker.url, &["--config", &config, "topology", "plan"]);
    check(&output, 64, &["error[PU1001]", "invalid subscription name"]);
}

#[test]
fn what_a_task_cannot_carry_is_refused_and_nothing_is_stored() {
    on_every_broker(|broker| {
        lines(&broker.url, &["queue", "declare", "work"]);
        let many: Vec<String> = (0..2_000)
            .map(|n| format!("--header=k{n}={}", "v".repeat(40)))
            .collect();
        let big = format!("--header=big={}", "v".repeat(70_000));
        let long_type = format!("--content-type={}", "t".repeat(256));
        let long_name = format!("--header={}=v", "n".repeat(129));
        for (flags, code, text) in [
            (vec![big.as_str()], "PU4002", "the headers have"),
            (
                many.iter().map(String::as_str).collect(),
                "PU4002",
                "the headers have",
            ),
            (vec![long_name.as_str()], "PU4001", "longer than 128 bytes"),
            (vec!["--header==v"], "PU4001", "it is empty"),
            (vec!["--header=pumasi-attempt=9"], "PU4001", "are reserved"),
            (
                vec![long_type.as_str()],
                "PU4001",
                "content type cannot be carried",
            ),
            (
                vec!["--timeout", "0s"],
                "PU4001",
                "invalid timeout 0s: expected 1ms",
            ),
            (
                vec!["--expires", "50d"],
                "PU4001",
                "expected 1ms to 49 days",
            ),
            (
                vec!["--delay", "0s"],
                "PU4001",
                "invalid delay 0s: expected 1ms to 8.5 years",
            ),
            (vec!["--delay", "9y"], "PU4001", "expected 1ms to 8.5 years"),
            (
                vec!["--at", "2126-01-01T00:00:00Z"],
                "PU4001",
                "expected 1ms to 8.5 years",
            ),
            (
                vec!["--priority", "10"],
                "PU4001",
                "invalid priority 10: expected 0 to 9",
            ),
            (
                vec!["--attempts", "1000001"],
                "PU4001",
                "expected 1 to 1000000",
            ),
        ] {
            let mut arguments = vec!["submit", "-q", "work", "x"];
            arguments.extend(&flags);
            let output = run(&broker.url, &arguments);
            check(&output, 65, &[&format!("error[{code}]"), text]);
            assert!(output.stdout.is_empty());
        }
        assert_eq!(ready(&broker.url, "work"), 0);
    });
}

#[test]
fn a_priority_that_would_mean_nothing_is_refused_before_anything_is_sent() {
    let urgent = ["submit", "-q", "urgent", "--priority", "7", "x"];
    let Some(broker) = TestBroker::rabbitmq(Version::V3_10) else {
        return;
    };
    check(
        &run(&broker.url, &urgent),
        69,
        &[
            "error[PU3003]: priority 7 cannot be had of RabbitMQ 3.",
            "help:  submit urgent tasks to a queue of their own, or use RabbitMQ 4.0 or later",
        ],
    );
    assert_eq!(ready(&broker.url, "urgent"), 0);
}

#[test]
fn a_time_that_has_passed_means_at_once_and_is_told() {
    let broker = TestBroker::embedded();
    let output = run(&broker.url, &["submit", "--at", "2001-01-01 00:00", "x"]);
    check(&output, 0, &["the time of --at has passed"]);
    assert_eq!(ready(&broker.url, "tasks"), 1);
}

fn with_input(url: &str, arguments: &[&str], input: &[u8]) -> Output {
    let mut child = pumasi(url, arguments)
        .env("PUMASI__BROKER__PAYLOAD_BYTES_MAX", "1KiB")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that has read enough hangs up.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

#[test]
fn a_payload_over_the_limit_is_refused_wherever_it_comes_from() {
    on_every_broker(|broker| {
        lines(&broker.url, &["queue", "declare", "work"]);
        let big = "x".repeat(1025);
        let output = with_input(&broker.url, &["submit", "-q", "work", &big], b"");
        check(
            &output,
            65,
            &[
                "error[PU4002]: the payload has 1025 bytes, more than the limit of 1024",
                "help:  store large data elsewhere",
            ],
        );
        let output = with_input(
            &broker.url,
            &["submit", "-q", "work", "-"],
            &vec![b'x'; 10_000_000],
        );
        check(
            &output,
            65,
            &["error[PU4002]: standard input has more than the limit of 1024 bytes"],
        );
        let file = format!("{{\"text\":\"{big}\"}}\n{{\"text\":\"good\"}}\n");
        let output = with_input(
            &broker.url,
            &["submit", "-q", "work", "--file", "-"],
            file.as_bytes(),
        );
        check(
            &output,
            65,
            &["the payload has 1025 bytes", "accepted 1, refused 1,"],
        );
        assert_eq!(ready(&broker.url, "work"), 1);
    });
}
