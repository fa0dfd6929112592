//! The words and the contract of Pumasi: no I/O, no runtime, no transport.
//!
//! Read in this order: [`task`] (what travels), [`queue`] and [`topology`] (where it waits),
//! [`settlement`] (what is told to the broker), [`retry`] (when it is tried again), [`outcome`]
//! (what whoever asked gets to hear), [`broker`] (the contract both brokers fulfil),
//! [`connection`] (how a broker is reached), [`error`] (how failure is reported).

pub mod broker;
pub mod connection;
pub mod dead;
pub mod error;
pub mod field;
pub mod outcome;
pub mod queue;
pub mod retry;
pub mod settlement;
pub mod task;
pub mod telemetry;
pub mod topology;
pub mod wire;

pub use broker::{
    Broker, BrokerAdmin, Consumer, Delivery, Destination, Publication, PublishOutcome, Refusal,
};
pub use connection::ConnectionSettings;
pub use error::{Diagnostic, ErrorCode, Retryability};
pub use queue::{QueueKind, QueueName, QueueSpec, SubscriptionName, TopicName};
pub use retry::{RetryPolicy, RetryRules};
pub use settlement::{DeadLetter, DeadReason, Settlement};
pub use task::{Task, TaskId, TaskKind};
pub use topology::Topology;
