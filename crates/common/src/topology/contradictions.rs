//! What a configured topology says twice and differently. Pure.

use super::{Declaration, QueueDeclaration, Topology};

impl Topology {
    /// Every contradiction, as `(key, value, expectation)`: a queue that is described twice and
    /// differently, or is both a work queue and another's dead letters.
    #[must_use]
    pub fn problems(&self) -> Vec<(&'static str, String, &'static str)> {
        let declarations = match self.declarations() {
            Ok(declarations) => declarations,
            Err(error) => {
                let expected = "a topic and subscription of at most 199 bytes together";
                return vec![("topics", error.value, expected)];
            }
        };
        let queues: Vec<&QueueDeclaration> = declarations
            .iter()
            .filter_map(|declaration| match declaration {
                Declaration::Queue(queue) => Some(queue),
                Declaration::Exchange(_) | Declaration::Binding { .. } => None,
            })
            .collect();
        let mut problems: Vec<(&'static str, String, &'static str)> = Vec::new();
        for (place, queue) in queues.iter().enumerate() {
            // Equal declarations are listed once: a second one of this name differs.
            let again = queues.iter().take(place).any(|it| it.name == queue.name);
            let name = queue.name.to_string();
            if again && !problems.iter().any(|(_, value, _)| *value == name) {
                let expected =
                    "one description of each queue, and dead letters in a queue of their own";
                problems.push(("queues", name, expected));
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        SubscriptionName,
        queue::{QueueKind, QueueName, QueueSpec, TopicName, TopicSpec},
        topology::Topology,
    };

    fn name(text: &str) -> QueueName {
        QueueName::new(text).unwrap()
    }

    fn named(queues: Vec<QueueSpec>) -> Vec<String> {
        let topics = vec![TopicSpec {
            name: TopicName::new("orders").unwrap(),
            subscriptions: vec![SubscriptionName::new("mail").unwrap()],
        }];
        let topology = Topology { queues, topics };
        let problems = topology.problems().into_iter();
        problems.map(|(_, value, _)| value).collect()
    }

    #[test]
    fn a_queue_that_is_two_things_at_once_is_named() {
        let spec = |queue: &str| QueueSpec::new(name(queue));
        let dying_to = |queue: &str, dead: &str| QueueSpec {
            dead_letter_queue: Some(name(dead)),
            ..spec(queue)
        };
        let none: [&str; 0] = [];
        assert_eq!(named(vec![spec("a"), spec("b"), spec("orders.mail")]), none);
        assert_eq!(named(vec![spec("a"), spec("a")]), none);
        assert_eq!(named(vec![dying_to("a", "d"), dying_to("b", "d")]), none);
        for (queues, named_queue) in [
            (
                vec![spec("a"), spec("a").with_kind(QueueKind::Classic)],
                "a",
            ),
            (vec![dying_to("a", "a")], "a"),
            (vec![spec("a"), spec("a.dead")], "a.dead"),
            (vec![dying_to("a", "b"), spec("b")], "b"),
            (vec![dying_to("a", "orders.mail")], "orders.mail"),
            (
                vec![
                    dying_to("a", "d"),
                    dying_to("b", "d").with_kind(QueueKind::Classic),
                ],
                "d",
            ),
        ] {
            assert!(
                named(queues).contains(&named_queue.to_owned()),
                "{named_queue}"
            );
        }
    }

    #[test]
    fn a_subscription_whose_queue_has_no_valid_name_is_named() {
        let topology = Topology {
            queues: vec![],
            topics: vec![TopicSpec {
                name: TopicName::new(&"t".repeat(150)).unwrap(),
                subscriptions: vec![SubscriptionName::new(&"s".repeat(60)).unwrap()],
            }],
        };
        assert_eq!(topology.problems().len(), 1);
    }
}
