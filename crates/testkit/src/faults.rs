//! Fault runs: ledgers of what was submitted, run and broken, and the checker that judges them.
//!
//! `cargo xtask faults` drives real processes against real brokers. Everyone writes to one ledger
//! what they do while they do it: the producer before and after each submit, the handler of each
//! run, the injector for each fault. The checker reads nothing else, so it cannot be told a story
//! by the product that it judges.

pub mod checker;
pub mod ledger;
pub mod orders;
pub mod plain;
