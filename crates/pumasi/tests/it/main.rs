//! `pumasi` as its users run it: real processes, real brokers.

mod broker;
mod errors;
mod process;
mod tutorial;
