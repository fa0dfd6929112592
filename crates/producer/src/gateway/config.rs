//! The `[gateway]` section of the configuration.

use pumasi_common::field;
use serde::{Deserialize, Serialize};
use std::{net::SocketAddr, num::NonZeroU16, path::PathBuf, time::Duration};

/// Where the gateway listens and what it allows its clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatewayConfig {
    /// Where it listens. Default `127.0.0.1:8080`.
    pub listen: SocketAddr,
    /// A file of the keys that clients have to bring; read again whenever it changes. Default: none,
    /// whoever reaches the gateway may submit.
    pub keys_file: Option<PathBuf>,
    /// The largest request body, and the largest line of a batch. Default 8 MiB.
    #[serde(with = "field::size")]
    pub body_bytes_max: usize,
    /// Most bytes of request bodies held at once, while they arrive and until the broker has
    /// confirmed them; a request beyond is answered 503, a batch waits. Default 64 MiB.
    #[serde(with = "field::size")]
    pub bodies_bytes_max: usize,
    /// Longest wait for the head of a request and, after it, for its body, or for a batch to go on;
    /// and for a client to read on. An idle connection is closed after it. Default 30 s.
    #[serde(with = "field::duration")]
    pub request_timeout: Duration,
    /// Most connections at once, 1–65,535. Default 1,000.
    pub connections_max: NonZeroU16,
    /// How long requests under way may take after the first SIGTERM. Longer than
    /// `broker.publish_timeout`, so that each of them is answered; shorter than the pod's grace
    /// period. Default 35 s.
    #[serde(with = "field::duration")]
    pub drain_timeout: Duration,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            keys_file: None,
            body_bytes_max: 8 * 1024 * 1024,
            bodies_bytes_max: 64 * 1024 * 1024,
            request_timeout: Duration::from_secs(30),
            connections_max: const { NonZeroU16::new(1_000).unwrap() },
            drain_timeout: Duration::from_secs(35),
        }
    }
}

impl GatewayConfig {
    /// Every contradiction, as `(key, value, expectation)`.
    #[must_use]
    pub fn problems(&self) -> Vec<(&'static str, String, &'static str)> {
        let mut problems = Vec::new();
        if self.body_bytes_max > self.bodies_bytes_max {
            problems.push((
                "gateway.body_bytes_max",
                self.body_bytes_max.to_string(),
                "at most gateway.bodies_bytes_max",
            ));
        }
        if self.request_timeout.is_zero() {
            problems.push(("gateway.request_timeout", "0s".to_owned(), "more than 0s"));
        }
        problems
    }
}
