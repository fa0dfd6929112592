//! A flood of bodies while the broker takes none.

use crate::support::{Producer, alarm};
use pumasi_testkit::{
    http::{probe, submit},
    process::until,
    rabbitmq::{RabbitMq, Version},
};

/// How many clients there are at once, what each sends, and how often.
const CLIENTS: usize = 512;
const BODY_BYTES: usize = 256 * 1024;
const EACH: usize = 2;

/// The room for bodies; all that is sent at once is sixteen times as much.
const ROOM: &str = "8MiB";
/// How much the process may grow: the room, copies on their way to the broker, what is read ahead of
/// each connection, and what the allocator keeps.
/// Without a bound it is some 250 MiB.
const GROWTH_MAX_KIB: u64 = 96 * 1024;

/// The most memory that the process has held so far, in KiB.
fn memory_peak(producer: &Producer) -> u64 {
    let path = format!("/proc/{}/status", producer.service.id());
    let status = std::fs::read_to_string(path).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let words: Vec<&str> = line.unwrap().split_whitespace().collect();
    words[1].parse().unwrap()
}

/// Sends the flood; every request is answered, and none is accepted.
fn flood(producer: &Producer) {
    let body = vec![b'x'; BODY_BYTES];
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                for _ in 0..EACH {
                    let answer = submit(producer.gateway, "tasks", &body);
                    assert_eq!(answer.status, 503, "{answer:?}");
                    assert!(answer.header("retry-after").is_some(), "{answer:?}");
                }
            });
        }
    });
}

#[test]
fn a_flood_while_the_broker_is_blocked_or_away_is_answered_and_held_in_bounded_memory() {
    for version in Version::ALL {
        if let Err(missing) = version.available() {
            eprintln!("left out: {missing}");
            continue;
        }
        let node = RabbitMq::start(version);
        let producer = Producer::on(
            &node.new_vhost_url(),
            &[
                ("PUMASI__BROKER__PUBLISH_TIMEOUT", "1s"),
                ("PUMASI__GATEWAY__BODIES_BYTES_MAX", ROOM),
            ],
        );
        assert_eq!(submit(producer.gateway, "tasks", "before").status, 202);
        let before = memory_peak(&producer);
        alarm(&node, "set_alarm({{resource_limit, memory, node()}, []})");
        until("a blocked connection", || {
            let _ = submit(producer.gateway, "other", "x");
            probe(producer.health, "/readyz").status == 503
        });
        flood(&producer);
        alarm(&node, "clear_alarm({resource_limit, memory, node()})");
        until("an accepted task", || {
            submit(producer.gateway, "tasks", "between").status == 202
        });
        node.kill9();
        until("a lost broker", || {
            probe(producer.health, "/readyz").status == 503
        });
        flood(&producer);
        let grown = memory_peak(&producer) - before;
        assert!(grown < GROWTH_MAX_KIB, "it grew by {grown} KiB");
        assert_eq!(probe(producer.health, "/healthz").status, 200);
    }
}
