//! Consume → admit → dispatch → execute → decide → settle, and drain.
//!
//! Start reading at [`Worker::run`] in `runtime.rs`; each stage has a file of its name.
//! The worker never knows which broker it works on.

mod ack_timeout;
mod admit;
pub mod builder;
pub mod config;
pub mod decide;
pub mod error;
pub mod events;
pub mod execute;
pub mod handler;
pub mod runtime;
pub mod service;

mod dispatch;
mod drain;
mod finished;
mod intake;
mod news;
mod orders;
mod suspects;

pub use builder::WorkerBuilder;
pub use config::{AckMode, HandlerConfig, HttpConfig, Network, Prefetch, Unknown, WorkerConfig};
pub use decide::RetryAfter;
pub use error::WorkerError;
pub use handler::{Context, Handler, HandlerError, HandlerResult, Handlers, Rules};
pub use pumasi_common::outcome::Output;
pub use runtime::Worker;
