//! What a worker says: enough, and no more.

use crate::support::Place;
use pumasi_testkit::process::{Service, until};

/// Works off tasks and gives every line that the worker said.
fn log_of(settings: &[(&str, &str)], tasks: usize) -> Vec<String> {
    let place = Place::embedded();
    place.let_go();
    let mut worker = Service::start(&mut place.waiting(settings));
    let _ = worker.line_with("worker started");
    place.submit(tasks);
    place.wait_started(tasks);
    worker.terminate();
    assert_eq!(worker.wait(), Some(0));
    until("the last line", || {
        worker
            .said()
            .iter()
            .any(|line| line.contains("drain finished"))
    });
    worker.said()
}

#[test]
fn a_steady_worker_says_nothing_per_task() {
    let few = log_of(&[], 1);
    let many = log_of(&[], 25);
    assert_eq!(few.len(), many.len(), "{few:#?}\n{many:#?}");
    let verbose = log_of(&[("PUMASI__TELEMETRY__LOG_LEVEL", "debug")], 5);
    let completed = verbose
        .iter()
        .filter(|line| line.contains("task completed"));
    assert_eq!(completed.count(), 5, "{verbose:#?}");
}

#[test]
fn json_logs_are_one_object_per_line() {
    let lines = log_of(&[("PUMASI__TELEMETRY__LOG_FORMAT", "json")], 1);
    assert!(lines.len() >= 3, "{lines:#?}");
    for line in &lines {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        for key in ["timestamp", "level", "target", "message"] {
            assert!(event[key].is_string(), "{key} in {line}");
        }
    }
    let started = lines.iter().find(|line| line.contains("worker started"));
    let event: serde_json::Value = serde_json::from_str(started.unwrap()).unwrap();
    assert_eq!(event["queues"], "tasks");
    assert_eq!(event["concurrency"], 4);
}

#[test]
fn text_logs_to_a_pipe_hold_no_colours() {
    for line in log_of(&[], 1) {
        assert!(!line.contains('\u{1b}'), "{line:?}");
    }
}
