//! What clients in plain AMQP are to do, and which mistake they make on purpose.
//!
//! Each mistake is one that tutorials, libraries or hurried people make, one line away from correct
//! code. The harness drives the clients like Pumasi, to see that the checker finds each of them.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// How a pair of plain clients behaves; without a mistake it is as careful as Pumasi.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Plain {
    /// The producer's mistake.
    pub producer: Option<ProducerBug>,
    /// The worker's mistake.
    pub worker: Option<WorkerBug>,
    /// Most tasks that wait in the queue; more are refused.
    pub room: Option<u32>,
    /// One task in so many is addressed to a queue that does not exist.
    pub stray: Option<u32>,
}

/// What a plain producer does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProducerBug {
    /// As a first tutorial writes it: no confirms, no repeating, and the end at the first error.
    Tutorial,
    /// What was written to the socket counts as accepted.
    NoConfirms,
    /// What has no queue to go to is dropped by the broker, which confirms it.
    NotMandatory,
    /// A confirm counts as accepted, though it carries the returned task.
    IsAckOnly,
    /// A negative confirm counts as accepted.
    NackIsAccepted,
    /// A missing answer counts as a refusal.
    UnknownIsRefused,
    /// What is repeated gets a new id.
    NewId,
}

/// What a plain worker does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WorkerBug {
    /// As a first tutorial writes it: automatic acknowledgement, one task after another, and the
    /// end at the first error.
    Tutorial,
    /// The broker forgets what it has sent.
    AutoAck,
    /// The acknowledgement goes out before the run.
    AckFirst,
    /// A task that is to be tried again is acknowledged, then published.
    AckThenPublish,
    /// A failed task is put back as it was.
    Requeue,
    /// A rejected task is left to an exchange for dead letters that is not there.
    DeadLettersToNowhere,
    /// The prefetch is set on the first channel only.
    PrefetchOnce,
    /// A consumer that the broker cancelled is not missed.
    EndIgnored,
    /// Copies are published on the connection that consumes.
    OneConnection,
    /// The record of a task is replaced by whoever comes last.
    Unfenced,
    /// SIGTERM ends it at once.
    NoDrain,
    /// Its handlers are programs that do not end with it.
    Orphans,
    /// A full queue drops its oldest tasks.
    DropHead,
}

/// The orders of a plain worker; one JSON object as its argument.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WorkerOrders {
    /// The broker.
    pub url: String,
    /// Where the tasks come from.
    pub queue: String,
    /// Where it notes what it does.
    pub ledger: PathBuf,
    /// Its name in the ledger.
    pub name: String,
    /// Most tasks at once.
    pub concurrency: u16,
    /// What it does wrong, and about what.
    pub plain: Plain,
}
