//! Queues, topics and subscriptions as rows.

use crate::{Inner, batch::Batch, writer::Context};
use pumasi_common::{
    QueueKind, Topology,
    topology::{Argument, Declaration, Difference, Plan, QueueDeclaration, TopologyError},
};
use rusqlite::{Connection, OptionalExtension, params};

/// What a queue's row says, in the words of its declaration.
const ARGUMENTS: [&str; 5] = [
    "x-queue-type",
    "x-dead-letter-routing-key",
    "x-max-length",
    "x-max-length-bytes",
    "x-delivery-limit",
];

/// Makes what is missing, unless anything differs.
pub(crate) async fn ensure(inner: &Inner, topology: &Topology) -> Result<Plan, TopologyError> {
    let declarations = declarations(topology)?;
    let make = move |batch: &mut Batch<'_>, _: &mut Context<'_>| {
        let plan = compare(batch.sql, &declarations)?;
        if plan.differences.is_empty() {
            for declaration in &declarations {
                create(batch.sql, declaration)?;
            }
        }
        Ok(plan)
    };
    let plan = inner
        .write(make)
        .await
        .map_err(|problem| failed(&problem))?;
    if plan.differences.is_empty() {
        Ok(plan)
    } else {
        let differences = plan.differences;
        Err(TopologyError::Mismatch { differences })
    }
}

/// Compares and changes nothing.
pub(crate) async fn plan(inner: &Inner, topology: &Topology) -> Result<Plan, TopologyError> {
    let declarations = declarations(topology)?;
    inner
        .read(move |sql| compare(sql, &declarations))
        .await
        .map_err(|problem| failed(&problem))
}

fn failed(problem: &str) -> TopologyError {
    TopologyError::Failed {
        problem: problem.to_owned(),
        source: None,
    }
}

fn declarations(topology: &Topology) -> Result<Vec<Declaration>, TopologyError> {
    let declarations = topology.declarations()?;
    for declaration in &declarations {
        if let Declaration::Queue(queue) = declaration
            && queue.kind == QueueKind::Transient
        {
            return Err(TopologyError::Unsupported {
                object: declaration.to_string(),
                problem: "the embedded broker keeps every queue on disk".to_owned(),
                help: "use kind `quorum` or `classic`; both are kept in the one file".to_owned(),
            });
        }
    }
    Ok(declarations)
}

fn compare(sql: &Connection, declarations: &[Declaration]) -> rusqlite::Result<Plan> {
    let mut plan = Plan::default();
    for declaration in declarations {
        let object = declaration.to_string();
        let exists = match declaration {
            Declaration::Queue(queue) => match stored(sql, queue)? {
                None => false,
                Some(have) => {
                    plan.differences.extend(differences(&object, &have, queue));
                    true
                }
            },
            Declaration::Exchange(topic) => sql
                .prepare_cached("SELECT 1 FROM topics WHERE name = ?1")?
                .exists([topic.as_str()])?,
            Declaration::Binding { topic, queue } => sql
                .prepare_cached(
                    "SELECT 1 FROM subscriptions s JOIN queues q ON q.id = s.queue_id \
                     WHERE s.topic = ?1 AND q.name = ?2",
                )?
                .exists([topic.as_str(), queue.as_str()])?,
        };
        if exists {
            plan.present.push(object);
        } else {
            plan.missing.push(object);
        }
    }
    Ok(plan)
}

type Arguments = [Option<String>; 5];

fn stored(sql: &Connection, queue: &QueueDeclaration) -> rusqlite::Result<Option<Arguments>> {
    let number = |number: Option<i64>| number.map(|n| n.to_string());
    sql.prepare_cached(
        "SELECT kind, dead_letter, length_max, bytes_max, delivery_limit FROM queues \
         WHERE name = ?1",
    )?
    .query_row([queue.name.as_str()], |row| {
        Ok([
            row.get(0)?,
            row.get(1)?,
            number(row.get(2)?),
            number(row.get(3)?),
            number(row.get(4)?),
        ])
    })
    .optional()
}

fn differences(object: &str, have: &Arguments, queue: &QueueDeclaration) -> Vec<Difference> {
    let shown = |value: Option<String>| value.unwrap_or_else(|| "none".to_owned());
    ARGUMENTS
        .iter()
        .zip(have)
        .map(|(name, have)| (name, have, argument(queue, name).map(ToString::to_string)))
        .filter(|(_, have, want)| *have != want)
        .map(|(name, have, want)| Difference {
            object: object.to_owned(),
            argument: (*name).to_owned(),
            have: shown(have.clone()),
            want: shown(want),
        })
        .collect()
}

fn argument<'a>(queue: &'a QueueDeclaration, name: &str) -> Option<&'a Argument> {
    queue
        .arguments
        .iter()
        .find_map(|(have, value)| (*have == name).then_some(value))
}

fn create(sql: &Connection, declaration: &Declaration) -> rusqlite::Result<()> {
    match declaration {
        Declaration::Queue(queue) => {
            let number = |name| match argument(queue, name) {
                Some(Argument::Number(number)) => Some(*number),
                Some(Argument::Text(_)) | None => None,
            };
            let dead_letter = argument(queue, "x-dead-letter-routing-key");
            sql.prepare_cached(
                "INSERT INTO queues \
                 (name, kind, dead_letter, length_max, bytes_max, delivery_limit) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
            )?
            .execute(params![
                queue.name.as_str(),
                queue.kind.to_string(),
                dead_letter.map(ToString::to_string),
                number("x-max-length"),
                number("x-max-length-bytes"),
                number("x-delivery-limit"),
            ])?;
        }
        Declaration::Exchange(topic) => {
            sql.prepare_cached("INSERT INTO topics (name) VALUES (?1) ON CONFLICT DO NOTHING")?
                .execute([topic.as_str()])?;
        }
        Declaration::Binding { topic, queue } => {
            sql.prepare_cached(
                "INSERT INTO subscriptions (topic, queue_id) \
                 SELECT ?1, id FROM queues WHERE name = ?2 ON CONFLICT DO NOTHING",
            )?
            .execute([topic.as_str(), queue.as_str()])?;
        }
    }
    Ok(())
}
