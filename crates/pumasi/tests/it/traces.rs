//! One trace from the submit to the settlement, across processes.

use crate::{
    broker::{TestBroker, on_every_broker},
    process::{lines, pumasi, until},
};
use pumasi_testkit::{
    collector::{Collector, Kind, Span},
    http::request,
    process::Service,
    rabbitmq::free_port,
};

const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const ENDPOINT: &str = "PUMASI__TELEMETRY__OTLP_ENDPOINT";

/// Works off one task and waits until all has been exported.
fn work(broker: &TestBroker, collector: &Collector) {
    let mut command = pumasi(&broker.url, &["worker", "-q", "traced"]);
    command.env(ENDPOINT, &collector.endpoint);
    let mut worker = Service::start(&mut command);
    let _ = worker.line_with("hunter2");
    worker.terminate();
    assert_eq!(worker.wait(), Some(0));
}

fn check_pair(publish: &Span, collector: &Collector) {
    assert_eq!(publish.kind, Kind::Producer);
    assert_eq!(publish.attributes["messaging.operation.type"], "send");
    assert_eq!(publish.attributes["messaging.destination.name"], "traced");
    let process = collector.only("process traced");
    assert_eq!(process.kind, Kind::Consumer);
    assert_eq!(
        (&process.trace, &process.parent),
        (&publish.trace, &publish.id)
    );
    let settle = collector.only("ack traced");
    assert_eq!(
        (&settle.trace, &settle.parent),
        (&publish.trace, &process.id)
    );
    for span in [publish, &process, &settle] {
        let id = &publish.attributes["messaging.message.id"];
        assert_eq!(&span.attributes["messaging.message.id"], id);
    }
    let everything = format!("{:?}", collector.spans());
    assert!(!everything.contains("hunter2"), "{everything}");
}

#[test]
fn a_submit_and_its_run_are_one_trace() {
    on_every_broker(|broker| {
        let collector = Collector::start();
        let output = pumasi(&broker.url, &["submit", "-q", "traced", "hunter2"])
            .env(ENDPOINT, &collector.endpoint)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert!(output.stderr.is_empty(), "{output:?}");
        let publish = collector.only("publish traced");
        assert_eq!(publish.service, "pumasi");
        assert_eq!(publish.parent, "");
        work(broker, &collector);
        check_pair(&publish, &collector);
    });
}

#[test]
fn a_request_to_the_gateway_continues_its_callers_trace() {
    let (broker, collector) = (TestBroker::embedded(), Collector::start());
    lines(&broker.url, &["queue", "declare", "traced"]);
    let mut command = pumasi(&broker.url, &["gateway"]);
    command
        .env(ENDPOINT, &collector.endpoint)
        .env("PUMASI__GATEWAY__LISTEN", "127.0.0.1:0");
    let mut gateway = Service::start(&mut command);
    let address = gateway.address("gateway listening");
    let headers = format!("traceparent: {CALLER}\r\n");
    let line = "POST /v1/queues/traced/tasks";
    assert_eq!(request(address, line, &headers, "hunter2").status, 202);
    gateway.terminate();
    assert_eq!(gateway.wait(), Some(0));
    let server = collector.only("POST /v1/queues/{queue}/tasks");
    assert_eq!(server.kind, Kind::Server);
    assert_eq!(server.trace, TRACE);
    assert_eq!(server.parent, "b7ad6b7169203331");
    assert_eq!(server.attributes["http.response.status_code"], "202");
    let publish = collector.only("publish traced");
    assert_eq!(publish.parent, server.id);
    work(&broker, &collector);
    check_pair(&publish, &collector);
}

#[test]
fn every_request_of_a_gateway_that_exports_nothing_carries_its_callers_trace_on() {
    let broker = TestBroker::embedded();
    lines(&broker.url, &["queue", "declare", "traced"]);
    let mut command = pumasi(&broker.url, &["gateway"]);
    command.env("PUMASI__GATEWAY__LISTEN", "127.0.0.1:0");
    let gateway = Service::start(&mut command);
    let address = gateway.address("gateway listening");
    let task = r#"{"queue":"traced","text":"hunter2"}"#;
    for (line, kind, body, status) in [
        ("POST /v1/queues/traced/tasks", "text/plain", "hunter2", 202),
        ("POST /v1/tasks", "application/json", task, 202),
        ("POST /v1/tasks/batch", "application/x-ndjson", task, 200),
    ] {
        let headers = format!("traceparent: {CALLER}\r\nContent-Type: {kind}\r\n");
        assert_eq!(request(address, line, &headers, body).status, status);
        let collector = Collector::start();
        work(&broker, &collector);
        let process = collector.only("process traced");
        assert_eq!(process.parent, "b7ad6b7169203331", "{line}");
        assert_eq!(process.trace, TRACE);
    }
}

#[test]
fn a_context_passes_through_processes_that_export_nothing() {
    let (broker, collector) = (TestBroker::embedded(), Collector::start());
    let output = pumasi(&broker.url, &["submit", "-q", "traced", "hunter2"])
        .env("TRACEPARENT", CALLER)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    work(&broker, &collector);
    let process = collector.only("process traced");
    assert_eq!(process.parent, "b7ad6b7169203331");
    assert_eq!(process.trace, TRACE);
}

#[test]
fn a_program_that_submits_goes_on_in_the_trace_of_its_run() {
    let (broker, collector) = (TestBroker::embedded(), Collector::start());
    let mut second = pumasi(&broker.url, &["worker", "-q", "next"]);
    second.env(ENDPOINT, &collector.endpoint);
    let mut second = Service::start(&mut second);
    let program = env!("CARGO_BIN_EXE_pumasi");
    let mut first = pumasi(
        &broker.url,
        &["worker", "-q", "traced", "--exec", program, "--broker"],
    );
    first
        .args([&*broker.url, "submit", "-q", "next", "-"])
        .env(ENDPOINT, &collector.endpoint);
    let mut first = Service::start(&mut first);
    lines(&broker.url, &["submit", "-q", "traced", "hunter2"]);
    let _ = second.line_with("hunter2");
    for worker in [&mut first, &mut second] {
        worker.terminate();
        assert_eq!(worker.wait(), Some(0));
    }
    let (run, next) = (
        collector.only("process traced"),
        collector.only("process next"),
    );
    assert_eq!((&next.trace, &next.parent), (&run.trace, &run.id));
}

#[test]
fn a_submit_without_its_collector_succeeds_with_one_warning() {
    let broker = TestBroker::embedded();
    let output = pumasi(&broker.url, &["submit", "-q", "traced", "x"])
        .env(ENDPOINT, format!("http://127.0.0.1:{}", free_port()))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(errors.lines().count(), 1, "{errors}");
    assert!(errors.contains("traces cannot be exported"), "{errors}");
    until("the task", || {
        crate::process::ready(&broker.url, "traced") == 1
    });
}
