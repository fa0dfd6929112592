//! What every Pumasi process does around its job.
//!
//! In the order of a process's life: [`flags`] reads its command line, [`config`] its settings, [`telemetry`] starts its logs
//! and traces, [`health`] answers probes, [`http`] serves within limits, [`shutdown`] turns signals into two tokens, [`fatal`]
//! says why it ends. Environment variables and exit statuses are read and chosen only here.

pub mod config;
pub mod fatal;
pub mod flags;
pub mod health;
pub mod http;
pub mod process;
pub mod shutdown;
pub mod telemetry;
