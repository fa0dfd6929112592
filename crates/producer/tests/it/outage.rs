//! When the broker cannot take tasks: 503 with `Retry-After`, never a false 202.

use crate::support::{Producer, alarm};
use pumasi_testkit::{
    http::{probe, submit},
    process::until,
    rabbitmq::{RabbitMq, Version},
};

/// Runs a check on a node of its own of each version.
fn on_own_nodes(check: impl Fn(&RabbitMq)) {
    for version in Version::ALL {
        match version.available() {
            Ok(()) => check(&RabbitMq::start(version)),
            Err(missing) => eprintln!("left out: {missing}"),
        }
    }
}

#[test]
fn a_broker_that_is_gone_is_503_until_it_is_back() {
    on_own_nodes(|node| {
        let producer = Producer::on(
            &node.new_vhost_url(),
            &[("PUMASI__BROKER__PUBLISH_TIMEOUT", "1s")],
        );
        assert_eq!(submit(producer.gateway, "tasks", "one").status, 202);
        assert_eq!(probe(producer.health, "/readyz").status, 200);
        node.sync_directory();
        node.kill9();
        until("a lost broker", || {
            probe(producer.health, "/readyz").status == 503
        });
        assert_eq!(probe(producer.health, "/healthz").status, 200);
        let answer = submit(producer.gateway, "tasks", "lost");
        assert_eq!(answer.status, 503, "{answer:?}");
        assert_eq!(answer.header("retry-after"), Some("5"));
        assert!(answer.json()["id"].is_string(), "to repeat it with");
        node.restart();
        until("a broker that is back", || {
            probe(producer.health, "/readyz").status == 200
        });
        until("an accepted task", || {
            submit(producer.gateway, "tasks", "two").status == 202
        });
    });
}

#[test]
fn a_full_queue_is_503() {
    let check = |producer: &Producer| {
        // A quorum queue lets a few more in before it says no.
        until("a refusal", || {
            let answer = submit(producer.gateway, "small", "x");
            assert!(matches!(answer.status, 202 | 503), "{answer:?}");
            assert_eq!(answer.header("retry-after").is_some(), answer.status == 503);
            answer.status == 503 && answer.body.contains("queue `small` is full")
        });
        assert!(producer.ready("small") >= 2);
        assert_eq!(submit(producer.gateway, "tasks", "x").status, 202);
    };
    check(&Producer::embedded(&[]));
    for version in Version::ALL {
        match version.available() {
            Ok(()) => check(&Producer::on(
                &RabbitMq::shared(version).new_vhost_url(),
                &[],
            )),
            Err(missing) => eprintln!("left out: {missing}"),
        }
    }
}

#[test]
fn a_broker_under_a_memory_alarm_accepts_nothing_and_the_drain_waits_for_its_confirm() {
    on_own_nodes(|node| {
        let url = node.new_vhost_url();
        let mut producer = Producer::on(&url, &[("PUMASI__BROKER__PUBLISH_TIMEOUT", "30s")]);
        assert_eq!(submit(producer.gateway, "tasks", "before").status, 202);
        alarm(node, "set_alarm({{resource_limit, memory, node()}, []})");
        let gateway = producer.gateway;
        let under_way = std::thread::spawn(move || submit(gateway, "tasks", "during"));
        until("a blocked connection", || {
            probe(producer.health, "/readyz")
                .body
                .contains("the broker takes no tasks")
        });
        assert!(!under_way.is_finished(), "no confirm, no answer");
        let impatient = Producer::on(&url, &[("PUMASI__BROKER__PUBLISH_TIMEOUT", "1s")]);
        let answer = submit(impatient.gateway, "other", "in vain");
        assert_eq!(answer.status, 503, "{answer:?}");
        assert_eq!(answer.header("retry-after"), Some("5"));
        producer.service.terminate();
        until("a drain", || {
            probe(producer.health, "/readyz").body == "draining\n"
        });
        alarm(node, "clear_alarm({resource_limit, memory, node()})");
        let answer = under_way.join().unwrap();
        assert_eq!(answer.status, 202, "{answer:?}");
        assert_eq!(producer.service.wait(), Some(0));
        until("both tasks", || producer.ready("tasks") == 2);
    });
}
