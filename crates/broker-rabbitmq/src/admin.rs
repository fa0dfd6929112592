//! The operator's side: looking at queues, going through them and emptying them, over
//! AMQP.

pub(crate) mod browse;
pub(crate) mod management;

use crate::{
    connection::Link,
    control::is_paused,
    error::{self, ACCESS_REFUSED, NOT_FOUND},
    topology::object::Failure,
};
use lapin::{
    Channel,
    options::{QueueDeclareOptions, QueuePurgeOptions},
    types::FieldTable,
};
use pumasi_common::{
    QueueName,
    broker::{AdminError, QueueStatus},
};

/// One queue, by a passive declaration.
pub(crate) async fn queue(link: &Link, name: &QueueName) -> Result<QueueStatus, AdminError> {
    let queue = channel(link)
        .await?
        .queue_declare(
            name.as_str().into(),
            QueueDeclareOptions {
                passive: true,
                ..QueueDeclareOptions::default()
            },
            FieldTable::default(),
        )
        .await
        .map_err(|error| explain(name, error))?;
    Ok(QueueStatus {
        name: name.clone(),
        kind: None,
        ready: queue.message_count().into(),
        in_flight: None,
        consumers: queue.consumer_count().into(),
        delayed: None,
        paused: is_paused(link, name).await.map_err(cannot_look)?,
    })
}

/// Deletes all ready tasks.
pub(crate) async fn purge(link: &Link, name: &QueueName) -> Result<u64, AdminError> {
    channel(link)
        .await?
        .queue_purge(name.as_str().into(), QueuePurgeOptions::default())
        .await
        .map(u64::from)
        .map_err(|error| explain(name, error))
}

fn cannot_look(failure: Failure) -> AdminError {
    match failure {
        Failure::Reply(_, problem) => AdminError::Failed {
            problem,
            source: None,
        },
        Failure::Other { problem, source } => AdminError::Failed { problem, source },
    }
}

async fn channel(link: &Link) -> Result<Channel, AdminError> {
    let connection = link
        .connection()
        .await
        .map_err(|error| AdminError::Failed {
            problem: error.to_string(),
            source: Some(Box::new(error)),
        })?;
    connection
        .create_channel()
        .await
        .map_err(|error| AdminError::Failed {
            problem: error.to_string(),
            source: error::cause(error),
        })
}

fn explain(queue: &QueueName, error: lapin::Error) -> AdminError {
    match error::reply(&error) {
        Some((NOT_FOUND, _)) => AdminError::QueueMissing {
            queue: queue.clone(),
        },
        Some((ACCESS_REFUSED, reply)) => AdminError::NotPermitted { reply },
        Some((_, problem)) => AdminError::Failed {
            problem,
            source: error::cause(error),
        },
        None => AdminError::Failed {
            problem: error.to_string(),
            source: error::cause(error),
        },
    }
}
