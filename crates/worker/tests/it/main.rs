//! `pumasi-worker` as it runs in a container: a real process, real brokers, real programs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod life;
mod logs;
mod support;
mod traces;
