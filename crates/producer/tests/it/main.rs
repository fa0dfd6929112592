//! `pumasi-producer` as it runs in a container: a real process, real brokers, real sockets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod batch;
mod flood;
mod gateway;
mod help;
mod keys;
mod life;
mod limits;
mod openapi;
mod outage;
mod probes;
mod support;
