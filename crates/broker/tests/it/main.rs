//! Integration tests of the brokers behind their common door.

mod conformance;
