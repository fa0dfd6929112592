//! What a client may take of the process.

use crate::support::Producer;
use pumasi_testkit::{
    http::{Connection, submit},
    process::until,
};

const PATH: &str = "/v1/queues/tasks/tasks";

#[test]
fn a_body_that_stalls_is_given_up_and_others_are_served_meanwhile() {
    let producer = Producer::embedded(&[("PUMASI__GATEWAY__REQUEST_TIMEOUT", "1s")]);
    let mut slow = Connection::open(producer.gateway);
    slow.announce(PATH, 100);
    slow.send("half");
    assert_eq!(submit(producer.gateway, "tasks", "x").status, 202);
    let answer = slow.answer();
    assert_eq!(answer.status, 408, "{answer:?}");
    assert!(
        answer.body.contains("did not arrive within 1s"),
        "{answer:?}"
    );
    assert_eq!(producer.ready("tasks"), 1, "half a body is no task");
}

#[test]
fn a_head_that_stalls_and_an_idle_connection_are_closed() {
    let producer = Producer::embedded(&[
        ("PUMASI__GATEWAY__REQUEST_TIMEOUT", "1s"),
        ("PUMASI__GATEWAY__CONNECTIONS_MAX", "2"),
    ]);
    let idle = Connection::open(producer.gateway);
    let mut slow = Connection::open(producer.gateway);
    slow.send("POST /v1/queues/tasks/tasks HTTP/1.1\r\nHost: te");
    // Both places are taken: this one waits until one is free again.
    assert_eq!(submit(producer.gateway, "tasks", "x").status, 202);
    for connection in [idle, slow] {
        let status = connection.answer().status;
        assert!(status == 0 || status == 408, "{status}");
    }
}

#[test]
fn a_client_that_goes_away_in_mid_body_leaves_no_task() {
    let producer = Producer::embedded(&[]);
    let mut gone = Connection::open(producer.gateway);
    gone.announce(PATH, 100);
    gone.send("half");
    drop(gone);
    assert_eq!(submit(producer.gateway, "tasks", "x").status, 202);
    assert_eq!(producer.ready("tasks"), 1);
}

#[test]
fn bodies_beyond_the_room_for_all_are_refused_until_there_is_room_again() {
    let producer = Producer::embedded(&[
        ("PUMASI__GATEWAY__BODY_BYTES_MAX", "64KiB"),
        ("PUMASI__GATEWAY__BODIES_BYTES_MAX", "64KiB"),
    ]);
    let half = vec![b'x'; 40 * 1024];
    // Which of two bodies finds the room depends on which is read first: the other is refused.
    until("a refusal beside a body that is held", || {
        let mut holder = Connection::open(producer.gateway);
        holder.announce(PATH, half.len() + 1);
        holder.send(&half);
        let answer = submit(producer.gateway, "tasks", &half);
        assert!(matches!(answer.status, 202 | 503), "{answer:?}");
        assert_eq!(answer.header("retry-after").is_some(), answer.status == 503);
        assert_eq!(submit(producer.gateway, "tasks", "small").status, 202);
        holder.send("x");
        answer.status == 503 && holder.answer().status == 202
    });
    assert_eq!(submit(producer.gateway, "tasks", &half).status, 202);
}

#[test]
fn a_body_in_chunks_is_limited_too() {
    let producer = Producer::embedded(&[("PUMASI__GATEWAY__BODY_BYTES_MAX", "1KiB")]);
    let chunked = |chunks: usize| {
        let mut connection = Connection::open(producer.gateway);
        connection.send(format!(
            "POST {PATH} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\
             Transfer-Encoding: chunked\r\n\r\n"
        ));
        for _ in 0..chunks {
            connection.send(format!("200\r\n{}\r\n", "x".repeat(512)));
        }
        connection.send("0\r\n\r\n");
        connection.answer().status
    };
    assert_eq!(chunked(2), 202);
    assert_eq!(chunked(3), 413);
    assert_eq!(producer.ready("tasks"), 1);
}
