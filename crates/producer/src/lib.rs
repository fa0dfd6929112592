//! Submit → publish: the client library and the HTTP gateway.
//!
//! See [`Client::submit`] first; [`jsonl`] reads tasks from files, [`gateway`] from HTTP,
//! both with [`envelope`];
//! [`service`] is the gateway as a process.

pub mod client;
pub mod envelope;
pub mod gateway;
pub mod jsonl;
pub mod service;
pub mod start;
pub mod submit;

pub use client::Client;
pub use gateway::GatewayConfig;
pub use start::Start;
pub use submit::{Request, SubmitError};
