//! What must exist: declared where it is missing, compared where it is there, never changed.
//!
//! Each question is asked on a channel of its own, because a refusal closes the channel.

mod mismatch;

use crate::{
    connection::{Link, Server},
    error::{
        self, ACCESS_REFUSED, INTERNAL_ERROR, NOT_FOUND, NOT_IMPLEMENTED, PRECONDITION_FAILED,
    },
};
use futures_util::future::BoxFuture;
use lapin::{
    Channel, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable, LongString},
};
use pumasi_common::{
    Topology,
    broker::OpenError,
    topology::{
        Argument, BINDING_ALL, Declaration, Difference, Plan, QueueDeclaration, TopologyError,
    },
};
use std::time::Duration;
use tokio::time::timeout;

/// Most differences that are looked for in one object.
const DIFFERENCES_MAX: usize = 16;

/// Whether what is missing is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Ensure,
    Plan,
}

/// Compares, and makes what is missing when asked to.
pub(crate) async fn apply(
    link: &Link,
    topology: &Topology,
    mode: Mode,
    limit: Duration,
) -> Result<Plan, TopologyError> {
    let mut plan = Plan::default();
    let declarations = topology.declarations()?;
    match timeout(limit, link.connection()).await {
        Ok(connected) => connected.map_err(unreachable)?,
        Err(_) => return Err(late()),
    };
    refuse_unsupported(&link.server(), &declarations)?;
    for declaration in declarations {
        let step = one(link, &declaration, mode, &mut plan);
        match timeout(limit, step).await {
            Ok(done) => done?,
            Err(_) => return Err(late()),
        }
    }
    if mode == Mode::Ensure && !plan.differences.is_empty() {
        return Err(TopologyError::Mismatch {
            differences: plan.differences,
        });
    }
    Ok(plan)
}

/// Refuses what this version does not have, whatever its configuration may still permit: before
/// anything is declared, its dead letters included.
fn refuse_unsupported(server: &Server, declarations: &[Declaration]) -> Result<(), TopologyError> {
    let kinds = server.queue_kinds();
    for declaration in declarations {
        if let Declaration::Queue(queue) = declaration
            && !kinds.contains(&queue.kind)
        {
            let kind = queue.kind;
            return Err(TopologyError::Unsupported {
                object: declaration.to_string(),
                problem: format!(
                    "kind `{kind}` is supported up to RabbitMQ 4.2, and this is {server}"
                ),
                help: "use kind `quorum`, or `classic` where one node's disk is enough".to_owned(),
            });
        }
    }
    Ok(())
}

fn late() -> TopologyError {
    failed("the broker did not answer in time".to_owned())
}

fn unreachable(error: OpenError) -> TopologyError {
    TopologyError::Failed {
        problem: error.to_string(),
        source: Some(Box::new(error)),
    }
}

fn failed(problem: String) -> TopologyError {
    TopologyError::Failed {
        problem,
        source: None,
    }
}

async fn channel(link: &Link) -> Result<Channel, TopologyError> {
    let connection = link.connection().await.map_err(unreachable)?;
    connection
        .create_channel()
        .await
        .map_err(|error| failed(error.to_string()))
}

async fn one(
    link: &Link,
    declaration: &Declaration,
    mode: Mode,
    plan: &mut Plan,
) -> Result<(), TopologyError> {
    let name = declaration.to_string();
    match declaration {
        // The protocol cannot look at a binding; making one twice is harmless. It is known to be
        // missing where one of its ends was, and otherwise taken to be there.
        Declaration::Binding { topic, queue } => {
            let ends = [format!("topic `{topic}`"), format!("queue `{queue}`")];
            let is_new = ends.iter().any(|end| plan.missing.contains(end));
            if mode == Mode::Ensure {
                ask(link, declaration.clone())
                    .await
                    .map_err(|e| explain(&name, e))?;
            }
            if is_new {
                plan.missing.push(name);
            } else {
                plan.present.push(name);
            }
            Ok(())
        }
        Declaration::Queue(_) | Declaration::Exchange(_) => match look(link, declaration).await {
            Ok(()) => compare(link, declaration.clone(), plan).await,
            Err(Failure::Reply(NOT_FOUND, _)) => {
                if mode == Mode::Ensure {
                    ask(link, declaration.clone())
                        .await
                        .map_err(|e| explain(&name, e))?;
                }
                plan.missing.push(name);
                Ok(())
            }
            Err(failure) => Err(explain(&name, failure)),
        },
    }
}

/// Declares what exists with our arguments and takes the differences out of the refusals, one
/// at a time: what was found is given as it is in the next try.
async fn compare(
    link: &Link,
    declaration: Declaration,
    plan: &mut Plan,
) -> Result<(), TopologyError> {
    let name = declaration.to_string();
    let mut tried = declaration;
    let before = plan.differences.len();
    for _ in 0..DIFFERENCES_MAX {
        let text = match ask(link, tried.clone()).await {
            Ok(()) => break,
            Err(Failure::Reply(PRECONDITION_FAILED, text)) => text,
            Err(failure) => return Err(explain(&name, failure)),
        };
        let Some(difference) = mismatch::parse(&text) else {
            return Err(failed(text));
        };
        let known = plan
            .differences
            .get(before..)
            .is_some_and(|found| found.iter().any(|d| d.argument == difference.argument));
        if known {
            break;
        }
        let next = give_way(tried, &difference);
        plan.differences.push(difference);
        match next {
            Some(next) => tried = next,
            None => break,
        }
    }
    if plan.differences.len() == before {
        plan.present.push(name);
    }
    Ok(())
}

/// The declaration with what exists instead of what should, to see what else differs.
fn give_way(declaration: Declaration, difference: &Difference) -> Option<Declaration> {
    let Declaration::Queue(mut queue) = declaration else {
        return None;
    };
    match difference.argument.as_str() {
        "durable" => queue.durable = difference.have == "true",
        "auto_delete" | "exclusive" => return None,
        argument => {
            let place = queue
                .arguments
                .iter()
                .position(|(name, _)| *name == argument)?;
            if difference.have == "none" {
                queue.arguments.remove(place);
            } else if let Some((_, value)) = queue.arguments.get_mut(place) {
                *value = match value {
                    Argument::Number(_) => Argument::Number(difference.have.parse().ok()?),
                    Argument::Text(_) => Argument::Text(difference.have.clone()),
                };
            }
        }
    }
    Some(Declaration::Queue(queue))
}

/// Why the broker did not do it.
enum Failure {
    Reply(u16, String),
    Other(TopologyError),
}

fn explain(object: &str, failure: Failure) -> TopologyError {
    let object = object.to_owned();
    match failure {
        Failure::Reply(ACCESS_REFUSED, reply) => TopologyError::NotPermitted { object, reply },
        Failure::Reply(INTERNAL_ERROR | NOT_IMPLEMENTED, text)
            if text.contains("transient") || text.contains("deprecated") =>
        {
            TopologyError::Unsupported {
                object,
                problem: "its configuration denies transient queues".to_owned(),
                help: "use kind `quorum` or `classic`, or set `deprecated_features.permit.transient_nonexcl_queues = true` on the broker".to_owned(),
            }
        }
        Failure::Reply(_, text) => failed(format!("{object}: {text}")),
        Failure::Other(error) => error,
    }
}

fn failure(error: lapin::Error) -> Failure {
    match error::reply(&error) {
        Some((code, text)) => Failure::Reply(code, text),
        None => Failure::Other(TopologyError::Failed {
            problem: error.to_string(),
            source: error::cause(error),
        }),
    }
}

/// Looks whether a queue or exchange exists, on a channel of its own.
async fn look(link: &Link, declaration: &Declaration) -> Result<(), Failure> {
    let channel = channel(link).await.map_err(Failure::Other)?;
    let looked = match declaration {
        Declaration::Queue(queue) => channel
            .queue_declare(
                queue.name.as_str().into(),
                QueueDeclareOptions {
                    passive: true,
                    ..QueueDeclareOptions::default()
                },
                FieldTable::default(),
            )
            .await
            .map(drop),
        Declaration::Exchange(topic) => {
            channel
                .exchange_declare(
                    topic.as_str().into(),
                    ExchangeKind::Topic,
                    ExchangeDeclareOptions {
                        passive: true,
                        ..ExchangeDeclareOptions::default()
                    },
                    FieldTable::default(),
                )
                .await
        }
        Declaration::Binding { .. } => Ok(()),
    };
    looked.map_err(failure)
}

/// Declares, on a channel of its own.
fn ask(link: &Link, declaration: Declaration) -> BoxFuture<'_, Result<(), Failure>> {
    Box::pin(async move {
        let channel = channel(link).await.map_err(Failure::Other)?;
        let done = match &declaration {
            Declaration::Queue(queue) => declare_queue(&channel, queue).await,
            Declaration::Exchange(topic) => {
                channel
                    .exchange_declare(
                        topic.as_str().into(),
                        ExchangeKind::Topic,
                        ExchangeDeclareOptions {
                            durable: true,
                            ..ExchangeDeclareOptions::default()
                        },
                        FieldTable::default(),
                    )
                    .await
            }
            Declaration::Binding { topic, queue } => {
                channel
                    .queue_bind(
                        queue.as_str().into(),
                        topic.as_str().into(),
                        BINDING_ALL.into(),
                        QueueBindOptions::default(),
                        FieldTable::default(),
                    )
                    .await
            }
        };
        done.map_err(failure)
    })
}

async fn declare_queue(channel: &Channel, queue: &QueueDeclaration) -> lapin::Result<()> {
    let mut arguments = FieldTable::default();
    for (name, value) in &queue.arguments {
        let value = match value {
            Argument::Text(text) => AMQPValue::LongString(LongString::from(text.as_str())),
            Argument::Number(number) => AMQPValue::LongLongInt(*number),
        };
        arguments.insert((*name).into(), value);
    }
    channel
        .queue_declare(
            queue.name.as_str().into(),
            QueueDeclareOptions {
                durable: queue.durable,
                ..QueueDeclareOptions::default()
            },
            arguments,
        )
        .await
        .map(drop)
}
