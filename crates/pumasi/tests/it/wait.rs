//! `pumasi submit --wait`: the result, the news, the failure, and every way not to get one.

use crate::{
    broker::{TestBroker, on_every_broker},
    gate::Gate,
    process::{Worker, lines, pumasi, run, until},
};
use pumasi_testkit::rabbitmq::{RabbitMq, Version};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::{
    io::{BufRead, BufReader},
    process::{Child, Output, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
};

/// A worker whose program is a shell script.
fn worker(url: &str, script: &str) -> Worker {
    let retry = [
        ("PUMASI__WORKER__RETRY__ATTEMPTS_MAX", "2"),
        ("PUMASI__WORKER__RETRY__DELAY_BASE", "100ms"),
    ];
    let mut command = pumasi(url, &["worker", "-q", "work", "-c", "8"]);
    command.args(["--exec", "sh", "-c", script]).envs(retry);
    Worker::spawn(command)
}

fn wait(url: &str, arguments: &[&str]) -> Output {
    run(
        url,
        &[&["submit", "-q", "work", "--wait"], arguments].concat(),
    )
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A submit that waits in the background. Killed when dropped.
struct Waiting {
    child: Child,
    said: Arc<Mutex<String>>,
    follower: JoinHandle<()>,
}

impl Waiting {
    fn start(url: &str, arguments: &[&str]) -> Self {
        let mut child = pumasi(url, &["submit", "-q", "work", "--wait"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let errors = BufReader::new(child.stderr.take().unwrap());
        let said = Arc::<Mutex<String>>::default();
        let log = said.clone();
        let follower = std::thread::spawn(move || {
            for line in errors.lines().map_while(Result::ok) {
                *log.lock().unwrap() += &(line + "\n");
            }
        });
        Self {
            child,
            said,
            follower,
        }
    }

    /// Waits until it says this.
    fn says(&self, words: &str) {
        until(words, || {
            let ended = self.follower.is_finished();
            let said = self.said.lock().unwrap();
            assert!(said.contains(words) || !ended, "it ended: {said}");
            said.contains(words)
        });
    }

    /// Its exit status and standard error.
    fn end(mut self) -> (Option<i32>, String) {
        until("the end of the wait", || {
            self.child.try_wait().unwrap().is_some() && self.follower.is_finished()
        });
        let status = self.child.wait().unwrap();
        (status.code(), self.said.lock().unwrap().clone())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_result_of_a_task_comes_back_as_it_is() {
    on_every_broker(|broker| {
        let _worker = worker(&broker.url, "tr a-z A-Z; printf '\\377'");
        let output = wait(&broker.url, &["--id", "shout", "hello"]);
        assert_eq!(output.status.code(), Some(0), "{}: {output:?}", broker.url);
        assert_eq!(output.stdout, b"HELLO\xff");
        let said = text(&output.stderr);
        assert!(said.contains("accepted shout"), "{said}");
        let output = run(
            &broker.url,
            &["--json", "submit", "-q", "work", "--wait", "hello"],
        );
        let line: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(line["outcome"], "done");
        assert_eq!(
            line["result_bytes"],
            serde_json::json!([72, 69, 76, 76, 79, 255])
        );
    });
}

#[test]
fn how_a_task_goes_on_is_told_and_its_failure_is_an_exit_status() {
    on_every_broker(|broker| {
        let script = "read -r it
            [ \"$it$PUMASI_ATTEMPT\" = well2 ] && exit; echo \"no $it\" >&2; exit 1";
        let _worker = worker(&broker.url, script);
        let output = wait(&broker.url, &["well"]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{said}");
        for news in ["retry in ", "no well"] {
            assert!(said.contains(news), "{news} in {said}");
        }
        let output = wait(&broker.url, &["--id", "hopeless", "route"]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("dead hopeless: attempts-spent: "), "{said}");
        assert!(said.contains("no route"), "{said}");
        assert!(output.stdout.is_empty());
    });
}

#[test]
fn progress_is_told_while_the_task_runs() {
    on_every_broker(|broker| {
        let go = broker.file("go", b"");
        std::fs::remove_file(&go).unwrap();
        let script = format!(
            "echo '::pumasi::progress 3 of 4' >&2; while [ ! -e {go} ]; do sleep 0.05; done"
        );
        let _worker = worker(&broker.url, &script);
        let waiting = Waiting::start(&broker.url, &["x"]);
        waiting.says("progress 3 of 4");
        std::fs::write(&go, "").unwrap();
        assert_eq!(waiting.end().0, Some(0), "{}", broker.url);
    });
}

#[test]
fn a_task_that_is_cancelled_while_it_is_waited_for_has_failed() {
    on_every_broker(|broker| {
        let gate = Gate::new();
        let command = pumasi(&broker.url, &["worker", "-q", "work", "-c", "1"]);
        let _worker = gate.worker(command, "w");
        let running = Waiting::start(&broker.url, &["--id", "runs", "first"]);
        running.says("started");
        let asked = lines(&broker.url, &["task", "cancel", "runs"]);
        assert_eq!(asked, ["cancellation requested"]);
        let (status, said) = running.end();
        assert_eq!(status, Some(1), "{said}");
        assert!(said.contains("cancelled runs"), "{said}");
    });
}

#[test]
fn a_wait_that_ends_before_its_task_says_which_are_open() {
    on_every_broker(|broker| {
        let waiting = ["--id", "late", "--wait-timeout", "300ms", "x"];
        let output = wait(&broker.url, &waiting);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(75), "{said}");
        assert!(said.contains("no outcome within 300ms"), "{said}");
        assert!(said.contains("still open: late"), "{said}");

        let waiting = Waiting::start(&broker.url, &["--id", "mine", "x"]);
        waiting.says("accepted mine");
        let id = Pid::from_child(&waiting.child);
        kill_process(id, Signal::INT).unwrap();
        let (status, said) = waiting.end();
        assert_eq!(status, Some(130), "{said}");
        assert!(said.contains("still open: mine"), "{said}");
    });
}

#[test]
fn a_task_that_is_not_accepted_is_not_waited_for() {
    let broker = TestBroker::embedded();
    let output = wait(&broker.url, &["--no-declare", "x"]);
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    assert!(text(&output.stderr).contains("PU4003"));
    let output = run(&broker.url, &["submit", "--wait-timeout", "1s", "x"]);
    assert_eq!(output.status.code(), Some(64), "{output:?}");
}

#[test]
fn all_tasks_of_a_file_are_waited_for_together() {
    on_every_broker(|broker| {
        let _worker = worker(&broker.url, "read -r it; echo \"it was $it\"; exit \"$it\"");
        let tasks: String = (0..60)
            .map(|number| {
                let status = if number % 20 == 19 { 65 } else { 0 };
                format!("{{\"id\":\"n{number}\",\"text\":\"{status}\"}}\n")
            })
            .collect();
        let file = broker.file("tasks.jsonl", tasks.as_bytes());
        let output = wait(&broker.url, &["--file", &file]);
        let (told, said) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert_eq!(told.lines().count(), 60);
        assert_eq!(
            told.lines()
                .filter(|line| line.starts_with("done n"))
                .count(),
            57
        );
        assert!(
            said.contains("done 57, dead 3, cancelled 0, open 0 in "),
            "{said}"
        );
        assert!(said.contains("dead n19: rejected: "), "{said}");

        let more = broker.file("more.jsonl", b"{\"text\":\"0\"}\n{\"text\":\"65\"}\n");
        let output = run(
            &broker.url,
            &["--json", "submit", "-q", "work", "--wait", "--file", &more],
        );
        let mut ends: Vec<Value> = text(&output.stdout)
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        ends.sort_by_key(|end| end["outcome"].to_string());
        assert_eq!(
            (&ends[0]["outcome"], &ends[1]["outcome"]),
            (&"dead".into(), &"done".into())
        );
        assert_eq!(ends[1]["result"], "it was 0\n");
        let summary: Value = serde_json::from_slice(&output.stderr).unwrap();
        assert_eq!((&summary["done"], &summary["dead"]), (&1.into(), &1.into()));
    });
}

#[test]
fn a_wait_survives_a_restart_of_the_broker() {
    for version in Version::ALL {
        if let Err(missing) = version.available() {
            eprintln!("left out: {missing}");
            continue;
        }
        let node = RabbitMq::start(version);
        let url = node.url();
        let gate = Gate::new();
        lines(&url, &["queue", "declare", "work"]);
        let _worker = gate.worker(pumasi(&url, &["worker", "-q", "work", "-c", "1"]), "w");
        let waiting = Waiting::start(&url, &["--id", "long", "long"]);
        waiting.says("started");
        node.sync_directory();
        node.kill9();
        node.restart();
        gate.open("long");
        let (status, said) = waiting.end();
        assert_eq!(status, Some(0), "{version:?}: {said}");
    }
}
