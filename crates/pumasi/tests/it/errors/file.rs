//! Files of tasks that are not what they should be.

use super::check;
use crate::{
    broker::TestBroker,
    process::{lines, ready, run},
};

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
fn every_kind_of_bad_line_is_named_and_the_others_are_submitted() {
    let broker = TestBroker::embedded();
    let bad: [&[u8]; 12] = [
        b"{",
        b"[]",
        b"\"hunter2\"",
        b"{}",
        b"\xff\xfe",
        br#"{"payload":1,"text":"x"}"#,
        br#"{"payload":1,"colour":"hunter2"}"#,
        br#"{"payload":1,"priority":"hunter2"}"#,
        br#"{"payload":1,"kind":"a b"}"#,
        br#"{"payload":1,"queue":"../x"}"#,
        br#"{"payload":1,"timeout":"0s"}"#,
        br#"{"payload":1,"headers":{"pumasi-attempt":"1"}}"#,
    ];
    let mut input = b"\xef\xbb\xbf{\"payload\":0}\r\n\n  \n".to_vec();
    for line in bad {
        input.extend(line);
        input.push(b'\n');
    }
    // No line end after the last.
    input.extend(b"{\"payload\":1}");
    let file = broker.file("tasks.jsonl", &input);
    let arguments = ["submit", "--file", &file, "--on-error", "skip"];
    let output = run(&broker.url, &arguments);
    let numbers: Vec<String> = (4..16)
        .map(|line| format!("line {line} is not a task: "))
        .collect();
    let mut texts: Vec<&str> = numbers.iter().map(String::as_str).collect();
    texts.push("accepted 2, refused 0, unknown 0, malformed lines 12");
    check(&output, 65, &texts);
    assert_eq!(ready(&broker.url, "tasks"), 2);
}

#[test]
fn a_line_without_end_is_refused_in_little_memory() {
    let broker = TestBroker::embedded();
    let mut input = b"{\"text\":\"".to_vec();
    input.extend(vec![b'x'; 17 * 1024 * 1024]);
    input.extend(b"\"}\n{\"payload\":1}\n");
    let file = broker.file("long.jsonl", &input);
    let arguments = ["submit", "--file", &file, "--on-error", "skip"];
    let output = run(&broker.url, &arguments);
    check(
        &output,
        65,
        &[
            "line 1 is not a task: it is longer than 16777216 bytes",
            "accepted 1,",
        ],
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named_before_anything_is_declared() {
    let broker = TestBroker::embedded();
    lines(&broker.url, &["queue", "declare", "other"]);
    for (file, cause) in [
        ("/no/such/tasks.jsonl", "No such file or directory"),
        ("/tmp", "is a directory"),
    ] {
        let output = run(&broker.url, &["submit", "--file", file]);
        check(
            &output,
            64,
            &[&format!("error[PU1002]: cannot read `{file}`"), cause],
        );
    }
    check(
        &run(&broker.url, &["queue", "show", "tasks"]),
        69,
        &["error[PU3001]: queue `tasks` does not exist"],
    );
}

#[test]
fn flags_fill_in_what_a_line_does_not_say_and_never_contradict_the_file() {
    let broker = TestBroker::embedded();
    let file = broker.file(
        "tasks.jsonl",
        b"{\"payload\":1}\n{\"payload\":2,\"timeout\":\"3s\"}\n",
    );
    let output = run(&broker.url, &["submit", "--file", &file, "--timeout", "0s"]);
    check(
        &output,
        65,
        &["line 1 is not a task: invalid timeout 0s", "accepted 0,"],
    );
    for flags in [
        &["--id", "x"][..],
        &["--content-type", "text/plain"],
        &["words"],
    ] {
        let output = run(
            &broker.url,
            &[&["submit", "--file", &file][..], flags].concat(),
        );
        check(&output, 64, &["cannot be used with"]);
    }
    let output = run(&broker.url, &["submit", "--on-error", "skip", "x"]);
    check(&output, 64, &["cannot be used with"]);
}
