//! The embedded broker over real files, also from several processes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking, and its worker process speaks through its output"
)]

mod books;
mod browse;
mod cancel;
mod contract;
mod control;
mod delay;
mod fairness;
mod full;
mod idle;
mod killed;
mod migration;
mod once;
mod priority;
mod processes;
mod refused;
mod replies;
mod retry;
mod sharing;
mod support;
