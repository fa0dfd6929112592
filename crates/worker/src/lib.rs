//! Consume → dispatch → execute → decide → settle, and drain.
//!
//! Start reading at [`Worker::run`] in `runtime.rs`; each stage has a file of its name.
//! The worker never knows which broker it works on.

pub mod config;
pub mod decide;
pub mod error;
pub mod execute;
pub mod handler;
pub mod runtime;
pub mod service;

mod dispatch;
mod drain;

pub use config::{AckMode, HandlerConfig, Prefetch, WorkerConfig};
pub use error::WorkerError;
pub use handler::{Context, Handler, HandlerError, HandlerResult, Handlers};
pub use runtime::{Worker, WorkerBuilder};
