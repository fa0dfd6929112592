//! `--json`: every line of either output is one object that a machine can read.

use crate::{
    broker::{TestBroker, on_every_broker},
    process::{pumasi, run},
};
use serde_json::{Value, json};
use std::process::Output;

/// Every line of a stream as an object; anything else fails.
fn objects(stream: &[u8]) -> Vec<Value> {
    let text = String::from_utf8_lossy(stream);
    let object = |line: &str| match serde_json::from_str::<Value>(line) {
        Ok(value) if value.is_object() => value,
        _ => panic!("no JSON object: {line}"),
    };
    text.lines().map(object).collect()
}

fn fails(output: &Output, status: i32) -> Value {
    assert_eq!(output.status.code(), Some(status), "{output:?}");
    let mut errors = objects(&output.stderr);
    let error = errors.pop().unwrap();
    let keys: Vec<&str> = error
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(keys, ["causes", "code", "help", "message"]);
    error
}

#[test]
fn an_error_is_one_object_with_code_message_causes_and_help() {
    on_every_broker(|broker| {
        let output = run(&broker.url, &["--json", "queue", "show", "nowhere"]);
        let error = fails(&output, 69);
        assert!(output.stdout.is_empty());
        assert_eq!(error["code"], "PU3001");
        assert_eq!(error["message"], "queue `nowhere` does not exist");
        assert_eq!(error["help"], "see which exist with `pumasi queue list`");
    });
    let port = pumasi_testkit::rabbitmq::free_port();
    let url = format!("amqp://u:hunter2@127.0.0.1:{port}");
    let error = fails(&run(&url, &["--json", "submit", "x"]), 69);
    assert_eq!(error["code"], "PU2001");
    assert!(!error.to_string().contains("hunter2"));
    let arguments = ["--json", "submit", "--file", "/no/such/file"];
    let error = fails(&run(&url, &arguments), 64);
    assert_eq!(error["message"], "cannot read `/no/such/file`");
    assert_eq!(
        error["causes"],
        json!(["No such file or directory (os error 2)"])
    );
}

#[test]
fn a_command_line_that_is_not_understood_is_an_object_too() {
    let broker = TestBroker::embedded();
    for arguments in [
        &["--json", "submit"][..],
        &["submit", "--json", "-q", "a b", "x"],
        &["no-such-command", "--json"],
        &["--json", "queue", "purge", "q"],
    ] {
        let error = fails(&run(&broker.url, arguments), 64);
        assert_eq!(error["code"], "PU1003", "{arguments:?}");
    }
    // Behind `--` it is a word like any other.
    let output = run(&broker.url, &["submit", "-q", "a b", "--", "--json"]);
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("error: "));
}

#[test]
fn a_task_that_is_not_accepted_is_told_as_a_result_and_as_an_error() {
    on_every_broker(|broker| {
        let arguments = [
            "--json",
            "submit",
            "--no-declare",
            "-q",
            "nowhere",
            "--id",
            "a",
            "x",
        ];
        let output = run(&broker.url, &arguments);
        let error = fails(&output, 69);
        assert_eq!(error["code"], "PU4003");
        let expected = json!({
            "id": "a",
            "outcome": "refused",
            "code": "PU4003",
            "error": error["message"],
        });
        assert_eq!(objects(&output.stdout), [expected]);
    });
}

#[test]
fn a_file_is_told_as_objects_with_a_summary_at_the_end() {
    let broker = TestBroker::embedded();
    let file = broker.file(
        "tasks.jsonl",
        b"{\"payload\":1,\"id\":\"a\"}\n{\n{\"payload\":2,\"queue\":\"none\",\"id\":\"b\"}\n",
    );
    let arguments = ["--json", "submit", "--file", &file, "--on-error", "skip"];
    let output = run(&broker.url, &arguments);
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    let mut outcomes = objects(&output.stdout);
    outcomes.sort_by_key(|outcome| outcome["id"].to_string());
    assert_eq!(outcomes[0], json!({ "id": "a", "outcome": "accepted" }));
    assert_eq!(outcomes[1]["code"], "PU4003");
    let told = objects(&output.stderr);
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[0]["code"], "PU4007");
    assert!(
        told[0]["message"]
            .as_str()
            .unwrap()
            .starts_with("line 2 is not a task")
    );
    for (key, count) in [
        ("accepted", 1),
        ("refused", 1),
        ("unknown", 0),
        ("malformed", 1),
    ] {
        assert_eq!(told[1][key], count);
    }
}

#[test]
fn every_command_speaks_json() {
    on_every_broker(|broker| {
        let config = broker.config("[[queues]]\nname = 'work'\n");
        for (arguments, key, value) in [
            (
                &["topology", "plan"][..],
                "missing",
                json!(["queue `work.dead`", "queue `work`"]),
            ),
            (&["topology", "apply"], "present", json!([])),
            (
                &["submit", "-q", "work", "--id", "a", "x"],
                "outcome",
                json!("accepted"),
            ),
            (&["queue", "show", "work"], "ready", json!(1)),
            (&["queue", "list"], "ready", json!(1)),
            (&["queue", "declare", "other"], "differences", json!([])),
            (&["queue", "pause", "work"], "paused", json!(true)),
            (&["queue", "show", "work"], "paused", json!(true)),
            (&["queue", "resume", "work"], "paused", json!(false)),
            (&["drain", "nobody"], "worker", json!("nobody")),
            (&["queue", "purge", "work", "--yes"], "purged", json!(1)),
            (&["config", "check"], "usable", json!(true)),
            (&["config", "show"], "origin", json!("default")),
            (&["explain", "PU3002"], "code", json!("PU3002")),
        ] {
            let all = [&["--json", "--config", &config][..], arguments].concat();
            let output = run(&broker.url, &all);
            assert!(output.status.success(), "{arguments:?}: {output:?}");
            objects(&output.stderr);
            let told = objects(&output.stdout);
            let found = told.iter().any(|object| object[key] == value);
            assert!(found, "{arguments:?}: {told:?}");
        }
    });
}

#[test]
fn the_demo_speaks_json() {
    let broker = TestBroker::embedded();
    let output = pumasi(&broker.url, &["--json", "demo"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let told = objects(&output.stdout);
    assert_eq!(told[0]["submitted"], told[0]["done"]);
    assert_eq!(told[0]["lost"], 0);
    let workers = told[0]["workers"].as_array().unwrap();
    let killed = workers.iter().filter(|it| it["killed"] == true).count();
    assert_eq!(killed, 1, "{workers:?}");
    objects(&output.stderr);
}
