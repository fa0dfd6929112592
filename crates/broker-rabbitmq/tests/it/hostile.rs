//! Messages that mean harm, or were written by a program that knows no better: each becomes some
//! task, and its neighbours are handled.

use super::{
    raw::{
        APP_ID, CONTENT_TYPE, CORRELATION_ID, EXPIRATION, HEADERS, MESSAGE_ID, PRIORITY, REPLY_TO,
        RawClient, TIMESTAMP, TYPE, long, short, table,
    },
    *,
};
use pumasi_common::{
    settlement::{DeadLetter, DeadReason, Settlement},
    wire,
};

/// What is published: the property flags, the properties' bytes and the size of the body.
struct Hostile {
    name: &'static str,
    flags: u16,
    properties: Vec<u8>,
    body: usize,
}

fn hostile(name: &'static str, flags: u16, properties: Vec<u8>) -> Hostile {
    Hostile {
        name,
        flags,
        properties,
        body: 4,
    }
}

fn headers(name: &'static str, key: &str, value: &[u8]) -> Hostile {
    hostile(name, HEADERS, table(key.as_bytes(), value))
}

fn nested(kind: u8, levels: usize) -> Vec<u8> {
    let mut value = vec![b'V'];
    for _ in 0..levels {
        let inner = if kind == b'F' {
            [short(b"n"), value].concat()
        } else {
            value
        };
        value = [vec![kind], long(&inner)].concat();
    }
    value
}

/// Every type that a header's value can have, in one list.
fn every_type() -> Vec<u8> {
    let types = [
        &b"t\x07"[..],
        b"b\xff",
        b"B\xff",
        b"s\xff\xff",
        b"u\xff\xff",
        b"I\xff\xff\xff\xff",
        b"i\xff\xff\xff\xff",
        b"l\xff\xff\xff\xff\xff\xff\xff\xff",
        b"f\x3f\x80\0\0",
        b"d\x3f\xf0\0\0\0\0\0\0",
        b"D\xff\xff\xff\xff\xff",
        b"S\0\0\0\x02\xff\xfe",
        b"T\xff\xff\xff\xff\xff\xff\xff\xff",
        b"x\0\0\0\x02\xff\xfe",
        b"V",
    ]
    .concat();
    [b"A".to_vec(), long(&types)].concat()
}

fn hostile_headers() -> Vec<Hostile> {
    let number = |value: i64| [b"l".as_slice(), &value.to_be_bytes()].concat();
    vec![
        headers("attempt -1", wire::ATTEMPT, &number(-1)),
        headers(
            "attempt 10^18",
            wire::ATTEMPT,
            &number(1_000_000_000_000_000_000),
        ),
        headers("attempt as text", wire::ATTEMPT, b"S\0\0\0\x017"),
        headers("attempt as a table", wire::ATTEMPT, &nested(b'F', 1)),
        headers("most attempts 0", wire::ATTEMPTS_MAX, &number(0)),
        headers("time-out -1", wire::TIMEOUT_MS, &number(-1)),
        headers("endless time-out", wire::TIMEOUT_MS, &number(i64::MAX)),
        headers("delivery count -1", "x-delivery-count", &number(-1)),
        headers("trace as a number", "traceparent", &number(7)),
        headers("trace with a line end", "traceparent", b"S\0\0\0\x0300\n"),
        headers("dead letter of itself", wire::DEAD_QUEUE, b"S\0\0\0\x02.."),
        headers("every type", "list", &every_type()),
        headers("tables in tables", "n", &nested(b'F', 12_000)),
        headers("lists in lists", "n", &nested(b'A', 20_000)),
        headers("as deep as is written", "n", &nested(b'F', 17)),
        headers(
            "100 kB of headers",
            "big",
            &[b"S".to_vec(), long(&[b'x'; 100_000])].concat(),
        ),
    ]
}

fn hostile_properties() -> Vec<Hostile> {
    let texts = CONTENT_TYPE | CORRELATION_ID | REPLY_TO | MESSAGE_ID | TYPE | APP_ID;
    vec![
        hostile(
            "a header's name that is no text",
            HEADERS,
            table(b"\xff\xfe", b"V"),
        ),
        hostile("a header without a name", HEADERS, table(b"", b"V")),
        hostile(
            "every property that is no text",
            texts,
            short(b"\xff\xfe\x80").repeat(6),
        ),
        hostile(
            "every property as long as can be",
            texts,
            short(&[b'x'; 255]).repeat(6),
        ),
        hostile(
            "every property of control characters",
            texts,
            short(b"\0\n\x1b[2J").repeat(6),
        ),
        hostile("every property empty", texts, short(b"").repeat(6)),
        hostile("an id with spaces", MESSAGE_ID, short(b"a b\tc")),
        hostile("priority 255", PRIORITY, vec![255]),
        hostile("submitted at the end of time", TIMESTAMP, vec![255; 8]),
        Hostile {
            body: 9 * 1024 * 1024,
            ..hostile("a payload over our limit", 0, vec![])
        },
    ]
}

fn messages() -> Vec<Hostile> {
    let mut all = hostile_headers();
    all.extend(hostile_properties());
    all
}

/// Publishes each message followed by a good one; gives how many there are.
fn publish_all(port: u16, vhost: &str) -> usize {
    let mut client = RawClient::open(port, vhost);
    let messages = messages();
    for message in &messages {
        let body = vec![b'h'; message.body];
        let properties = (message.flags, &message.properties[..]);
        client
            .publish("work", properties, &body)
            .unwrap_or_else(|refusal| panic!("{}: {refusal}", message.name));
        client.publish("work", (0, &[]), b"good").unwrap();
    }
    messages.len() * 2
}

#[test]
fn hostile_messages_become_tasks_and_hurt_no_neighbour() {
    each(|node| async move {
        let vhost = node.new_vhost();
        let broker = open(&node.url_of(&vhost)).await;
        declare(&broker, "work", QueueKind::Classic).await;
        let count = publish_all(node.port(), &vhost);
        let mut consumer = consume(&broker, "work", 1).await;
        let mut good = 0;
        for _ in 0..count {
            let delivery = next(&mut consumer).await;
            assert!(!delivery.redelivered(), "{:?}", delivery.task());
            assert_eq!(delivery.task().attempt.get(), 1);
            assert!(!delivery.task().id.as_str().is_empty());
            good += usize::from(&delivery.task().payload[..] == b"good");
            delivery.settle(Settlement::Ack).unwrap();
        }
        assert_eq!(good, count / 2);
        consumer.close().await;
        until_ready(&broker, "work", 0).await;
        broker.close().await;
    });
}

#[test]
fn hostile_messages_can_be_moved_aside() {
    each(|node| async move {
        let vhost = node.new_vhost();
        let broker = open(&node.url_of(&vhost)).await;
        declare(&broker, "work", QueueKind::Quorum).await;
        let count = publish_all(node.port(), &vhost);
        let mut consumer = consume(&broker, "work", 3).await;
        for _ in 0..count {
            let delivery = next(&mut consumer).await;
            let letter = DeadLetter::new(DeadReason::UnknownKind, "not ours", "test");
            let task = delivery.task().clone();
            assert!(
                !delivery.redelivered(),
                "given back: {:?}",
                task.headers.iter().next()
            );
            delivery
                .settle(Settlement::DeadLetter(Box::new(letter)))
                .unwrap();
        }
        consumer.close().await;
        until_ready(&broker, "work.dead", count as u64).await;
        let mut dead = consume(&broker, "work.dead", 1).await;
        for _ in 0..count {
            let delivery = next(&mut dead).await;
            let reason = delivery.task().headers.get(wire::DEAD_REASON);
            assert_eq!(
                reason.and_then(|it| it.as_text()),
                Some("unknown-kind"),
                "{:?}",
                delivery.task().headers
            );
            delivery.settle(Settlement::Ack).unwrap();
        }
        dead.close().await;
        broker.close().await;
    });
}

#[test]
fn what_the_broker_itself_refuses_costs_only_its_own_client() {
    each(|node| async move {
        let vhost = node.new_vhost();
        let broker = open(&node.url_of(&vhost)).await;
        declare(&broker, "work", QueueKind::Classic).await;
        let mut consumer = consume(&broker, "work", 1).await;
        let mut client = RawClient::open(node.port(), &vhost);
        for expiration in [&b"-1"[..], b"soon", b"99999999999999999999"] {
            let refused = client.publish("work", (EXPIRATION, &short(expiration)), b"x");
            assert!(refused.unwrap_err().contains("PRECONDITION_FAILED"));
        }
        client.publish("work", (0, &[]), b"good").unwrap();
        let delivery = next(&mut consumer).await;
        assert_eq!(payload(&delivery), "good");
        delivery.settle(Settlement::Ack).unwrap();
        consumer.close().await;
        broker.close().await;
    });
}

#[test]
fn a_dead_letter_goes_where_the_declaration_says() {
    each(|node| async move {
        let broker = open(&node.new_vhost_url()).await;
        let topology = Topology {
            queues: vec![QueueSpec {
                dead_letter_queue: Some(name("graveyard")),
                ..QueueSpec::new(name("work"))
            }],
            topics: vec![],
        };
        broker.ensure_topology(&topology).await.unwrap();
        publish(&broker, "work", "x").await;
        let mut consumer = consume(&broker, "work", 1).await;
        let letter = DeadLetter::new(DeadReason::Rejected, "no", "test");
        let settlement = Settlement::DeadLetter(Box::new(letter));
        next(&mut consumer).await.settle(settlement).unwrap();
        until_ready(&broker, "graveyard", 1).await;
        consumer.close().await;
        broker.close().await;
    });
}
