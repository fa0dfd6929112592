//! What was accepted outlives the broker, and everything else that can be killed.

use crate::{
    broker::TestBroker,
    process::{Worker, lines, pumasi, ready, run, submit_lines, until},
};
use pumasi_testkit::rabbitmq::{RabbitMq, Version};
use std::{
    collections::HashSet,
    fmt::Write,
    io::{BufRead, BufReader},
    process::Stdio,
    time::Instant,
};

/// Longest pause between two log lines about the same failure, as users are promised.
const LOG_EVERY_SECONDS: u64 = 10;

/// Nodes that may be killed, of the versions that are installed.
fn on_own_nodes(check: impl Fn(&RabbitMq)) {
    for version in Version::ALL {
        match version.available() {
            Ok(()) => check(&RabbitMq::start(version)),
            Err(missing) => eprintln!("left out: {missing}"),
        }
    }
}

/// Tasks whose id and payload are the same number.
fn numbered(count: u32) -> String {
    (0..count).fold(String::new(), |mut text, number| {
        writeln!(text, "{{\"id\":\"n{number}\",\"text\":\"n{number}\"}}").unwrap();
        text
    })
}

fn restart(node: &RabbitMq) {
    node.sync_directory();
    node.kill9();
    node.restart();
}

#[test]
fn a_thousand_accepted_tasks_survive_a_killed_broker() {
    on_own_nodes(|node| {
        let url = node.url();
        let accepted = submit_lines(&url, "durable", &numbered(1000));
        assert_eq!(accepted.len(), 1000);
        restart(node);
        let mut workers = [(); 2].map(|()| Worker::start(&url, &["-q", "durable", "-c", "8"]));
        until("all tasks", || {
            workers.iter_mut().map(|w| w.listen().len()).sum::<usize>() >= 1000
        });
        for worker in &mut workers {
            worker.terminate();
            assert_eq!(worker.wait(), Some(0));
            worker.listen();
        }
        let done: Vec<String> = workers.into_iter().flat_map(|w| w.said.clone()).collect();
        assert_eq!(done.len(), 1000, "{:?}", node.version());
        assert_eq!(
            done.into_iter().collect::<HashSet<_>>(),
            accepted.into_iter().collect()
        );
        assert_eq!(ready(&url, "durable"), 0);
    });
}

#[test]
fn a_transient_queue_goes_with_its_broker() {
    if let Err(missing) = Version::V3_10.available() {
        eprintln!("left out: {missing}");
        return;
    }
    let node = RabbitMq::start(Version::V3_10);
    let url = node.url();
    lines(&url, &["queue", "declare", "brief", "--kind", "transient"]);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, numbered(1000)).unwrap();
    let path = file.path().to_str().unwrap();
    let submit = ["submit", "--no-declare", "-q", "brief", "--file", path];
    assert_eq!(lines(&url, &submit).len(), 1000);
    assert_eq!(ready(&url, "brief"), 1000);
    restart(&node);
    let output = run(&url, &["queue", "show", "brief"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("queue `brief` does not exist"), "{errors}");
}

#[test]
fn what_the_embedded_broker_accepted_survives_its_processes() {
    let broker = TestBroker::embedded();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, numbered(1_000_000)).unwrap();
    let path = file.path().to_str().unwrap();
    let mut submitter = pumasi(&broker.url, &["submit", "-q", "kept", "--file", path])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut told = BufReader::new(submitter.stdout.take().unwrap()).lines();
    let mut accepted: Vec<String> = told.by_ref().take(1000).map(Result::unwrap).collect();
    let mut first = Worker::start(&broker.url, &["-q", "kept", "-c", "8"]);
    first.wait_for_lines(10);
    submitter.kill().unwrap();
    first.kill();
    assert!(!submitter.wait().unwrap().success());
    accepted.extend(told.map_while(Result::ok));

    let mut second = Worker::start(&broker.url, &["-q", "kept", "-c", "8"]);
    until("the rest", || {
        second.listen();
        ready(&broker.url, "kept") == 0
    });
    second.terminate();
    assert_eq!(second.wait(), Some(0));
    first.listen();
    second.listen();
    let done: HashSet<&String> = first.said.iter().chain(&second.said).collect();
    let lost: Vec<_> = accepted.iter().filter(|id| !done.contains(id)).collect();
    assert!(lost.is_empty(), "{lost:?}");
    // Only what was in flight at the kill may have run twice.
    let runs = first.said.len() + second.said.len();
    assert!(runs <= done.len() + 8, "{runs} runs of {}", done.len());
}

#[test]
fn a_worker_waits_for_a_broker_that_is_away_and_says_so_now_and_then() {
    on_own_nodes(|node| {
        let url = node.url();
        let mut worker = Worker::start(&url, &["-q", "away"]);
        lines(&url, &["submit", "-q", "away", "before"]);
        worker.wait_for_lines(1);
        node.sync_directory();
        let away = Instant::now();
        node.kill9();
        let count = |what: &str| {
            let log = worker.log();
            log.iter().filter(|line| line.contains(what)).count() as u64
        };
        let complaints = ["consumer cannot start again yet", "cannot publish yet"];
        until("second complaints", || {
            complaints.iter().all(|what| count(what) >= 2)
        });
        let most = 1 + away.elapsed().as_secs() / LOG_EVERY_SECONDS;
        let said = complaints.map(count);
        assert!(
            said.iter().all(|count| *count <= most),
            "{:?}",
            worker.log()
        );
        node.restart();
        lines(&url, &["submit", "-q", "away", "after"]);
        assert_eq!(worker.wait_for_lines(2), ["before", "after"]);
        worker.terminate();
        assert_eq!(worker.wait(), Some(0));
        println!("{:?}: {}", node.version(), worker.log().join("\n"));
    });
}
