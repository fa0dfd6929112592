//! Development only: conformance suite, private RabbitMQ nodes, fault proxy, measurements

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::wildcard_enum_match_arm,
    reason = "test support fails by panicking"
)]

pub mod bench;
pub mod collector;
pub mod conformance;
pub mod disk;
pub mod faults;
pub mod golden;
pub mod http;
pub mod model;
pub mod percentile;
pub mod process;
pub mod proxy;
pub mod rabbitmq;
