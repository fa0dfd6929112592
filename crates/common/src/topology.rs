//! What must exist on a broker, as a value, so that producer and worker cannot disagree.
//!
//! A work queue's dead-letter queue is declared before it. Overflow is always `reject-publish`.
//! The whole is idempotent; a difference is reported, never repaired by deleting.

mod contradictions;

use crate::{
    error::{Cause, Diagnostic, ErrorCode, Retryability},
    queue::{NameError, QueueKind, QueueName, QueueSpec, TopicName, TopicSpec},
};
use serde::Serialize;
use std::fmt;

/// The binding key of every subscription: all events of the topic.
pub const BINDING_ALL: &str = "#";

/// Queues and topics that should exist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    /// Work queues.
    pub queues: Vec<QueueSpec>,
    /// Topics with their subscriptions.
    pub topics: Vec<TopicSpec>,
}

/// One thing to declare, in the order in which it must be declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Declaration {
    /// A queue.
    Queue(QueueDeclaration),
    /// The durable topic exchange of a topic.
    Exchange(TopicName),
    /// A subscription's queue bound to its topic with [`BINDING_ALL`].
    Binding {
        /// The topic.
        topic: TopicName,
        /// The subscription's queue.
        queue: QueueName,
    },
}

impl fmt::Display for Declaration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queue(queue) => write!(f, "queue `{}`", queue.name),
            Self::Exchange(topic) => write!(f, "topic `{topic}`"),
            Self::Binding { topic, queue } => write!(f, "binding `{topic}` -> `{queue}`"),
        }
    }
}

/// A queue with its arguments, as AMQP 0-9-1 declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueDeclaration {
    /// Its name.
    pub name: QueueName,
    /// Its kind.
    pub kind: QueueKind,
    /// Whether it outlives the broker.
    pub durable: bool,
    /// The `x-` arguments, in alphabetical order.
    pub arguments: Vec<(&'static str, Argument)>,
}

/// The value of a queue argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Argument {
    /// A text.
    Text(String),
    /// A number.
    Number(i64),
}

impl fmt::Display for Argument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

impl Topology {
    /// A topology of single queues with every default.
    #[must_use]
    pub fn of_queues(names: impl IntoIterator<Item = QueueName>) -> Self {
        Self {
            queues: names.into_iter().map(QueueSpec::new).collect(),
            topics: Vec::new(),
        }
    }

    /// Adds queues with every default, where they are not named yet and are no subscription's.
    pub fn add_missing(&mut self, queues: &[QueueName]) {
        for queue in queues {
            let named = self.queues.iter().any(|spec| spec.name == *queue);
            let subscription = self.topics.iter().any(|topic| {
                let own = |name| QueueName::of_subscription(&topic.name, name);
                topic
                    .subscriptions
                    .iter()
                    .any(|name| own(name).as_ref() == Ok(queue))
            });
            if !named && !subscription {
                self.queues.push(QueueSpec::new(queue.clone()));
            }
        }
    }

    /// Everything to declare, in order, each thing once.
    ///
    /// # Errors
    /// When a subscription's queue name would be too long.
    pub fn declarations(&self) -> Result<Vec<Declaration>, NameError> {
        let mut all: Vec<Declaration> = Vec::new();
        let mut add = |declaration| {
            if !all.contains(&declaration) {
                all.push(declaration);
            }
        };
        for spec in &self.queues {
            add(Declaration::Queue(QueueDeclaration::dead_letters_of(spec)));
            add(Declaration::Queue(QueueDeclaration::of(spec)));
        }
        for topic in &self.topics {
            add(Declaration::Exchange(topic.name.clone()));
            for subscription in &topic.subscriptions {
                let queue = QueueName::of_subscription(&topic.name, subscription)?;
                // A queue of that name in the configuration says how it is kept.
                if !self.queues.iter().any(|spec| spec.name == queue) {
                    let spec = QueueSpec::new(queue.clone());
                    add(Declaration::Queue(QueueDeclaration::dead_letters_of(&spec)));
                    add(Declaration::Queue(QueueDeclaration::of(&spec)));
                }
                add(Declaration::Binding {
                    topic: topic.name.clone(),
                    queue,
                });
            }
        }
        Ok(all)
    }
}

impl QueueDeclaration {
    /// The declaration of a work queue.
    #[must_use]
    pub fn of(spec: &QueueSpec) -> Self {
        let text = |text: &str| Argument::Text(text.to_owned());
        let number = |n: u64| Argument::Number(i64::try_from(n).unwrap_or(i64::MAX));
        let mut arguments = vec![
            ("x-dead-letter-exchange", text("")),
            (
                "x-dead-letter-routing-key",
                text(spec.dead_letters().as_str()),
            ),
            ("x-overflow", text("reject-publish")),
        ];
        if let Some(most) = spec.length_max {
            arguments.push(("x-max-length", number(most.get())));
        }
        if let Some(most) = spec.bytes_max {
            arguments.push(("x-max-length-bytes", number(most.get())));
        }
        if spec.kind == QueueKind::Quorum {
            arguments.push(("x-dead-letter-strategy", text("at-least-once")));
            arguments.push(("x-delivery-limit", number(spec.delivery_limit.into())));
        }
        Self::new(spec.name.clone(), spec.kind, arguments)
    }

    /// The declaration of a work queue's dead letters: no TTL, no limit, never counted out.
    #[must_use]
    pub fn dead_letters_of(spec: &QueueSpec) -> Self {
        let mut arguments = vec![("x-overflow", Argument::Text("reject-publish".to_owned()))];
        let kind = match spec.kind {
            QueueKind::Quorum => {
                // Browsing returns each message; RabbitMQ 4 would drop it after 20 returns.
                arguments.push(("x-delivery-limit", Argument::Number(i32::MAX.into())));
                QueueKind::Quorum
            }
            QueueKind::Classic | QueueKind::Transient => QueueKind::Classic,
        };
        Self::new(spec.dead_letters(), kind, arguments)
    }

    fn new(name: QueueName, kind: QueueKind, mut arguments: Vec<(&'static str, Argument)>) -> Self {
        let queue_type = if kind == QueueKind::Quorum {
            "quorum"
        } else {
            "classic"
        };
        arguments.push(("x-queue-type", Argument::Text(queue_type.to_owned())));
        arguments.sort_by_key(|(name, _)| *name);
        Self {
            name,
            kind,
            durable: kind != QueueKind::Transient,
            arguments,
        }
    }
}

/// Something that exists otherwise than it should.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The queue or exchange.
    pub object: String,
    /// Which argument differs.
    pub argument: String,
    /// What exists.
    pub have: String,
    /// What should.
    pub want: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            object,
            argument,
            have,
            want,
        } = self;
        write!(f, "{object}: {argument}: have {have}, want {want}")
    }
}

/// A comparison of a topology with what exists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// What was there already.
    pub present: Vec<String>,
    /// What is missing (`plan`) or was created (`ensure`).
    pub missing: Vec<String>,
    /// What exists otherwise.
    pub differences: Vec<Difference>,
}

/// Why a topology cannot be made or compared.
#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    /// Something exists otherwise; nothing was changed about it.
    #[error("cannot declare {}: it exists with other arguments", objects(.differences))]
    Mismatch {
        /// Every difference found.
        differences: Vec<Difference>,
    },
    /// A name is not valid.
    #[error(transparent)]
    Name(#[from] NameError),
    /// This broker cannot have it.
    #[error("cannot declare {object}: {problem}")]
    Unsupported {
        /// The queue or exchange.
        object: String,
        /// Why not.
        problem: String,
        /// What to do instead.
        help: String,
    },
    /// The user may not.
    #[error("cannot declare {object}: {reply}")]
    NotPermitted {
        /// The queue or exchange.
        object: String,
        /// The broker's words.
        reply: String,
    },
    /// The broker could not be asked.
    #[error("cannot declare the topology: {problem}")]
    Failed {
        /// What happened.
        problem: String,
        /// The foreign error behind it.
        #[source]
        source: Option<Cause>,
    },
}

fn objects(differences: &[Difference]) -> String {
    let mut names: Vec<&str> = differences.iter().map(|d| d.object.as_str()).collect();
    names.dedup();
    names.join(", ")
}

impl Diagnostic for TopologyError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Mismatch { .. } => ErrorCode::TopologyMismatch,
            Self::Name(error) => error.code(),
            Self::Unsupported { .. } => ErrorCode::Unsupported,
            Self::NotPermitted { .. } => ErrorCode::PermissionRefused,
            Self::Failed { .. } => ErrorCode::ConnectionLost,
        }
    }
    fn retryability(&self) -> Retryability {
        match self {
            Self::Failed { .. } => Retryability::Transient,
            Self::Mismatch { .. }
            | Self::Name(_)
            | Self::Unsupported { .. }
            | Self::NotPermitted { .. } => Retryability::Permanent,
        }
    }
    fn help(&self) -> Option<String> {
        match self {
            Self::Mismatch { differences } => {
                let list: Vec<String> = differences.iter().map(ToString::to_string).collect();
                Some(format!(
                    "compare with `pumasi topology plan`; what exists is not changed in place ({})",
                    list.join("; ")
                ))
            }
            Self::Name(error) => error.help(),
            Self::Unsupported { help, .. } => Some(help.clone()),
            Self::NotPermitted { .. } => {
                Some("grant the user configure permission, or let `pumasi topology apply` run as one who has it".to_owned())
            }
            Self::Failed { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::SubscriptionName;

    #[test]
    fn dead_letters_are_declared_before_their_queue_and_each_thing_once() {
        let topic = TopicSpec {
            name: TopicName::new("orders").unwrap(),
            subscriptions: vec![
                SubscriptionName::new("mail").unwrap(),
                SubscriptionName::new("mail").unwrap(),
            ],
        };
        let topology = Topology {
            queues: vec![QueueSpec::new(QueueName::new("email").unwrap())],
            topics: vec![topic],
        };
        let names: Vec<String> = topology
            .declarations()
            .unwrap()
            .iter()
            .map(|declaration| match declaration {
                Declaration::Queue(queue) => queue.name.to_string(),
                Declaration::Exchange(topic) => format!("exchange {topic}"),
                Declaration::Binding { topic, queue } => format!("{topic} -> {queue}"),
            })
            .collect();
        assert_eq!(
            names,
            [
                "email.dead",
                "email",
                "exchange orders",
                "orders.mail.dead",
                "orders.mail",
                "orders -> orders.mail"
            ]
        );
    }

    #[test]
    fn a_quorum_queue_refuses_overflow_and_has_an_explicit_delivery_limit() {
        let queue = QueueDeclaration::of(&QueueSpec::new(QueueName::new("q").unwrap()));
        let shown: Vec<String> = queue
            .arguments
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(
            shown,
            [
                "x-dead-letter-exchange=",
                "x-dead-letter-routing-key=q.dead",
                "x-dead-letter-strategy=at-least-once",
                "x-delivery-limit=100",
                "x-overflow=reject-publish",
                "x-queue-type=quorum"
            ]
        );
        assert!(queue.durable);
    }
}
