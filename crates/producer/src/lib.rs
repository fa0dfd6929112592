//! Submit → publish: the client library and the HTTP gateway.
//!
//! See [`Client::submit`] first; [`jsonl`] reads tasks from files, [`gateway`] from HTTP.

pub mod client;
pub mod gateway;
pub mod jsonl;
pub mod submit;

pub use client::Client;
pub use gateway::GatewayConfig;
pub use submit::{Request, SubmitError};
