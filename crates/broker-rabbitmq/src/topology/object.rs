//! One object of the broker as a value, and the questions about it: is it there, make it.
//!
//! Each question is asked on a channel of its own, because a refusal closes the channel.

use crate::{
    connection::{Link, answered},
    error::{self, NOT_FOUND},
};
use lapin::{
    Channel, Connection, ExchangeKind,
    options::{ExchangeBindOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable, LongString},
};
use pumasi_common::{
    error::Cause,
    topology::{Argument, BINDING_ALL, Declaration},
};
use std::sync::Arc;

/// Arguments by name.
pub(crate) type Arguments = Vec<(&'static str, Argument)>;

/// A queue, an exchange or a binding.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Object {
    Queue {
        name: String,
        durable: bool,
        arguments: Arguments,
    },
    /// Exchanges are always durable.
    Exchange {
        name: String,
        kind: ExchangeKind,
        arguments: Arguments,
    },
    QueueBinding {
        queue: String,
        exchange: String,
        key: String,
    },
    ExchangeBinding {
        to: String,
        from: String,
        key: String,
    },
}

impl From<&Declaration> for Object {
    fn from(declaration: &Declaration) -> Self {
        match declaration {
            Declaration::Queue(queue) => Self::Queue {
                name: queue.name.as_str().to_owned(),
                durable: queue.durable,
                arguments: queue.arguments.clone(),
            },
            Declaration::Exchange(topic) => Self::Exchange {
                name: topic.as_str().to_owned(),
                kind: ExchangeKind::Topic,
                arguments: Vec::new(),
            },
            Declaration::Binding { topic, queue } => Self::QueueBinding {
                queue: queue.as_str().to_owned(),
                exchange: topic.as_str().to_owned(),
                key: BINDING_ALL.to_owned(),
            },
        }
    }
}

/// Why the broker did not do it.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Its reply code and text.
    Reply(u16, String),
    /// It could not be asked.
    Other {
        problem: String,
        source: Option<Cause>,
    },
}

impl Failure {
    /// What happened, one clause.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Reply(_, text) => text,
            Self::Other { problem, .. } => problem,
        }
    }
}

impl From<lapin::Error> for Failure {
    fn from(error: lapin::Error) -> Self {
        match error::reply(&error) {
            Some((code, text)) => Self::Reply(code, text),
            None => Self::Other {
                problem: error.to_string(),
                source: error::cause(error),
            },
        }
    }
}

/// A channel for questions, and the connection that it lives on.
#[derive(Debug)]
pub(crate) struct Asking {
    connection: Arc<Connection>,
    channel: Channel,
}

impl Asking {
    pub(crate) async fn open(link: &Link) -> Result<Self, Failure> {
        let connection = link.connection().await.map_err(|error| Failure::Other {
            problem: error.to_string(),
            source: Some(Box::new(error)),
        })?;
        let channel = answered(&connection, connection.create_channel()).await?;
        Ok(Self {
            connection,
            channel,
        })
    }
}

/// A channel for one question.
pub(crate) async fn channel(link: &Link) -> Result<Channel, Failure> {
    Ok(Asking::open(link).await?.channel)
}

impl Object {
    /// Looks whether it is there, however it was made. A binding cannot be looked at.
    pub(crate) async fn exists(&self, link: &Link) -> Result<bool, Failure> {
        match self.look(&Asking::open(link).await?).await {
            Ok(()) => Ok(true),
            Err(Failure::Reply(NOT_FOUND, _)) => Ok(false),
            Err(other @ (Failure::Reply(..) | Failure::Other { .. })) => Err(other),
        }
    }

    /// As [`Object::exists`] on a channel that has to last: 404 ends it where it is not there.
    pub(crate) async fn look(&self, asking: &Asking) -> Result<(), Failure> {
        Ok(answered(&asking.connection, self.look_at(&asking.channel)).await?)
    }

    async fn look_at(&self, channel: &Channel) -> lapin::Result<()> {
        match self {
            Self::Queue { name, .. } => {
                let options = QueueDeclareOptions {
                    passive: true,
                    ..QueueDeclareOptions::default()
                };
                let (name, none) = (name.as_str().into(), FieldTable::default());
                channel.queue_declare(name, options, none).await.map(|_| ())
            }
            Self::Exchange { name, kind, .. } => {
                let options = ExchangeDeclareOptions {
                    passive: true,
                    ..ExchangeDeclareOptions::default()
                };
                let (name, none) = (name.as_str().into(), FieldTable::default());
                channel
                    .exchange_declare(name, kind.clone(), options, none)
                    .await
            }
            Self::QueueBinding { .. } | Self::ExchangeBinding { .. } => Ok(()),
        }
    }

    /// Makes it, or finds it made with the same arguments.
    pub(crate) async fn declare(&self, link: &Link) -> Result<(), Failure> {
        self.declare_on(&Asking::open(link).await?).await
    }

    /// As [`Object::declare`] on a channel that has to last.
    pub(crate) async fn declare_on(&self, asking: &Asking) -> Result<(), Failure> {
        Ok(answered(&asking.connection, self.make(&asking.channel)).await?)
    }

    async fn make(&self, channel: &Channel) -> lapin::Result<()> {
        let none = FieldTable::default();
        match self {
            Self::Queue {
                name,
                durable,
                arguments,
            } => {
                let options = QueueDeclareOptions {
                    durable: *durable,
                    ..QueueDeclareOptions::default()
                };
                let name = name.as_str().into();
                channel
                    .queue_declare(name, options, table(arguments))
                    .await?;
            }
            Self::Exchange {
                name,
                kind,
                arguments,
            } => {
                let options = ExchangeDeclareOptions {
                    durable: true,
                    ..ExchangeDeclareOptions::default()
                };
                let name = name.as_str().into();
                channel
                    .exchange_declare(name, kind.clone(), options, table(arguments))
                    .await?;
            }
            Self::QueueBinding {
                queue,
                exchange,
                key,
            } => {
                let (queue, exchange) = (queue.as_str().into(), exchange.as_str().into());
                let (key, options) = (key.as_str().into(), QueueBindOptions::default());
                channel
                    .queue_bind(queue, exchange, key, options, none)
                    .await?;
            }
            Self::ExchangeBinding { to, from, key } => {
                let (to, from) = (to.as_str().into(), from.as_str().into());
                let (key, options) = (key.as_str().into(), ExchangeBindOptions::default());
                channel.exchange_bind(to, from, key, options, none).await?;
            }
        }
        Ok(())
    }
}

fn table(arguments: &Arguments) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in arguments {
        let value = match value {
            Argument::Text(text) => AMQPValue::LongString(LongString::from(text.as_str())),
            Argument::Number(number) => AMQPValue::LongLongInt(*number),
        };
        table.insert((*name).into(), value);
    }
    table
}
