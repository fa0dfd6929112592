//! Names and descriptions of queues, topics and subscriptions.

use crate::{
    error::{Diagnostic, ErrorCode, Retryability},
    retry::RetryRules,
    task::TaskId,
};
use serde::{Deserialize, Serialize};
use std::{fmt, num::NonZeroU64, sync::Arc};

/// Longest name in bytes, so that a delayed task's routing key, 28 bits with their dots before the
/// name, still fits an AMQP short string.
pub const NAME_BYTES_MAX: usize = 199;

/// A name that breaks the rules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid {what} `{}`: {problem}", .value.escape_debug())]
pub struct NameError {
    /// What was to be named: `queue name`, `task kind` …
    pub what: &'static str,
    /// The refused value, cut to 64 characters.
    pub value: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

impl Diagnostic for NameError {
    fn code(&self) -> ErrorCode {
        ErrorCode::ArgumentInvalid
    }
    fn retryability(&self) -> Retryability {
        Retryability::Permanent
    }
    fn help(&self) -> Option<String> {
        Some(format!(
            "use 1 to {NAME_BYTES_MAX} of the characters A-Z a-z 0-9 . _ - : and begin with a letter or digit"
        ))
    }
}

pub(crate) fn check_name(what: &'static str, value: &str) -> Result<Arc<str>, NameError> {
    let refuse = |problem| NameError {
        what,
        value: value.chars().take(64).collect(),
        problem,
    };
    if value.is_empty() {
        return Err(refuse("it is empty"));
    }
    if value.len() > NAME_BYTES_MAX {
        return Err(refuse("it is longer than 199 bytes"));
    }
    if !value.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err(refuse("it does not begin with a letter or digit"));
    }
    if value.starts_with("amq.") {
        return Err(refuse("names that begin with `amq.` belong to the broker"));
    }
    if !value
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"._-:".contains(&b))
    {
        return Err(refuse("it holds a character that is not allowed"));
    }
    Ok(Arc::from(value))
}

/// What a checked text is besides: made from text, turned into it, and shown without control
/// characters.
macro_rules! text {
    ($type:ident) => {
        impl TryFrom<String> for $type {
            type Error = $crate::queue::NameError;
            fn try_from(value: String) -> Result<Self, Self::Error> {
                Self::new(&value)
            }
        }
        impl std::str::FromStr for $type {
            type Err = $crate::queue::NameError;
            fn from_str(value: &str) -> Result<Self, Self::Err> {
                Self::new(value)
            }
        }
        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.0.as_ref().to_owned()
            }
        }
        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}", self.0.escape_debug())
            }
        }
        impl std::fmt::Debug for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}
pub(crate) use text;

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(Arc<str>);

        impl $type {
            /// Checks and takes a name: 1–199 of `A-Z a-z 0-9 . _ - :`, first a letter or digit.
            ///
            /// # Errors
            /// [`NameError`] names the value and the rule it breaks.
            pub fn new(value: &str) -> Result<Self, NameError> {
                check_name($what, value).map(Self)
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        text!($type);
    };
}

name!(
    /// The name of a queue: a named place where ready tasks wait.
    QueueName,
    "queue name"
);
name!(
    /// The name of a topic: a publish-subscribe channel.
    TopicName,
    "topic name"
);
name!(
    /// The name of a subscription of a topic.
    SubscriptionName,
    "subscription name"
);

impl QueueName {
    /// The queue that holds this queue's dead letters: `Q.dead`.
    #[must_use]
    pub fn dead(&self) -> Self {
        Self(Arc::from(format!("{}.dead", self.0)))
    }

    /// The queue where tasks wait that were with workers when these died: `Q.suspects`. Each is
    /// run alone.
    #[must_use]
    pub fn suspects(&self) -> Self {
        Self(Arc::from(format!("{}.suspects", self.0)))
    }

    /// A queue for the outcomes of one requester, with a name of its own: `pumasi.reply.ID`.
    #[must_use]
    pub fn fresh_reply() -> Self {
        Self(Arc::from(format!("pumasi.reply.{}", TaskId::generate())))
    }

    /// The queue through which operators reach running workers: `pumasi.control`.
    #[must_use]
    pub fn control() -> Self {
        Self(Arc::from("pumasi.control"))
    }

    /// The work queue of a subscription: `T.S`.
    ///
    /// # Errors
    /// When both names together are too long.
    pub fn of_subscription(topic: &TopicName, name: &SubscriptionName) -> Result<Self, NameError> {
        Self::new(&format!("{topic}.{name}"))
    }
}

/// How a queue keeps its tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QueueKind {
    /// Replicated and synced to disk before the confirm. The default, on one node too.
    #[default]
    Quorum,
    /// One node; confirmed before it is synced to disk. Survives a broker restart.
    Classic,
    /// Gone with the broker. Refused by RabbitMQ 4.3 and by the embedded broker.
    Transient,
}

impl fmt::Display for QueueKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Quorum => "quorum",
            Self::Classic => "classic",
            Self::Transient => "transient",
        })
    }
}

/// How often the broker may return a task before it moves it to the dead letters by itself.
///
/// High on purpose: the broker counts whole prefetch windows when a worker crashes, so a low
/// limit would punish neighbours. A worker decides about its own tasks long before this.
pub const DELIVERY_LIMIT: u32 = 100;

/// A description of a work queue that should exist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueSpec {
    /// The queue's name.
    pub name: QueueName,
    /// How it keeps tasks. Default `quorum`.
    #[serde(default)]
    pub kind: QueueKind,
    /// Most tasks it holds; a further one is refused. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length_max: Option<NonZeroU64>,
    /// Most payload bytes it holds; a further task is refused. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_max: Option<NonZeroU64>,
    /// Most returns by the broker before it dead-letters the task. Default 100. Quorum only.
    #[serde(default = "delivery_limit")]
    pub delivery_limit: u32,
    /// Where dead letters go. Default `NAME.dead`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter_queue: Option<QueueName>,
    /// When its failed tasks are tried again, where that differs from `worker.retry`.
    #[serde(default, skip_serializing_if = "RetryRules::is_empty")]
    pub retry: RetryRules,
}

fn delivery_limit() -> u32 {
    DELIVERY_LIMIT
}

impl QueueSpec {
    /// A queue with every default.
    #[must_use]
    pub fn new(name: QueueName) -> Self {
        Self {
            name,
            kind: QueueKind::default(),
            length_max: None,
            bytes_max: None,
            delivery_limit: DELIVERY_LIMIT,
            dead_letter_queue: None,
            retry: RetryRules::default(),
        }
    }

    /// The queue of this one's suspects; their dead letters are those of the work queue.
    #[must_use]
    pub fn suspects(&self) -> Self {
        Self {
            dead_letter_queue: Some(self.dead_letters()),
            ..Self::new(self.name.suspects())
        }
    }

    /// The same queue of another kind.
    #[must_use]
    pub fn with_kind(mut self, kind: QueueKind) -> Self {
        self.kind = kind;
        self
    }

    /// The queue its dead letters go to.
    #[must_use]
    pub fn dead_letters(&self) -> QueueName {
        self.dead_letter_queue
            .clone()
            .unwrap_or_else(|| self.name.dead())
    }
}

/// A topic and its subscriptions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicSpec {
    /// The topic's name; the exchange has the same name on RabbitMQ.
    pub name: TopicName,
    /// Its subscriptions; each is a work queue `TOPIC.SUBSCRIPTION` of its own.
    #[serde(default)]
    pub subscriptions: Vec<SubscriptionName>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_checked_and_the_error_says_which_rule_it_broke() {
        for (bad, problem) in [
            ("", "empty"),
            ("a b", "not allowed"),
            ("../x", "begin with a letter"),
            ("amq.x", "belong to the broker"),
            (&"x".repeat(200), "longer than 199"),
            ("e\u{301}", "not allowed"),
        ] {
            let error = QueueName::new(bad).unwrap_err();
            assert!(error.to_string().contains(problem), "{error}");
        }
        assert_eq!(
            QueueName::new("image.resize-2_a:b")
                .unwrap()
                .dead()
                .as_str(),
            "image.resize-2_a:b.dead"
        );
    }
}
