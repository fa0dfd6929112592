//! The embedded broker over real files, also from several processes.

mod processes;
mod refused;
mod sharing;
mod support;
