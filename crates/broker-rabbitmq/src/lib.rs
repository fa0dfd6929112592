//! The Pumasi broker contract over AMQP 0-9-1, by stage of the data's way.
//!
//! `connection` (how a broker is reached), `topology` (what must exist), `convert` (a task and its
//! message), `publish` (a task goes out), `delay` (one is kept back), `consume` (a task comes in), `settle` (what the broker is
//! told), `replies` (outcomes come back), `control` (operators reach
//! workers), `admin` (the operator's side), `error` (what the broker's refusals mean).
//!
//! lapin serves as a thin protocol engine: its own recovery is not used, because it can go silent.
//! Every loss tears down what it touched, and the stage that needs it makes it anew.

mod admin;
mod broker;
mod connection;
mod consume;
mod control;
mod convert;
mod delay;
mod error;
mod publish;
mod replies;
mod settle;
mod topology;

pub use broker::RabbitMqBroker;
