//! `pumasi` as its users run it: real processes, real brokers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod broker;
mod dead;
mod drain;
mod durability;
mod errors;
mod events;
mod exec;
mod explain;
mod fairness;
mod faults;
mod gate;
mod interrupted;
mod json;
mod listing;
mod manifests;
mod million;
mod orders;
mod pages;
mod plain_amqp;
mod poison;
mod process;
mod progress;
mod reference;
mod traces;
mod tutorial;
mod wait;
