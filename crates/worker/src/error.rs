//! Why a worker cannot start.

use pumasi_common::{
    Diagnostic, ErrorCode, Retryability, broker::ConsumeError, topology::TopologyError,
};
use std::time::Duration;

/// Why a worker cannot start.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// A setting is missing or contradicts another.
    #[error("invalid configuration: {key} is {value}, expected {expected}")]
    Config {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What was expected.
        expected: &'static str,
    },
    /// The program of an exec handler cannot be run.
    #[error("cannot use `{program}` as a handler: {problem}")]
    HandlerMissing {
        /// The program as configured.
        program: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The service of an HTTP handler cannot be used.
    #[error("cannot use `{url}` as a handler: {problem}")]
    Service {
        /// The service's URL.
        url: String,
        /// What is wrong.
        problem: String,
    },
    /// A handler may run longer than the broker lets a worker keep a task.
    #[error(
        "cannot work: a handler may run for {}, and the broker takes a task back after {}",
        humantime::format_duration(*longest),
        humantime::format_duration(*limit)
    )]
    AckTimeout {
        /// The longest run, up to its end by force.
        longest: Duration,
        /// What the broker allows.
        limit: Duration,
    },
    /// A queue or topic that the worker needs cannot be made.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// A consumer cannot start.
    #[error(transparent)]
    Consume(#[from] ConsumeError),
    /// The address for probes cannot be listened on.
    #[error(transparent)]
    Listen(#[from] pumasi_service::health::ListenError),
    /// The threads that run handlers cannot be started.
    #[error("cannot start the threads that run handlers")]
    Threads(#[source] std::io::Error),
}

impl Diagnostic for WorkerError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Config { .. } | Self::AckTimeout { .. } | Self::Service { .. } => {
                ErrorCode::ConfigInvalid
            }
            Self::Topology(error) => error.code(),
            Self::HandlerMissing { .. } => ErrorCode::HandlerMissing,
            Self::Consume(error) => error.code(),
            Self::Listen(error) => error.code(),
            Self::Threads(_) => ErrorCode::Internal,
        }
    }
    fn retryability(&self) -> Retryability {
        match self {
            Self::Consume(error) => error.retryability(),
            Self::Topology(error) => error.retryability(),
            Self::Config { .. }
            | Self::AckTimeout { .. }
            | Self::HandlerMissing { .. }
            | Self::Service { .. }
            | Self::Listen(_)
            | Self::Threads(_) => Retryability::Permanent,
        }
    }
    fn help(&self) -> Option<String> {
        match self {
            Self::Config { key, .. } => Some(format!("set `{key}`; see `pumasi config show`")),
            Self::HandlerMissing { .. } => Some(
                "give an absolute path or a program on the worker's PATH that is executable"
                    .to_owned(),
            ),
            Self::Service { .. } => Some(
                "give `ca_file` a file of certificates in PEM that this user may read, or install those of the system"
                    .to_owned(),
            ),
            Self::AckTimeout { .. } => Some(
                "shorten `worker.timeout`, `worker.timeout_grace` or the handler's `timeout`; or raise `consumer_timeout` in the broker's rabbitmq.conf and `broker.ack_timeout` here, with half a minute to spare".to_owned(),
            ),
            Self::Topology(error) => error.help(),
            Self::Consume(error) => error.help(),
            Self::Listen(error) => error.help(),
            Self::Threads(_) => None,
        }
    }
}
