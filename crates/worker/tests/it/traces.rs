//! What a worker exports, and that a collector that is away does no harm.

use crate::support::{Place, probes};
use pumasi_testkit::{
    collector::{Collector, Kind},
    process::{Service, until},
    rabbitmq::free_port,
};

const CREATION: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[test]
fn a_run_continues_the_trace_of_its_task_and_settles_in_it() {
    let (place, collector) = (Place::embedded(), Collector::start());
    place.let_go();
    let settings = [("PUMASI__TELEMETRY__OTLP_ENDPOINT", &*collector.endpoint)];
    let mut worker = Service::start(&mut place.waiting(&settings));
    let _ = probes(&worker);
    let mut task = pumasi_common::Task::new("hunter2");
    let id = task.id.to_string();
    task.trace = pumasi_common::task::TraceContext::parse(CREATION.to_owned(), None);
    place.publish(task);
    place.wait_started(1);
    worker.terminate();
    assert_eq!(worker.wait(), Some(0));

    let process = collector.only("process tasks");
    assert_eq!(process.kind, Kind::Consumer);
    assert_eq!(process.service, "pumasi-worker");
    assert_eq!(process.trace, "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(process.parent, "b7ad6b7169203331");
    assert_eq!(process.links, ["b7ad6b7169203331"]);
    assert!(!process.failed);
    for (key, value) in [
        ("messaging.system", "pumasi.sqlite"),
        ("messaging.operation.name", "process"),
        ("messaging.operation.type", "process"),
        ("messaging.destination.name", "tasks"),
        ("messaging.message.body.size", "7"),
        ("messaging.message.id", &id),
    ] {
        assert_eq!(process.attributes[key], value, "{key}");
    }
    let settle = collector.only("ack tasks");
    assert_eq!(settle.kind, Kind::Client);
    assert_eq!(
        (&settle.trace, &settle.parent),
        (&process.trace, &process.id)
    );
    assert_eq!(settle.attributes["messaging.operation.type"], "settle");
    let seen = std::fs::read_to_string(place.path("traceparent")).unwrap();
    assert_eq!(seen, process.traceparent(), "the program continues the run");
    assert!(!format!("{:?}", collector.spans()).contains("hunter2"));
}

#[test]
fn a_run_that_fails_says_how() {
    let (place, collector) = (Place::embedded(), Collector::start());
    let settings = [
        ("PUMASI__TELEMETRY__OTLP_ENDPOINT", &*collector.endpoint),
        ("PUMASI__WORKER__RETRY__ATTEMPTS_MAX", "1"),
    ];
    let mut worker = Service::start(&mut place.command(&settings));
    let _ = probes(&worker);
    place.submit_kind("fail", CREATION);
    until("a dead letter", || place.ready("tasks.dead") == 1);
    worker.terminate();
    assert_eq!(worker.wait(), Some(0));
    let process = collector.only("process tasks");
    assert!(process.failed);
    assert_eq!(process.attributes["error.type"], "failed");
    let settle = collector.only("nack tasks");
    assert_eq!(settle.attributes["pumasi.settlement"], "dead-letter");
    assert_eq!(settle.parent, process.id);
}

#[test]
fn without_a_collector_a_program_gets_the_context_of_its_task() {
    let place = Place::embedded();
    place.let_go();
    let worker = Service::start(&mut place.waiting(&[]));
    let _ = probes(&worker);
    let mut task = pumasi_common::Task::new("x");
    task.trace = pumasi_common::task::TraceContext::parse(CREATION.to_owned(), None);
    place.publish(task);
    until("the program", || {
        std::fs::read_to_string(place.path("traceparent")).is_ok_and(|text| text == CREATION)
    });
}

#[test]
fn a_collector_that_is_away_costs_one_warning_and_nothing_else() {
    let place = Place::embedded();
    place.let_go();
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let settings = [
        ("PUMASI__TELEMETRY__OTLP_ENDPOINT", &*nobody),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
    ];
    let mut worker = Service::start(&mut place.waiting(&settings));
    let _ = probes(&worker);
    place.submit(20);
    place.wait_started(20);
    let _ = worker.line_with("traces cannot be exported");
    place.submit(1);
    place.wait_started(21);
    worker.terminate();
    assert_eq!(worker.wait(), Some(0));
    until("the last line", || {
        worker
            .said()
            .iter()
            .any(|line| line.contains("drain finished"))
    });
    let said = worker.said();
    let warnings: Vec<_> = said.iter().filter(|line| line.contains("WARN")).collect();
    assert_eq!(warnings.len(), 1, "{said:#?}");
    assert!(
        warnings[0].contains("traces cannot be exported"),
        "{warnings:?}"
    );
}
