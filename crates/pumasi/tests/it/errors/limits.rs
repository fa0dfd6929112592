//! Settings that contradict each other: told before anything is opened or declared.

use super::check;
use crate::{
    broker::{TestBroker, on_every_broker},
    process::{lines, run},
};

#[test]
fn settings_that_contradict_each_other_are_told_with_their_origins() {
    let broker = TestBroker::embedded();
    for (config, texts) in [
        (
            "[worker]\nconcurrency = 8\nprefetch = 2\n",
            ["worker.prefetch", "at least worker.concurrency"],
        ),
        (
            "[worker]\nqueues = ['a', 'b', 'a']\n",
            ["worker.queues", "each queue once"],
        ),
        (
            "[worker]\ntimeout = '0s'\n",
            ["worker.timeout", "more than 0s"],
        ),
        (
            "[[worker.handlers]]\nkind = 'k'\nexec = ['true']\n[[worker.handlers]]\nkind = 'k'\nexec = ['false']\n",
            ["worker.handlers", "each kind once"],
        ),
        (
            "[[worker.handlers]]\nexec = []\n",
            ["worker.handlers", "a program and its arguments"],
        ),
        (
            "[broker]\nheartbeat = '1500ms'\n",
            ["broker.heartbeat", "whole seconds"],
        ),
        (
            "[broker]\nheartbeat = '2m'\n",
            ["broker.heartbeat", "1s to 1m"],
        ),
        (
            "[broker]\nconnect_timeout = '0s'\n",
            ["broker.connect_timeout", "more than 0s"],
        ),
        (
            "[broker]\npayload_bytes_max = '32MiB'\n",
            [
                "broker.payload_bytes_max",
                "at most broker.publish_window_bytes",
            ],
        ),
        (
            "[[queues]]\nname = 'a'\n[[queues]]\nname = 'a'\nkind = 'classic'\n",
            ["queues", "one description of each queue"],
        ),
        (
            "[[queues]]\nname = 'a'\ndead_letter_queue = 'a'\n",
            ["queues", "dead letters in a queue of their own"],
        ),
        (
            "[gateway]\nbody_bytes_max = '1GiB'\n",
            ["gateway.body_bytes_max", "at most gateway.bodies_bytes_max"],
        ),
    ] {
        let file = broker.config(config);
        let output = run(&broker.url, &["--config", &file, "config", "check"]);
        let all = ["error[PU1001]: invalid configuration", file.as_str()];
        check(&output, 64, &[&all[..], &texts[..]].concat());
    }
}

#[test]
fn flags_that_contradict_each_other_are_told_before_a_queue_is_declared() {
    on_every_broker(|broker| {
        lines(&broker.url, &["queue", "declare", "other"]);
        let worker = |flags: &[&str]| {
            let all = [&["worker", "-q", "fresh"][..], flags].concat();
            run(&broker.url, &all)
        };
        check(
            &worker(&["-c", "8", "--prefetch", "7"]),
            64,
            &[
                "error[PU1001]",
                "`worker.prefetch` from command line",
                "`7` is not usable",
            ],
        );
        check(
            &worker(&["-q", "fresh"]),
            64,
            &["error[PU1001]", "`worker.queues` from command line"],
        );
        check(
            &worker(&["--exec", "/no/such/program"]),
            64,
            &["error[PU5003]"],
        );
        check(
            &run(&broker.url, &["queue", "show", "fresh"]),
            69,
            &["error[PU3001]: queue `fresh` does not exist"],
        );
        // Seven for each of two queues are enough for eight.
        let output = worker(&[
            "-q",
            "more",
            "-c",
            "8",
            "--prefetch",
            "7",
            "--exec",
            "/none",
        ]);
        check(&output, 64, &["error[PU5003]"]);
    });
}
