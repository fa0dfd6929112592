//! Development only: conformance suite, private RabbitMQ nodes, fault proxy, ledgers

pub mod rabbitmq;
