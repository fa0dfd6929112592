//! The ladder as a value: its names, its keys and what it is made of. Pure.
//!
//! 28 levels. Level `L` is a topic exchange and a queue of the same name, where a message waits
//! 2^L seconds. The routing key of a message is its delay in binary, a word for each bit from the
//! highest, and then its destination: a set bit parks it on that level, a clear one passes it on.
//! From level 0 it goes to the delivery exchange, and from there to the queue it is for.

use crate::topology::object::{Arguments, Object};
use lapin::ExchangeKind;
use pumasi_common::{QueueName, topology::Argument};

/// How many levels there are.
const LEVELS: u32 = 28;
/// The longest delay in seconds: every bit is set.
pub(crate) const SECONDS_MAX: u32 = (1 << LEVELS) - 1;
/// What all its names begin with.
pub(crate) const PREFIX: &str = "pumasi.delay.";
/// The exchange that everything leaves through.
const DELIVER: &str = "pumasi.delay.deliver";
/// Where what is for a queue that is gone ends: an exchange and a queue.
const LOST: &str = "pumasi.delay.lost";

/// The exchange and the queue of a level.
fn level(number: u32) -> String {
    format!("{PREFIX}{number:02}")
}

/// Where a message of this delay, which is not zero, goes in: at its highest set bit.
pub(crate) fn entry(seconds: u32) -> String {
    level(seconds.max(1).ilog2())
}

/// The routing key of a message: always made from its destination, never from an earlier key.
pub(crate) fn routing_key(seconds: u32, queue: &QueueName) -> String {
    let mut key = String::with_capacity(2 * LEVELS as usize + queue.as_str().len());
    for bit in (0..LEVELS).rev() {
        key.push_str(if seconds & (1 << bit) == 0 {
            "0."
        } else {
            "1."
        });
    }
    key.push_str(queue.as_str());
    key
}

/// What leads a queue's messages to it. The number of words is said, since `#.orders` would catch
/// what is for `eu.orders` as well.
pub(crate) fn binding(queue: &QueueName) -> Object {
    Object::QueueBinding {
        queue: queue.as_str().to_owned(),
        exchange: DELIVER.to_owned(),
        key: "*.".repeat(LEVELS as usize) + queue.as_str(),
    }
}

/// Everything, each after what it leads to. The last queue stands for the whole: its own binding
/// is all that can be missing then, and a message that needs that comes back as unroutable.
pub(crate) fn objects() -> Vec<Object> {
    let mut all = vec![
        queue(LOST, endless()),
        exchange(LOST, ExchangeKind::Fanout, Arguments::new()),
        Object::QueueBinding {
            queue: LOST.to_owned(),
            exchange: LOST.to_owned(),
            key: String::new(),
        },
        exchange(
            DELIVER,
            ExchangeKind::Topic,
            vec![("alternate-exchange", text(LOST))],
        ),
    ];
    let mut next = DELIVER.to_owned();
    for number in 0..LEVELS {
        let name = level(number);
        // The bits above this one have been dealt with.
        let passed = "*.".repeat((LEVELS - 1 - number) as usize);
        all.push(exchange(&name, ExchangeKind::Topic, Arguments::new()));
        all.push(Object::ExchangeBinding {
            to: next.clone(),
            from: name.clone(),
            key: format!("{passed}0.#"),
        });
        all.push(queue(&name, waiting(number, &next)));
        all.push(Object::QueueBinding {
            queue: name.clone(),
            exchange: name.clone(),
            key: format!("{passed}1.#"),
        });
        next = name;
    }
    all
}

/// The arguments of a level's queue: it keeps what is not confirmed further down.
fn waiting(number: u32, next: &str) -> Arguments {
    vec![
        ("x-dead-letter-exchange", text(next)),
        ("x-dead-letter-strategy", text("at-least-once")),
        ("x-message-ttl", Argument::Number(1000 << number)),
        ("x-overflow", text("reject-publish")),
        ("x-queue-type", text("quorum")),
    ]
}

/// The arguments of a queue that nothing is counted out of.
fn endless() -> Arguments {
    vec![
        ("x-delivery-limit", Argument::Number(i32::MAX.into())),
        ("x-overflow", text("reject-publish")),
        ("x-queue-type", text("quorum")),
    ]
}

fn queue(name: &str, arguments: Arguments) -> Object {
    Object::Queue {
        name: name.to_owned(),
        durable: true,
        arguments,
    }
}

fn exchange(name: &str, kind: ExchangeKind, arguments: Arguments) -> Object {
    Object::Exchange {
        name: name.to_owned(),
        kind,
        arguments,
    }
}

fn text(text: &str) -> Argument {
    Argument::Text(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long a message waits and where it ends, by the rules of topic exchanges alone.
    fn walk(seconds: u32, name: &str) -> (u64, Option<String>) {
        let destination = QueueName::new(name).unwrap();
        let mut all = objects();
        for name in ["a", "orders", "eu.orders"] {
            all.push(binding(&QueueName::new(name).unwrap()));
        }
        let key = routing_key(seconds, &destination);
        let mut waited = 0;
        let mut at = entry(seconds);
        loop {
            let mut queues = Vec::new();
            let mut exchanges = Vec::new();
            for object in &all {
                match object {
                    Object::QueueBinding {
                        queue,
                        exchange,
                        key: pattern,
                    } if *exchange == at && matches(pattern, &key) => queues.push(queue.clone()),
                    Object::ExchangeBinding {
                        to,
                        from,
                        key: pattern,
                    } if *from == at && matches(pattern, &key) => exchanges.push(to.clone()),
                    Object::Queue { .. }
                    | Object::Exchange { .. }
                    | Object::QueueBinding { .. }
                    | Object::ExchangeBinding { .. } => {}
                }
            }
            assert!(
                queues.len() + exchanges.len() <= 1,
                "{queues:?} {exchanges:?}"
            );
            if let Some(next) = exchanges.pop() {
                at = next;
                continue;
            }
            let Some(name) = queues.pop() else {
                return (waited, None);
            };
            match waiting_in(&all, &name) {
                Some((ms, next)) => {
                    waited += ms;
                    at = next;
                }
                None => return (waited, Some(name)),
            }
        }
    }

    fn waiting_in(all: &[Object], queue: &str) -> Option<(u64, String)> {
        let arguments = all.iter().find_map(|object| {
            if let Object::Queue {
                name, arguments, ..
            } = object
                && name == queue
            {
                return Some(arguments);
            }
            None
        })?;
        let get = |name| arguments.iter().find(|(have, _)| *have == name);
        let Some((_, Argument::Number(ms))) = get("x-message-ttl") else {
            return None;
        };
        let next = get("x-dead-letter-exchange")?.1.to_string();
        Some((u64::try_from(*ms).unwrap(), next))
    }

    fn matches(pattern: &str, key: &str) -> bool {
        let mut words = key.split('.');
        for part in pattern.split('.') {
            match (part, words.next()) {
                ("#", _) => return true,
                (_, None) => return false,
                ("*", Some(_)) => {}
                (part, Some(word)) if part == word => {}
                _ => return false,
            }
        }
        words.next().is_none()
    }

    #[test]
    fn every_delay_adds_up_and_ends_in_its_own_queue() {
        let mut delays: Vec<u32> = (1..=300).collect();
        delays.extend((0..28).map(|bit| 1 << bit));
        delays.extend([86_400, 31_536_000, 123_456_789, SECONDS_MAX]);
        for seconds in delays {
            for name in ["orders", "eu.orders", "a"] {
                let (waited, end) = walk(seconds, name);
                assert_eq!(waited, u64::from(seconds) * 1000, "{seconds} s");
                assert_eq!(end.as_deref(), Some(name), "{seconds} s");
            }
        }
    }

    #[test]
    fn the_longest_name_fits_the_longest_key() {
        let name = QueueName::new(&"n".repeat(pumasi_common::queue::NAME_BYTES_MAX)).unwrap();
        assert_eq!(routing_key(SECONDS_MAX, &name).len(), 255);
        let Object::QueueBinding { key, .. } = binding(&name) else {
            unreachable!()
        };
        assert_eq!(key.len(), 255);
    }

    #[test]
    fn what_something_leads_to_is_made_before_it() {
        let mut made: Vec<String> = Vec::new();
        for object in objects() {
            match object {
                Object::Exchange {
                    name, arguments, ..
                }
                | Object::Queue {
                    name, arguments, ..
                } => {
                    for (argument, target) in arguments {
                        if argument.ends_with("-exchange") {
                            assert!(made.contains(&target.to_string()), "{target}");
                        }
                    }
                    made.push(name);
                }
                Object::QueueBinding {
                    queue, exchange, ..
                } => assert!(made.contains(&queue) && made.contains(&exchange)),
                Object::ExchangeBinding { to, from, .. } => {
                    assert!(made.contains(&to) && made.contains(&from));
                }
            }
        }
    }
}
