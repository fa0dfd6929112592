//! Batches: an outcome per line, whatever the others are.

use crate::support::{Producer, alarm};
use pumasi_testkit::{
    http::{Answer, Connection, request, submit},
    rabbitmq::{RabbitMq, Version},
};
use serde_json::{Value, json};

const POST: &str = "POST /v1/tasks/batch";
const LINES: &str = "Content-Type: application/x-ndjson\r\n";

fn send(producer: &Producer, lines: impl AsRef<[u8]>) -> Answer {
    request(producer.gateway, POST, LINES, lines)
}

/// The outcomes of an answer, which comes in chunks.
fn outcomes(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{answer:?}");
    let kind = answer.header("content-type");
    assert_eq!(kind, Some("application/x-ndjson"));
    // An object never crosses the end of a chunk; the sizes of chunks stand on lines of their own.
    let lines = answer.body.lines().filter(|line| line.starts_with('{'));
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn is_whole(answer: &Answer) -> bool {
    answer.body.ends_with("\r\n0\r\n\r\n") || answer.body == "0\r\n\r\n"
}

/// Begins a batch whose length is open.
fn begin(producer: &Producer) -> Connection {
    let mut connection = Connection::open(producer.gateway);
    connection.send(format!(
        "{POST} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{LINES}\
         Transfer-Encoding: chunked\r\n\r\n"
    ));
    connection
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

#[test]
fn every_line_has_its_outcome_in_its_order() {
    let lines = "\u{feff}{\"queue\":\"tasks\",\"payload\":{\"n\":1},\"id\":\"a\"}\n\
                 {\n\
                 \n\
                 {\"queue\":\"nowhere\",\"text\":\"x\",\"id\":\"b\"}\r\n\
                 {\"payload\":1}\n\
                 {\"queue\":\"tasks\",\"payload\":1,\"priority\":10}\n\
                 {\"queue\":\"tasks\",\"base64\":\"AP8=\",\"id\":\"c\"}";
    crate::gateway::on_every_broker(|producer| {
        let answer = send(producer, lines);
        assert!(is_whole(&answer), "{answer:?}");
        let told = outcomes(&answer);
        let short = told.iter().map(|it| {
            let part = |key: &str| it.get(key).cloned().unwrap_or(Value::Null);
            json!([
                part("line"),
                part("outcome"),
                part("status"),
                part("code"),
                part("id")
            ])
        });
        let expected = [
            json!([1, "accepted", null, null, "a"]),
            json!([2, "refused", 400, "PU4007", null]),
            json!([4, "refused", 404, "PU4003", "b"]),
            json!([5, "refused", 422, "PU4007", null]),
            json!([6, "refused", 422, "PU4001", null]),
            json!([7, "accepted", null, null, "c"]),
        ];
        assert_eq!(short.collect::<Vec<_>>(), expected);
        assert!(told[3]["title"].as_str().unwrap().contains("`queue`"));
        assert_eq!(producer.ready("tasks"), 2);
        assert!(is_whole(&send(producer, "")));
    });
}

#[test]
fn a_batch_as_a_whole_is_refused_where_nothing_of_it_was_read() {
    let producer = Producer::embedded(&[]);
    let line = r#"{"queue":"tasks","payload":1}"#;
    for (query, headers, status) in [
        ("", "Content-Type: application/json\r\n".to_owned(), 415),
        ("", format!("{LINES}Idempotency-Key: a\r\n"), 400),
        ("?queue=tasks", LINES.to_owned(), 400),
    ] {
        let answer = request(producer.gateway, &format!("{POST}{query}"), &headers, line);
        assert_eq!(answer.status, status, "{answer:?}");
    }
    assert_eq!(producer.ready("tasks"), 0);
}

#[test]
fn a_batch_may_be_much_larger_than_the_room_for_bodies() {
    const TASKS: u64 = 5_000;
    let producer = Producer::embedded(&[
        ("PUMASI__GATEWAY__BODY_BYTES_MAX", "4KiB"),
        ("PUMASI__GATEWAY__BODIES_BYTES_MAX", "1MiB"),
    ]);
    let line = |n: u64| {
        let bytes = if n == 7 { 4096 } else { 500 };
        let text = "x".repeat(bytes);
        format!("{{\"queue\":\"tasks\",\"id\":\"{n}\",\"text\":\"{text}\"}}\n")
    };
    // All of it is sent before any of the answer is read.
    let told = outcomes(&send(&producer, (1..=TASKS).map(line).collect::<String>()));
    for (told, n) in told.iter().zip(1..) {
        assert_eq!(told["line"], n);
        if n == 7 {
            assert_eq!(told["status"], 413, "{told}");
        } else {
            assert_eq!(told["id"], n.to_string(), "{told}");
        }
    }
    assert_eq!(told.len() as u64, TASKS);
    assert_eq!(producer.ready("tasks"), TASKS - 1);
}

#[test]
fn outcomes_come_while_the_batch_goes_on() {
    let producer = Producer::embedded(&[]);
    let mut batch = begin(&producer);
    batch.send(chunk("{\"queue\":\"tasks\",\"payload\":1}\n{\"queue\":"));
    assert!(
        batch.reads("accepted"),
        "the first, while the second is half"
    );
    batch.send(chunk("\"tasks\",\"payload\":2}") + "0\r\n\r\n");
    let rest = batch.answer();
    assert!(
        rest.head.contains("\"line\":2,\"outcome\":\"accepted\""),
        "{rest:?}"
    );
    assert_eq!(producer.ready("tasks"), 2);
}

#[test]
fn a_batch_that_stalls_says_so_and_keeps_what_was_accepted() {
    let producer = Producer::embedded(&[("PUMASI__GATEWAY__REQUEST_TIMEOUT", "1s")]);
    let mut batch = begin(&producer);
    batch.send(chunk("{\"queue\":\"tasks\",\"payload\":1}\n{\"queue\":"));
    let told = outcomes(&batch.answer());
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[0]["outcome"], "accepted");
    assert_eq!(
        (&told[1]["line"], &told[1]["status"]),
        (&json!(2), &json!(408))
    );
    assert_eq!(producer.ready("tasks"), 1);
}

#[test]
fn a_client_that_does_not_read_its_outcomes_is_given_up_and_its_room_is_free_again() {
    let producer = Producer::embedded(&[
        ("PUMASI__GATEWAY__BODY_BYTES_MAX", "64KiB"),
        ("PUMASI__GATEWAY__BODIES_BYTES_MAX", "64KiB"),
        ("PUMASI__GATEWAY__REQUEST_TIMEOUT", "1s"),
    ]);
    let mut batch = begin(&producer);
    // Lines that are refused, so that there is more to read than the system holds.
    let many = chunk(&"{}\n".repeat(20_000));
    while batch.try_send(&many) {}
    assert!(!is_whole(&batch.answer()));
    assert_eq!(
        submit(producer.gateway, "tasks", vec![b'x'; 60 * 1024]).status,
        202
    );
}

#[test]
fn lines_go_to_the_broker_together_and_none_is_accepted_without_a_confirm() {
    for version in Version::ALL {
        if let Err(missing) = version.available() {
            eprintln!("left out: {missing}");
            continue;
        }
        let node = RabbitMq::start(version);
        let timeout = [("PUMASI__BROKER__PUBLISH_TIMEOUT", "2s")];
        let producer = Producer::on(&node.new_vhost_url(), &timeout);
        assert_eq!(submit(producer.gateway, "tasks", "before").status, 202);
        alarm(&node, "set_alarm({{resource_limit, memory, node()}, []})");
        // One after the other they would take longer than this test waits.
        let told = outcomes(&send(
            &producer,
            "{\"queue\":\"tasks\",\"payload\":1}\n".repeat(200),
        ));
        assert_eq!(told.len(), 200);
        for told in told {
            assert!(
                matches!(told["outcome"].as_str(), Some("refused" | "unknown")),
                "{told}"
            );
            assert_eq!(told["status"], 503);
            assert!(told["id"].is_string(), "to repeat it with: {told}");
        }
    }
}
