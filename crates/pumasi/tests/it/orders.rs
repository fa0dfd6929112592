//! What operators ask: a queue to be paused, a task to be cancelled, a worker to end.

use crate::{
    broker::{TestBroker, on_every_broker},
    gate::Gate,
    process::{Worker, lines, pumasi, ready, run, until},
};
use pumasi_testkit::rabbitmq::Version;
use serde_json::Value;

/// What `queue show` tells, as JSON.
fn shown(url: &str, queue: &str) -> Value {
    let line = lines(url, &["--json", "queue", "show", queue]).remove(0);
    serde_json::from_str(&line).unwrap()
}

#[test]
fn a_paused_queue_takes_tasks_and_gives_none_until_it_is_resumed() {
    on_every_broker(|broker| {
        let url = &broker.url;
        let mut worker = Worker::start(url, &["-q", "work"]);
        assert_eq!(lines(url, &["queue", "pause", "work"]), ["paused work"]);
        assert_eq!(shown(url, "work")["paused"], true, "{url}");
        until("the worker to let go of it", || {
            shown(url, "work")["consumers"] == 0
        });
        lines(url, &["submit", "-q", "work", "held"]);
        // One that starts later finds the pause in force.
        let mut second = Worker::start(url, &["-q", "work"]);
        let table = lines(url, &["queue", "show", "work"]).join("\n");
        assert!(table.contains("PAUSED") && table.contains("yes"), "{table}");
        assert_eq!(ready(url, "work"), 1);
        assert_eq!(lines(url, &["queue", "resume", "work"]), ["resumed work"]);
        until("the task", || {
            [&mut worker, &mut second]
                .map(|worker| worker.listen().len())
                .iter()
                .sum::<usize>()
                == 1
        });
        assert_eq!(shown(url, "work")["paused"], false);
    });
}

#[test]
fn a_task_that_waits_is_cancelled_and_never_starts() {
    on_every_broker(|broker| {
        let url = &broker.url;
        lines(url, &["submit", "-q", "work", "--id", "wrong", "wrong"]);
        lines(url, &["submit", "-q", "work", "--id", "right", "right"]);
        let answer = lines(url, &["task", "cancel", "wrong"]);
        // Where the broker cannot look into a queue, workers are told.
        assert!(
            ["cancelled", "cancellation requested"].contains(&answer[0].as_str()),
            "{answer:?}"
        );
        let mut worker = Worker::start(url, &["-q", "work", "-c", "1"]);
        assert_eq!(worker.wait_for_lines(1), ["right"]);
        until("both to be gone", || ready(url, "work") == 0);
        worker.terminate();
        worker.wait();
        assert_eq!(worker.listen(), ["right"], "{url}");
    });
}

#[test]
fn a_cancellation_of_nothing_says_so_where_the_broker_can_know() {
    let broker = TestBroker::embedded();
    let output = run(&broker.url, &["task", "cancel", "nobody"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(output.stdout, b"no such task\n");
    let output = run(&broker.url, &["--json", "task", "cancel", "nobody"]);
    assert_eq!(
        output.stdout,
        b"{\"cancelled\":\"missing\",\"id\":\"nobody\"}\n"
    );
}

#[test]
fn a_worker_that_is_asked_by_its_name_finishes_and_ends() {
    on_every_broker(|broker| {
        let url = &broker.url;
        let gate = Gate::new();
        let command = |name| pumasi(url, &["worker", "-q", "work", "-c", "1", "--name", name]);
        let mut first = gate.worker(command("first"), "first");
        lines(url, &["submit", "-q", "work", "task"]);
        until("the task to start", || gate.started("first") == ["task"]);
        let mut second = gate.worker(command("second"), "second");
        assert_eq!(lines(url, &["drain", "first"]), ["asked first to drain"]);
        until("it to drain", || first.has_logged("drain started"));
        gate.open("task");
        assert_eq!(first.wait(), Some(0));
        // The other was not meant and goes on.
        gate.open("next");
        lines(url, &["submit", "-q", "work", "next"]);
        until("the next task", || gate.started("second") == ["next"]);
        second.terminate();
        assert_eq!(second.wait(), Some(0));
    });
}

#[test]
fn lines_of_a_file_say_when_they_begin_and_flags_do_for_the_others() {
    on_every_broker(|broker| {
        let url = &broker.url;
        let tasks = "{\"text\":\"a\",\"at\":\"2001-01-01 00:00\"}\n\
                     {\"text\":\"b\",\"delay\":\"1s\"}\n\
                     {\"text\":\"never\",\"at\":\"2030-12-24T18:00:00+09:00\"}\n\
                     {\"text\":\"nor this\"}\n";
        let file = broker.file("tasks.jsonl", tasks.as_bytes());
        let submit = ["submit", "-q", "work", "--delay", "1h", "--file", &file];
        assert_eq!(lines(url, &submit).len(), 4);
        let mut worker = Worker::start(url, &["-q", "work", "-c", "1"]);
        assert_eq!(worker.wait_for_lines(2), ["a", "b"], "{url}");
        assert_eq!(ready(url, "work"), 0);
    });
}

#[test]
fn a_task_that_is_kept_back_expires_counted_from_when_it_is_ready() {
    on_every_broker(|broker| {
        let url = &broker.url;
        for (id, expires) in [("late", "1ms"), ("well", "10m")] {
            let submit = [
                "submit",
                "-q",
                "work",
                "--delay",
                "1s",
                "--expires",
                expires,
            ];
            lines(url, &[&submit[..], &["--id", id, id]].concat());
        }
        until("both to have had their time", || {
            shown(url, "work")["ready"] == 2 || shown(url, "work.dead")["ready"] == 1
        });
        let mut worker = Worker::start(url, &["-q", "work", "-c", "1"]);
        assert_eq!(worker.wait_for_lines(1), ["well"], "{url}");
        until("the other to be a dead letter", || {
            ready(url, "work.dead") == 1
        });
        let listed = lines(url, &["--json", "dead", "list", "work"]).remove(0);
        let listed: Value = serde_json::from_str(&listed).unwrap();
        assert_eq!(
            (&listed["id"], &listed["reason"]),
            (&"late".into(), &"expired".into())
        );
    });
}

#[test]
fn what_is_urgent_comes_first_where_priorities_count() {
    let new = TestBroker::rabbitmq(Version::V4_3);
    for broker in [TestBroker::embedded()].into_iter().chain(new) {
        let url = &broker.url;
        for (priority, words) in [("4", "usual"), ("0", "some day"), ("9", "urgent")] {
            lines(
                url,
                &["submit", "-q", "work", "--priority", priority, words],
            );
        }
        let mut worker = Worker::start(url, &["-q", "work", "-c", "1"]);
        let said = worker.wait_for_lines(3);
        assert_eq!(said, ["urgent", "usual", "some day"], "{url}");
    }
}

#[test]
fn a_task_that_is_kept_back_is_counted_apart_and_comes_in_its_time() {
    on_every_broker(|broker| {
        let url = &broker.url;
        lines(url, &["queue", "declare", "work"]);
        let mut worker = Worker::start(url, &["-q", "work"]);
        let begun = std::time::Instant::now();
        lines(url, &["submit", "-q", "work", "--delay", "2s", "later"]);
        assert_eq!(ready(url, "work"), 0);
        assert!(
            [1, 0].contains(&shown(url, "work")["delayed"].as_u64().unwrap_or(0)),
            "{url}"
        );
        lines(url, &["submit", "-q", "work", "at once"]);
        assert_eq!(worker.wait_for_lines(2), ["at once", "later"]);
        assert!(
            begun.elapsed().as_millis() >= 2_000,
            "{:?}",
            begun.elapsed()
        );
    });
}
