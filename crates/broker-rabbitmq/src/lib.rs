//! The Pumasi broker contract over AMQP 0-9-1
