//! What the gateway answers.

use crate::support::Producer;
use pumasi_testkit::{
    http::{Answer, request, submit},
    process::until,
    rabbitmq::{RabbitMq, Version},
};
use std::collections::HashSet;

const POST: &str = "POST /v1/queues/tasks/tasks";

fn check_problem(answer: &Answer, status: u16, title: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );
    let problem = answer.json();
    assert_eq!(problem["status"], status);
    let text = problem["title"].as_str().unwrap();
    assert!(text.contains(title), "expected {title:?} in {text:?}");
}

/// Runs a check on the embedded broker and on both RabbitMQ versions.
pub(crate) fn on_every_broker(check: impl Fn(&Producer)) {
    check(&Producer::embedded(&[]));
    for version in Version::ALL {
        match version.available() {
            Ok(()) => {
                let url = RabbitMq::shared(version).new_vhost_url();
                check(&Producer::on(&url, &[]));
            }
            Err(missing) => eprintln!("left out: {missing}"),
        }
    }
}

#[test]
fn any_body_is_accepted_with_the_id_of_its_task() {
    on_every_broker(|producer| {
        let bytes = [0_u8, 255, 10, 13];
        for body in [&b""[..], b"words", b"{\"a\":1}", &bytes] {
            let answer = submit(producer.gateway, "tasks", body);
            assert_eq!(answer.status, 202, "{answer:?}");
            let id = answer.json()["id"].as_str().unwrap().to_owned();
            assert_eq!(id.len(), 36, "a UUID: {id}");
        }
        let line = format!("{POST}?kind=image.resize&id=order-7");
        let answer = request(producer.gateway, &line, "", "x");
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (202, r#"{"id":"order-7"}"#)
        );
        until("five tasks", || producer.ready("tasks") == 5);
    });
}

#[test]
fn a_wrong_request_is_a_problem_that_says_what_is_wrong() {
    let producer = Producer::embedded(&[("PUMASI__GATEWAY__BODY_BYTES_MAX", "1KiB")]);
    let ask = |line: &str, body: &[u8]| request(producer.gateway, line, "", body);
    for (line, status, title) in [
        ("POST /v1/queues/a%20b/tasks", 400, "invalid queue name"),
        ("POST /v1/queues/..%2fx/tasks", 400, "invalid queue name"),
        ("POST /v1/queues/%ff/tasks", 400, "UTF-8"),
        ("POST /v1/queues/tasks/tasks?kind=a%20b", 400, "kind"),
        ("POST /v1/queues/tasks/tasks?id=", 400, "id"),
        ("POST /v1/queues/tasks/tasks?colour=red", 400, "colour"),
        (
            "POST /v1/queues/tasks/tasks?delay=soon",
            400,
            "not a duration",
        ),
        (
            "POST /v1/queues/tasks/tasks?at=2026-12-24T18:00",
            400,
            "with its offset",
        ),
        (
            "POST /v1/queues/tasks/tasks?at=2026-12-24T18:00:00Z&delay=1s",
            400,
            "both",
        ),
        (
            "POST /v1/queues/tasks/tasks?priority=10",
            422,
            "expected 0 to 9",
        ),
        (
            "POST /v1/queues/tasks/tasks?delay=9y",
            422,
            "1ms to 8.5 years",
        ),
        (
            "POST /v1/queues/tasks/tasks?timeout=0s",
            422,
            "invalid timeout",
        ),
        ("POST /v1/queues/nowhere/tasks", 404, "nowhere"),
        ("POST /v2/anything", 404, "/v2/anything"),
        ("GET /", 404, "nothing is served at /"),
        ("GET /v1/queues/tasks/tasks", 405, "GET"),
        ("DELETE /v1/queues/tasks/tasks", 405, "DELETE"),
    ] {
        let answer = ask(line, b"x");
        check_problem(&answer, status, title);
        assert_eq!(answer.header("retry-after"), None);
    }
    assert_eq!(
        ask("GET /v1/queues/tasks/tasks", b"").header("allow"),
        Some("post")
    );
    check_problem(&ask(POST, &[b'x'; 1025]), 413, "1024");
    assert_eq!(ask(POST, &[b'x'; 1024]).status, 202);
    assert_eq!(producer.ready("tasks"), 1, "nothing else was stored");
}

#[test]
fn what_is_to_be_kept_back_is_accepted_and_not_ready() {
    on_every_broker(|producer| {
        for start in [
            "delay=1h",
            "at=2030-12-24T18:00:00Z",
            "at=2030-12-24T18:00:00%2B09:00",
        ] {
            let line = format!("{POST}?{start}&expires=1h&timeout=30s&attempts=3");
            let answer = request(producer.gateway, &line, "", "x");
            assert_eq!(answer.status, 202, "{answer:?}");
        }
        let line = format!("{POST}?at=2001-01-01T00:00:00Z");
        assert_eq!(request(producer.gateway, &line, "", "x").status, 202);
        until("the last to be ready", || producer.ready("tasks") == 1);
    });
}

#[test]
fn a_priority_that_would_mean_nothing_is_a_problem_that_says_what_to_do() {
    if Version::V3_10.available().is_err() {
        return eprintln!("left out: RabbitMQ 3.10 is not here");
    }
    let url = RabbitMq::shared(Version::V3_10).new_vhost_url();
    let producer = Producer::on(&url, &[]);
    let answer = request(producer.gateway, &format!("{POST}?priority=7"), "", "x");
    check_problem(&answer, 422, "priority 7 cannot be had of RabbitMQ 3.");
    assert_eq!(answer.json()["code"], "PU3003");
    assert_eq!(producer.ready("tasks"), 0);
}

#[test]
fn a_problem_never_repeats_the_payload() {
    let producer = Producer::embedded(&[]);
    let answer = submit(producer.gateway, "nowhere", "hunter2");
    assert_eq!(answer.status, 404);
    assert!(!answer.body.contains("hunter2"), "{answer:?}");
    let said = producer.service.said().join("\n");
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn concurrent_requests_are_each_answered_and_stored_once() {
    const CLIENTS: usize = 32;
    const EACH: usize = 10;
    on_every_broker(|producer| {
        let ids: HashSet<String> = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|_| scope.spawn(|| (0..EACH).map(|_| accepted(producer)).collect::<Vec<_>>()))
                .collect();
            clients
                .into_iter()
                .flat_map(|client| client.join().unwrap())
                .collect()
        });
        assert_eq!(ids.len(), CLIENTS * EACH);
        until("all tasks", || {
            producer.ready("tasks") == u64::try_from(CLIENTS * EACH).unwrap()
        });
    });
}

fn accepted(producer: &Producer) -> String {
    let answer = submit(producer.gateway, "tasks", "x");
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.json()["id"].as_str().unwrap().to_owned()
}

#[test]
fn an_accepted_task_has_a_place_where_it_can_be_asked_after() {
    let producer = Producer::embedded(&[]);
    for (id, path) in [
        ("order-7", "/v1/tasks/order-7"),
        ("a%2Fb%3F%23", "/v1/tasks/a%2Fb%3F%23"),
        ("%EA%B0%80", "/v1/tasks/%EA%B0%80"),
    ] {
        let answer = request(producer.gateway, &format!("{POST}?id={id}"), "", "x");
        assert_eq!(answer.status, 202, "{answer:?}");
        // The head is kept in lower case.
        assert_eq!(answer.header("location"), Some(&*path.to_lowercase()));
        let known = request(producer.gateway, &format!("GET {path}"), "", "");
        check_problem(&known, 501, "no records");
        assert_eq!(known.json()["id"], answer.json()["id"]);
    }
    let answer = request(producer.gateway, "GET /v1/tasks/a%20b", "", "");
    check_problem(&answer, 400, "invalid task id");
}

#[test]
fn an_idempotency_key_is_the_id_of_the_task() {
    on_every_broker(|producer| {
        let ask = |query: &str, headers: &str| {
            request(producer.gateway, &format!("{POST}{query}"), headers, "x")
        };
        for (query, headers) in [
            ("", "Idempotency-Key: order-7\r\n"),
            ("", "idempotency-key: \"order-7\"\r\n"),
            ("?id=order-7", "Idempotency-Key: order-7\r\n"),
        ] {
            let answer = ask(query, headers);
            assert_eq!(answer.status, 202, "{answer:?}");
            assert_eq!(answer.json()["id"], "order-7");
        }
        for (query, headers, title) in [
            ("?id=order-8", "Idempotency-Key: order-7\r\n", "differ"),
            ("", "Idempotency-Key: a b\r\n", "invalid task id `a b`"),
            ("", "Idempotency-Key:\r\n", "it is empty"),
            (
                "",
                "Idempotency-Key: a\r\nIdempotency-Key: a\r\n",
                "more than once",
            ),
        ] {
            check_problem(&ask(query, headers), 400, title);
        }
    });
}

const JSON: &str = "Content-Type: application/json\r\n";

#[test]
fn a_task_as_json_is_the_one_that_a_line_of_a_file_would_be() {
    on_every_broker(|producer| {
        let ask =
            |headers: &str, body: &str| request(producer.gateway, "POST /v1/tasks", headers, body);
        for body in [
            r#"{"queue":"tasks","payload":{"n":1},"kind":"k","headers":{"h":"v"}}"#,
            r#"{"queue":"tasks","text":"words","timeout":"30s","attempts":3}"#,
            r#"{"queue":"tasks","base64":"AP8=","content_type":"image/png","expires":"1h"}"#,
            r#"{"queue":"tasks","payload":null,"delay":"1h","id":"order-7"}"#,
        ] {
            let answer = ask(JSON, body);
            assert_eq!(answer.status, 202, "{answer:?}");
            let id = answer.json()["id"].as_str().unwrap().to_owned();
            assert_eq!(answer.header("location"), Some(&*format!("/v1/tasks/{id}")));
        }
        let keyed = format!("{JSON}Idempotency-Key: order-8\r\n");
        let answer = ask(&keyed, r#"{"queue":"tasks","text":"x"}"#);
        assert_eq!(answer.json()["id"], "order-8");
        let answer = ask(&keyed, r#"{"queue":"tasks","text":"x","id":"order-9"}"#);
        check_problem(&answer, 400, "differ");
        until("four tasks", || producer.ready("tasks") == 4);
    });
}

#[test]
fn json_that_is_no_task_is_a_problem_that_says_what_is_wrong() {
    let producer = Producer::embedded(&[]);
    let ask =
        |line: &str, headers: &str, body: &str| request(producer.gateway, line, headers, body);
    for (body, status, title) in [
        ("", 400, "EOF"),
        ("{", 400, "EOF"),
        ("{} {}", 400, "trailing"),
        ("[]", 422, "not a task"),
        ("{}", 422, "no `payload`"),
        (r#"{"queue":"tasks","payload":1,"colour":2}"#, 422, "colour"),
        (r#"{"queue":"a b","payload":1}"#, 422, "invalid queue name"),
        (r#"{"payload":1}"#, 422, "names no `queue`"),
        (
            r#"{"queue":"tasks","text":"","priority":10}"#,
            422,
            "0 to 9",
        ),
        (r#"{"queue":"nowhere","text":""}"#, 404, "nowhere"),
    ] {
        check_problem(&ask("POST /v1/tasks", JSON, body), status, title);
    }
    let good = r#"{"queue":"tasks","payload":1}"#;
    for (headers, title) in [
        ("", "no `Content-Type`"),
        ("Content-Type: text/plain\r\n", "text/plain"),
        (
            "Content-Type: application/json\r\nContent-Encoding: gzip\r\n",
            "gzip",
        ),
    ] {
        let answer = ask("POST /v1/tasks", headers, good);
        check_problem(&answer, 415, title);
        assert!(answer.json()["detail"].is_string(), "{answer:?}");
    }
    check_problem(&ask("POST /v1/tasks?id=x", JSON, good), 400, "id");
    assert_eq!(producer.ready("tasks"), 0);
    assert_eq!(ask("POST /v1/tasks", JSON, good).status, 202);
}

#[test]
fn an_event_goes_to_every_subscription_of_its_topic() {
    on_every_broker(|producer| {
        let ask = |line: &str| request(producer.gateway, line, "", "x");
        let answer = ask("POST /v1/topics/orders?kind=paid&id=order-7");
        assert_eq!(answer.status, 202, "{answer:?}");
        assert_eq!(answer.json()["id"], "order-7");
        for queue in ["orders.mail", "orders.audit"] {
            until("an event", || producer.ready(queue) == 1);
        }
        check_problem(&ask("POST /v1/topics/nowhere"), 404, "nowhere");
        check_problem(&ask("POST /v1/topics/a%20b"), 400, "invalid topic name");
        for start in ["delay=1s", "at=2030-12-24T18:00:00Z"] {
            let answer = ask(&format!("POST /v1/topics/orders?{start}"));
            check_problem(&answer, 400, "ready at once");
        }
    });
}
