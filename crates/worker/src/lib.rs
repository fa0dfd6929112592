//! Consume, handle and settle tasks: runtime library and worker service
