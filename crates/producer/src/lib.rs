//! Submit tasks: client library and HTTP gateway
