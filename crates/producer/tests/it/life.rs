//! How the service starts, says how it is, and ends.

use crate::support::{Producer, command};
use pumasi_testkit::{
    http::{Connection, probe, submit},
    process::{Service, until},
    rabbitmq::{RabbitMq, Version, free_port},
};
use std::{net::TcpStream, process::Command};

fn ends(command: &mut Command, status: i32, texts: &[&str]) {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{errors}");
    for text in texts {
        assert!(errors.contains(text), "expected {text:?} in: {errors}");
    }
}

#[test]
fn without_a_broker_it_refuses_to_start() {
    ends(
        &mut command(),
        64,
        &["error[PU1001]", "broker.url", "help:"],
    );
}

#[test]
fn what_is_wrong_with_its_settings_is_a_usage_error() {
    ends(command().arg("--no-such-flag"), 64, &["--no-such-flag"]);
    ends(
        command().args(["--config", "/no/such/file.toml"]),
        64,
        &["/no/such/file.toml"],
    );
    ends(
        command()
            .env("PUMASI__BROKER__URL", "sqlite:/tmp/never.db")
            .env("PUMASI__GATEWAY__BODY_BYTES_MAX", "1GiB")
            .env("PUMASI__GATEWAY__REQUEST_TIMEOUT", "0s"),
        64,
        &["gateway.body_bytes_max", "gateway.request_timeout"],
    );
    ends(
        command().env("PUMASI__GATEWEY__LISTEN", "127.0.0.1:0"),
        64,
        &["gatewey", "PUMASI__GATEWEY__LISTEN"],
    );
    let output = command().arg("--version").output().unwrap();
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn an_absent_broker_ends_it_with_a_status_that_says_so() {
    let url = format!("amqp://u:hunter2@127.0.0.1:{}", free_port());
    let output = command().args(["--broker", &url]).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(69), "{errors}");
    assert!(!errors.contains("hunter2"), "{errors}");
}

#[test]
fn a_request_under_way_is_answered_before_it_ends() {
    let mut producer = Producer::embedded(&[]);
    assert_eq!(probe(producer.health, "/readyz").status, 200);
    let mut under_way = Connection::open(producer.gateway);
    under_way.announce("/v1/queues/tasks/tasks", 10);
    under_way.send("half ");
    producer.service.terminate();
    until("a drain", || {
        probe(producer.health, "/readyz").status == 503
    });
    assert_eq!(probe(producer.health, "/readyz").body, "draining\n");
    assert_eq!(probe(producer.health, "/healthz").status, 200);
    until("a closed door", || {
        TcpStream::connect(producer.gateway).is_err()
    });
    under_way.send("done.");
    assert_eq!(under_way.answer().status, 202);
    assert_eq!(producer.service.wait(), Some(0));
    assert_eq!(producer.ready("tasks"), 1);
}

#[test]
fn a_request_that_never_ends_does_not_hold_up_its_end() {
    for second_signal in [false, true] {
        let grace = if second_signal { "1h" } else { "1s" };
        let mut producer = Producer::embedded(&[("PUMASI__GATEWAY__DRAIN_TIMEOUT", grace)]);
        let mut stalled = Connection::open(producer.gateway);
        stalled.announce("/v1/queues/tasks/tasks", 10);
        producer.service.terminate();
        let _ = producer.service.line_with("SIGTERM");
        if second_signal {
            producer.service.terminate();
        }
        assert_eq!(producer.service.wait(), Some(0));
        assert_eq!(stalled.answer().status, 0, "it was cut off");
    }
}

#[test]
fn settings_come_from_file_and_environment_and_the_password_from_its_own_file() {
    for version in Version::ALL {
        if let Err(missing) = version.available() {
            eprintln!("left out: {missing}");
            continue;
        }
        let node = RabbitMq::shared(version);
        let folder = tempfile::tempdir().unwrap();
        let password = folder.path().join("password");
        let file = folder.path().join("pumasi.toml");
        let vhost = node.new_vhost();
        let port = node.port();
        std::fs::write(
            &file,
            format!(
                "[broker]\nurl = \"amqp://guest@127.0.0.1:{port}\"\npassword_file = {password:?}\n\
                 [[queues]]\nname = \"tasks\"\n[gateway]\nlisten = \"127.0.0.1:0\"\n\
                 [worker]\nqueues = [\"of another process\"]\n"
            ),
        )
        .unwrap();
        let start = || {
            let mut command = command();
            command
                .arg("--config")
                .arg(&file)
                .env("PUMASI__BROKER__VHOST", &vhost);
            command
        };
        std::fs::write(&password, "wrong\n").unwrap();
        ends(&mut start(), 69, &["error[PU2"]);
        std::fs::write(&password, "guest\n").unwrap();
        let service = Service::start(&mut start());
        let gateway = service.address("gateway listening");
        assert_eq!(submit(gateway, "tasks", "x").status, 202);
    }
}

#[test]
fn told_to_stop_before_the_broker_answers_it_ends_at_once() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("amqp://u@{}", silent.local_addr().unwrap());
    let mut service = Service::start(
        command()
            .env("PUMASI__BROKER__URL", url)
            .env("PUMASI__BROKER__CONNECT_TIMEOUT", "1h"),
    );
    let connection = silent.accept().unwrap();
    service.terminate();
    assert_eq!(service.wait(), Some(0));
    drop(connection);
}
