//! What must exist: declared where it is missing, compared where it is there, never changed.

mod mismatch;
pub(crate) mod object;

use crate::{
    connection::{Link, Server},
    error::{ACCESS_REFUSED, INTERNAL_ERROR, NOT_IMPLEMENTED, PRECONDITION_FAILED},
};
use object::{Failure, Object};
use pumasi_common::{
    Topology,
    broker::OpenError,
    topology::{Argument, Declaration, Difference, Plan, TopologyError},
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
                Object::from(declaration)
                    .declare(link)
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
        Declaration::Queue(_) | Declaration::Exchange(_) => {
            let object = Object::from(declaration);
            let exists = object.exists(link).await;
            if exists.map_err(|e| explain(&name, e))? {
                return compare(link, declaration.clone(), plan).await;
            }
            if mode == Mode::Ensure {
                let declared = object.declare(link).await;
                declared.map_err(|e| explain(&name, e))?;
            }
            plan.missing.push(name);
            Ok(())
        }
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
        let text = match Object::from(&tried).declare(link).await {
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
        Failure::Other { problem, source } => TopologyError::Failed { problem, source },
    }
}
