//! Every name that leaves the process as telemetry, in one place.
//!
//! Names follow the OpenTelemetry messaging conventions (RabbitMQ page, 1.44), which are still in
//! development: hence constants of our own.

/// `messaging.system` of RabbitMQ.
pub const SYSTEM_RABBITMQ: &str = "rabbitmq";
/// `messaging.system` of the embedded broker.
pub const SYSTEM_SQLITE: &str = "pumasi.sqlite";
/// The W3C header that carries the creation context.
pub const TRACEPARENT: &str = "traceparent";
/// The W3C header with vendor state.
pub const TRACESTATE: &str = "tracestate";
