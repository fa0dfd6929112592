//! How the service starts, says how it is, and ends.

use crate::support::{Place, command, probes};
use pumasi_testkit::{
    http::probe,
    process::{Service, until},
    rabbitmq::{RabbitMq, Version},
};
use std::process::Command;

fn ends(command: &mut Command, status: i32, texts: &[&str]) {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{errors}");
    for text in texts {
        assert!(errors.contains(text), "expected {text:?} in: {errors}");
    }
}

#[test]
fn without_a_broker_or_a_queue_it_refuses_to_start() {
    ends(
        command().env("PUMASI__WORKER__QUEUES", "tasks"),
        64,
        &["error[PU1001]", "broker.url", "help:"],
    );
    let place = Place::embedded();
    ends(
        command().env("PUMASI__BROKER__URL", &place.url),
        64,
        &["error[PU1001]", "worker.queues", "at least one queue"],
    );
}

#[test]
fn what_is_wrong_with_its_settings_is_a_usage_error() {
    let place = Place::embedded();
    ends(command().arg("--no-such-flag"), 64, &["--no-such-flag"]);
    ends(
        &mut place.command(&[("PUMASI__WORKER__CONCURENCY", "4")]),
        64,
        &["concurency", "PUMASI__WORKER__CONCURENCY"],
    );
    let file = place.path("pumasi.toml");
    let text = "[[worker.handlers]]\nexec = [\"/no/such/program\"]\n";
    std::fs::write(&file, text).unwrap();
    ends(
        place.command(&[]).arg("--config").arg(&file),
        64,
        &["error[PU5003]", "/no/such/program"],
    );
}

#[test]
fn a_drain_finishes_what_runs_and_gives_back_the_rest() {
    let check = |place: &Place| {
        let prefetch = [
            ("PUMASI__WORKER__CONCURRENCY", "2"),
            ("PUMASI__WORKER__PREFETCH", "4"),
        ];
        let mut worker = Service::start(&mut place.waiting(&prefetch));
        let health = probes(&worker);
        until("a ready worker", || probe(health, "/readyz").status == 200);
        assert_eq!(probe(health, "/healthz").status, 200);
        place.submit(5);
        place.wait_started(2);
        worker.terminate();
        until("a drain", || probe(health, "/readyz").status == 503);
        assert_eq!(probe(health, "/healthz").status, 200);
        place.let_go();
        assert_eq!(worker.wait(), Some(0));
        assert_eq!(place.started(), 2, "nothing was started after the signal");
        until("three tasks", || place.ready("tasks") == 3);
        assert_eq!(place.ready("tasks.dead"), 0);
    };
    check(&Place::embedded());
    for version in Version::ALL {
        match version.available() {
            Ok(()) => check(&Place::on(RabbitMq::shared(version).new_vhost_url())),
            Err(missing) => eprintln!("left out: {missing}"),
        }
    }
}

#[test]
fn a_handler_that_outlasts_the_grace_is_ended_and_its_task_goes_back() {
    for second_signal in [false, true] {
        let place = Place::embedded();
        let grace = if second_signal { "1h" } else { "1s" };
        let settings = [("PUMASI__WORKER__DRAIN_TIMEOUT", grace)];
        let mut worker = Service::start(&mut place.waiting(&settings));
        let _ = probes(&worker);
        place.submit(1);
        place.wait_started(1);
        worker.terminate();
        let _ = worker.line_with("drain started");
        if second_signal {
            worker.terminate();
        }
        assert_eq!(worker.wait(), Some(0));
        assert_eq!(place.ready("tasks"), 1);
    }
}

#[test]
fn it_is_not_ready_while_the_broker_is_gone_and_works_on_when_it_is_back() {
    for version in Version::ALL {
        if let Err(missing) = version.available() {
            eprintln!("left out: {missing}");
            continue;
        }
        let node = RabbitMq::start(version);
        let place = Place::on(node.new_vhost_url());
        place.let_go();
        let worker = Service::start(&mut place.waiting(&[]));
        let health = probes(&worker);
        until("a ready worker", || probe(health, "/readyz").status == 200);
        place.submit(1);
        place.wait_started(1);
        node.sync_directory();
        node.kill9();
        until("a lost broker", || probe(health, "/readyz").status == 503);
        assert_eq!(probe(health, "/healthz").status, 200);
        node.restart();
        until("a ready worker", || probe(health, "/readyz").status == 200);
        place.submit(1);
        until("the second task", || place.started() >= 2);
    }
}

#[test]
fn told_to_stop_before_the_broker_answers_it_ends_at_once() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("amqp://u@{}", silent.local_addr().unwrap());
    let mut service = Service::start(
        command()
            .env("PUMASI__BROKER__URL", url)
            .env("PUMASI__BROKER__CONNECT_TIMEOUT", "1h")
            .env("PUMASI__WORKER__QUEUES", "tasks"),
    );
    let connection = silent.accept().unwrap();
    service.terminate();
    assert_eq!(service.wait(), Some(0));
    drop(connection);
}
