//! What the work-queue tutorial teaches, done with Pumasi on every broker.

use crate::{
    broker::{TestBroker, on_every_broker},
    gate::Gate,
    process::{Worker, lines, pumasi, ready, submit_lines, until},
};
use std::{collections::HashSet, fmt::Write};

fn numbers(range: std::ops::Range<u32>) -> String {
    range.fold(String::new(), |mut text, number| {
        writeln!(text, "{{\"text\":\"{number}\"}}").unwrap();
        text
    })
}

#[test]
fn two_idle_workers_share_three_tasks_two_to_one() {
    on_every_broker(|broker| {
        let mut workers = [(); 2].map(|()| Worker::start(&broker.url, &["-q", "rr", "-c", "1"]));
        for number in ["1", "2", "3"] {
            lines(&broker.url, &["submit", "-q", "rr", number]);
        }
        until("three tasks", || {
            workers.iter_mut().map(|w| w.listen().len()).sum::<usize>() == 3
        });
        let mut split = workers.map(|worker| worker.said.len());
        split.sort_unstable();
        assert_eq!(split, [1, 2], "{}", broker.url);
    });
}

#[test]
fn a_thousand_tasks_over_four_workers_are_done_once_each() {
    on_every_broker(|broker| {
        let accepted = submit_lines(&broker.url, "many", &numbers(0..1000));
        assert_eq!(accepted.len(), 1000);
        let mut workers = [(); 4].map(|()| Worker::start(&broker.url, &["-q", "many", "-c", "8"]));
        until("all tasks", || {
            workers.iter_mut().map(|w| w.listen().len()).sum::<usize>() >= 1000
        });
        for worker in &mut workers {
            worker.terminate();
            assert_eq!(worker.wait(), Some(0));
            worker.listen();
        }
        let said: Vec<String> = workers
            .iter()
            .flat_map(|worker| worker.said.clone())
            .collect();
        assert_eq!(said.len(), 1000, "{}", broker.url);
        assert_eq!(said.into_iter().collect::<HashSet<_>>().len(), 1000);
        assert_eq!(ready(&broker.url, "many"), 0);
    });
}

#[test]
fn a_task_of_a_killed_worker_is_done_by_another() {
    on_every_broker(|broker| {
        let mut first = Worker::start(&broker.url, &["-q", "ack", "-c", "1"]);
        lines(&broker.url, &["submit", "-q", "ack", "long.........."]);
        first.wait_for_lines(1);
        first.kill();
        let mut second = Worker::start(&broker.url, &["-q", "ack", "-c", "1"]);
        assert_eq!(second.wait_for_lines(1), ["long.........."]);
    });
}

/// Kills a worker in mid-task; gives what another worker then does, the queue being empty after.
fn done_after_a_kill(broker: &TestBroker, ack: &str) -> HashSet<String> {
    let url = &broker.url;
    let gate = Gate::new();
    let arguments = ["worker", "-q", ack, "-c", "1", "--ack", ack];
    let mut first = gate.worker(pumasi(url, &arguments), "first");
    lines(url, &["submit", "-q", ack, "hit"]);
    until("the task to start", || gate.started("first") == ["hit"]);
    // An ack on receipt has left before the handler began; it is in when this is accepted.
    lines(url, &["submit", "-q", ack, "next"]);
    first.kill();
    gate.open("hit");
    gate.open("next");
    let mut second = gate.worker(pumasi(url, &arguments), "second");
    until("the next task", || {
        gate.started("second").contains(&"next".to_owned()) && ready(url, ack) == 0
    });
    second.terminate();
    assert_eq!(second.wait(), Some(0));
    assert_eq!(ready(url, ack), 0);
    gate.started("second").into_iter().collect()
}

#[test]
fn the_same_kill_loses_a_task_acked_on_receipt_and_none_acked_after_work() {
    on_every_broker(|broker| {
        let done = |ack| done_after_a_kill(broker, ack);
        let set = |tasks: &[&str]| tasks.iter().map(|task| (*task).to_owned()).collect();
        let (lossy, safe): (HashSet<String>, HashSet<String>) =
            (set(&["next"]), set(&["hit", "next"]));
        assert_eq!(done("on-receipt"), lossy, "{}", broker.url);
        assert_eq!(done("after-work"), safe, "{}", broker.url);
    });
}

#[test]
fn a_worker_that_is_told_to_stop_finishes_and_gives_back_the_rest() {
    on_every_broker(|broker| {
        let mut worker = Worker::start(&broker.url, &["-q", "drain", "-c", "1", "--prefetch", "5"]);
        submit_lines(
            &broker.url,
            "drain",
            "{\"text\":\"a....\"}\n{\"text\":\"b.\"}\n{\"text\":\"c.\"}\n",
        );
        worker.wait_for_lines(1);
        worker.terminate();
        assert_eq!(worker.wait(), Some(0));
        assert_eq!(worker.listen(), ["a...."]);
        until("the rest to be ready", || ready(&broker.url, "drain") == 2);
    });
}

#[test]
fn a_program_handles_a_task_and_its_exit_status_decides() {
    on_every_broker(|broker| {
        let script =
            "read -r line; echo \"$line $PUMASI_ATTEMPT $PUMASI_QUEUE\" >&2; exit \"$line\"";
        let mut worker = Worker::start(&broker.url, &["-q", "exec", "--exec", "sh", "-c", script]);
        submit_lines(
            &broker.url,
            "exec",
            "{\"text\":\"0\"}\n{\"text\":\"65\"}\n{\"text\":\"7\",\"attempts\":1}\n",
        );
        until("two dead letters", || ready(&broker.url, "exec.dead") == 2);
        worker.terminate();
        assert_eq!(worker.wait(), Some(0));
        assert_eq!(ready(&broker.url, "exec"), 0);
    });
}

#[test]
fn a_program_given_by_flag_handles_every_kind() {
    on_every_broker(|broker| {
        let script = "echo \"$PUMASI_TASK_KIND\" >>\"$HOME/kinds\"";
        let home = tempfile::tempdir().unwrap();
        let arguments = ["worker", "-q", "kinds", "--exec", "sh", "-c", script];
        let mut command = pumasi(&broker.url, &arguments);
        command.env("HOME", home.path());
        let _worker = Worker::spawn(command);
        for kind in ["image.resize", "mail.send"] {
            lines(&broker.url, &["submit", "-q", "kinds", "-k", kind, "x"]);
        }
        until("two kinds", || {
            let kinds = std::fs::read_to_string(home.path().join("kinds"));
            let mut kinds: Vec<String> = kinds
                .iter()
                .flat_map(|k| k.lines())
                .map(str::to_owned)
                .collect();
            kinds.sort();
            kinds == ["image.resize", "mail.send"]
        });
    });
}
