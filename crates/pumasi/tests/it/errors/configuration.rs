//! Configuration that cannot be read.

use super::check;
use crate::{
    broker::TestBroker,
    process::{pumasi, run},
};

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
fn a_configuration_file_that_cannot_be_read_is_named() {
    let broker = TestBroker::embedded();
    for (file, code, text) in [
        (
            "/no/such/pumasi.toml",
            "PU1002",
            "cannot read the configuration file `/no/such/pumasi.toml`",
        ),
        (
            "/tmp",
            "PU1002",
            "cannot read the configuration file `/tmp`",
        ),
        (
            &broker.config("[broker\npassword = 'hunter2'\n"),
            "PU1001",
            "line 1 is not TOML",
        ),
        (
            &broker.config("[broker]\nurl = 'amqp://u:hunter2@h'\n[[queues]\n"),
            "PU1001",
            "line 3 is not TOML",
        ),
        (
            &broker.file("pumasi.toml", b"\xff\xfe"),
            "PU1002",
            "cannot read",
        ),
        (
            &broker.config("[worker]\nconcurrency = 0\nprefech = 1\n[broker]\nheartbeat = 5\n"),
            "PU1001",
            "3 problems",
        ),
    ] {
        let output = run(&broker.url, &["--config", file, "config", "check"]);
        check(&output, 64, &[&format!("error[{code}]"), text]);
    }
}

#[test]
fn a_value_of_the_wrong_type_is_named_with_its_origin() {
    let broker = TestBroker::embedded();
    for (name, value, texts) in [
        (
            "PUMASI__WORKER__CONCURRENCY",
            "many",
            ["worker.concurrency", "PUMASI__WORKER__CONCURRENCY"],
        ),
        ("PUMASI__WORKER__ACK", "never", ["worker.ack", "after-work"]),
        (
            "PUMASI__BROKER__HEARTBEAT",
            "5",
            ["broker.heartbeat", "a number and a unit"],
        ),
        ("PUMASI__QUEUES", "x", ["queues", "PUMASI__QUEUES"]),
    ] {
        let output = pumasi(&broker.url, &["config", "check"])
            .env(name, value)
            .output()
            .unwrap();
        check(&output, 64, &["error[PU1001]", texts[0], texts[1]]);
    }
}
