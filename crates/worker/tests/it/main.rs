//! The worker's runtime as a library on the embedded broker, and `pumasi-worker` as it runs in a
//! container: a real process, real brokers, real programs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod bench;
mod concurrency;
mod draining;
mod help;
mod http;
mod life;
mod lifecycle;
mod logs;
mod orders;
mod outcomes;
mod probes;
mod races;
mod retries;
mod simulated;
mod site;
mod support;
mod suspects;
mod tls;
mod traces;
mod world;
