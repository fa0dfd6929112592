//! The contract that every broker fulfils: [`Broker`], [`Consumer`], [`Delivery`].
//!
//! It says nothing about connections, channels or files: reconnecting is the implementation's
//! business. What differs between brokers is declared in [`Capabilities`], never guessed.

pub mod admin;
pub mod consume;
pub mod control;
pub mod publish;

pub use admin::{AdminError, BrokerAdmin, Cancelled, Pause, QueueStatus};
pub use consume::{ConsumeError, ConsumeOptions, Consumer, Delivery, SettleError, Settler};
pub use control::{BoxStream, Control};
pub use publish::{Destination, Publication, PublishOutcome, Refusal, Uncertainty};

use crate::{
    error::Cause,
    queue::{QueueKind, QueueName},
    topology::{Plan, Topology, TopologyError},
};
use std::{fmt, future::Future, pin::Pin, time::Duration};

/// A boxed future, as the object-safe contract returns them.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What stores tasks and hands them to consumers.
pub trait Broker: Send + Sync + fmt::Debug {
    /// Publishes one task; resolves when the broker has taken responsibility or refused it.
    ///
    /// Calls of one moment leave together. Waits for room in the publish window first; that is
    /// the back-pressure. Order of the first polls is the order of publishing.
    ///
    /// # Cancel safety
    /// Not cancel safe: a dropped future leaves the outcome unknown.
    fn publish(&self, publication: Publication) -> BoxFuture<'_, PublishOutcome>;

    /// Starts a consumer of one queue.
    fn consume(
        &self,
        options: ConsumeOptions,
    ) -> BoxFuture<'_, Result<Box<dyn Consumer>, ConsumeError>>;

    /// Listens to what operators ask of workers: what is in force for these queues comes first,
    /// then what changes. Survives lost connections; ends when the broker is closed.
    fn control(
        &self,
        queues: Vec<QueueName>,
    ) -> BoxFuture<'_, Result<BoxStream<Control>, ConsumeError>>;

    /// Makes a queue for outcomes, which is gone some time after nobody uses it, and consumes it.
    fn replies(&self) -> BoxFuture<'_, Result<Replies, ConsumeError>>;

    /// Makes the topology exist; changes nothing that exists, reports what differs.
    fn ensure_topology<'a>(
        &'a self,
        topology: &'a Topology,
    ) -> BoxFuture<'a, Result<Plan, TopologyError>>;

    /// Compares the topology with what exists and changes nothing.
    fn plan_topology<'a>(
        &'a self,
        topology: &'a Topology,
    ) -> BoxFuture<'a, Result<Plan, TopologyError>>;

    /// What this broker can do.
    fn capabilities(&self) -> Capabilities;

    /// Whether the broker can be worked with now.
    fn health(&self) -> Health;

    /// The operator's side.
    fn admin(&self) -> &dyn BrokerAdmin;

    /// Waits for outstanding confirms and settlements, within the close deadline, and closes.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// What a broker declares it can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// `messaging.system` in telemetry.
    pub system: &'static str,
    /// Product and version, for a person: `RabbitMQ 4.3.5`, `SQLite 3.54.1`.
    pub product: String,
    /// The queue kinds it accepts.
    pub queue_kinds: Vec<QueueKind>,
    /// Whether it can list queues it was not told about.
    pub lists_queues: bool,
    /// The largest payload in bytes.
    pub payload_bytes_max: usize,
    /// What a delay is rounded up to.
    pub delay_resolution: Duration,
    /// The longest delay.
    pub delay_max: Duration,
    /// Which priorities change the order of a queue of this kind.
    pub priorities: Priorities,
    /// Whether it knows the ids of the duplicate window: a publication with
    /// [`Publication::once`] is stored once, also when the first is done by then.
    pub knows_duplicates: bool,
    /// How long a delivery may stay unsettled before the broker takes it back.
    pub ack_timeout: AckTimeout,
}

/// Which priorities change the order in which ready tasks are handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priorities {
    /// None: every task is handed out in turn.
    None,
    /// Two levels: 0 to 4, and 5 to 9 twice as often.
    Two,
    /// Each of 0 to 9, strictly.
    Ten,
}

/// How long a delivery may stay unsettled before the broker takes it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckTimeout {
    /// As long as its consumer lives.
    Unlimited,
    /// As each consumer says, [`ConsumeOptions::ack_timeout`].
    OfConsumer,
    /// As the broker is configured; a consumer cannot change it.
    OfBroker(Duration),
}

/// A queue for outcomes, and its consumer. Closing the consumer deletes the queue.
pub struct Replies {
    /// What goes into a task's `reply_to`.
    pub to: String,
    /// The outcomes.
    pub consumer: Box<dyn Consumer>,
}

impl fmt::Debug for Replies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replies")
            .field("to", &self.to)
            .finish_non_exhaustive()
    }
}

/// Whether the broker can be worked with now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Connected and usable.
    Up,
    /// Connected, but the broker takes no publishes for now; the text says why.
    Blocked(String),
    /// Not connected; being retried. The text is the last error.
    Down(String),
}

/// Why a broker cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the broker at {address}: {problem}")]
pub struct OpenError {
    /// Where; without password.
    pub address: String,
    /// What went wrong, one clause.
    pub problem: String,
    /// The code that fits the problem.
    pub code: crate::ErrorCode,
    /// What to do about it.
    pub help: Option<String>,
    /// The foreign error behind it.
    #[source]
    pub source: Option<Cause>,
}

impl crate::Diagnostic for OpenError {
    fn code(&self) -> crate::ErrorCode {
        self.code
    }
    fn retryability(&self) -> crate::Retryability {
        if self.code.exit_status() == 75 || self.code == crate::ErrorCode::BrokerUnreachable {
            crate::Retryability::Transient
        } else {
            crate::Retryability::Permanent
        }
    }
    fn help(&self) -> Option<String> {
        self.help.clone()
    }
}
