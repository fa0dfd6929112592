//! What a worker says of itself, over HTTP and to `--check`.

use crate::support::{Place, command, probes};
use pumasi_testkit::{
    http::probe,
    process::{Service, until},
    proxy::Proxy,
    rabbitmq::{RabbitMq, Version, free_port},
};
use std::process::Command;

/// The exit status of a check, and what it says.
fn checked(command: &mut Command, check: &str) -> (Option<i32>, String) {
    let output = command.arg(check).output().unwrap();
    assert!(output.stdout.is_empty(), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), said)
}

const YES: (Option<i32>, String) = (Some(0), String::new());

#[test]
fn a_worker_whose_broker_falls_silent_is_not_ready_until_it_speaks_again() {
    for version in Version::ALL {
        if let Err(missing) = version.available() {
            eprintln!("left out: {missing}");
            continue;
        }
        let node = RabbitMq::shared(version);
        let proxy = Proxy::to(node.port());
        let (direct, through) = (format!(":{}/", node.port()), format!(":{}/", proxy.port()));
        let place = Place::on(node.new_vhost_url().replace(&direct, &through));
        let listen = format!("127.0.0.1:{}", free_port());
        let settings = [
            ("PUMASI__BROKER__HEARTBEAT", "1s"),
            ("PUMASI__BROKER__CONNECT_TIMEOUT", "2s"),
            ("PUMASI__HEALTH__LISTEN", &listen),
        ];
        let worker = Service::start(&mut place.command(&settings));
        let health = probes(&worker);
        let check = |probe| checked(&mut place.command(&settings), probe);
        until("a ready worker", || probe(health, "/readyz").status == 200);
        assert_eq!(check("--check"), YES);
        // No end of the connection is seen: only the heartbeats stay away.
        proxy.swallow();
        until("a lost broker", || probe(health, "/readyz").status == 503);
        let (status, said) = check("--check=ready");
        assert_eq!(status, Some(1));
        assert!(
            said.starts_with("not ready: the broker is away: "),
            "{said}"
        );
        assert_eq!(check("--check=live"), YES);
        proxy.heal();
        until("a ready worker", || check("--check") == YES);
    }
}

#[test]
fn a_worker_that_drains_lives_and_is_not_ready() {
    let place = Place::embedded();
    let listen = format!("127.0.0.1:{}", free_port());
    let settings = [("PUMASI__HEALTH__LISTEN", &*listen)];
    let mut worker = Service::start(&mut place.waiting(&settings));
    let _ = probes(&worker);
    place.submit(1);
    place.wait_started(1);
    worker.terminate();
    let draining = (Some(1), "not ready: draining\n".to_owned());
    let check = |probe| checked(&mut place.command(&settings), probe);
    until("a drain", || check("--check") == draining);
    assert_eq!(check("--check=live"), YES);
    place.let_go();
    assert_eq!(worker.wait(), Some(0));
    let (status, said) = check("--check=live");
    assert_eq!(status, Some(1));
    assert!(said.contains("does not answer"), "{said}");
}

#[test]
fn a_check_asks_no_broker_and_says_when_there_is_nobody_to_ask() {
    let broker = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    broker.set_nonblocking(true).unwrap();
    let url = format!("amqp://u@{}", broker.local_addr().unwrap());
    let with = |key: &str, value: &str| {
        let mut command = command();
        command.env("PUMASI__BROKER__URL", &url).env(key, value);
        checked(&mut command, "--check")
    };
    let (status, said) = with("PUMASI__WORKER__QUEUES", "tasks");
    assert_eq!(status, Some(64), "{said}");
    assert!(said.starts_with("error[PU1001]: "), "{said}");
    assert!(said.contains("`health.listen` is not set"), "{said}");
    let (status, said) = with("PUMASI__HEALTH__LISTEN", "soon");
    assert_eq!(status, Some(64), "{said}");
    let nobody = format!("0.0.0.0:{}", free_port());
    let (status, said) = with("PUMASI__HEALTH__LISTEN", &nobody);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.starts_with("not ready: 127.0.0.1:"), "{said}");
    let connected = broker.accept().unwrap_err();
    assert_eq!(connected.kind(), std::io::ErrorKind::WouldBlock);
}
