//! The broker takes back what stays unsettled for too long: every run is to end before that.

use crate::{error::WorkerError, runtime::Worker};
use pumasi_common::broker::AckTimeout;
use std::time::Duration;

/// How long a settlement may take to reach the broker: what it allows for a delivery is longer
/// than the longest run by at least this.
const SETTLE_MARGIN: Duration = Duration::from_secs(30);

impl Worker {
    /// Refuses runs that RabbitMQ would cut short by taking the task back.
    pub(crate) fn check_ack_timeout(&self) -> Result<(), WorkerError> {
        let longest = self.run_max();
        match self.broker.capabilities().ack_timeout {
            AckTimeout::OfBroker(limit) if longest.saturating_add(SETTLE_MARGIN) > limit => {
                Err(WorkerError::AckTimeout { longest, limit })
            }
            AckTimeout::OfBroker(_) | AckTimeout::OfConsumer | AckTimeout::Unlimited => Ok(()),
        }
    }

    /// The longest run of any handler, up to its end by force.
    fn run_max(&self) -> Duration {
        let own = self.handlers.timeout_max().unwrap_or_default();
        own.max(self.config.timeout)
            .saturating_add(self.config.timeout_grace)
    }

    /// How long its deliveries may stay unsettled, where the broker asks each consumer: as long as
    /// a run behind another one takes, and some time to settle.
    pub(crate) fn ack_timeout_wanted(&self) -> Option<Duration> {
        let asked = self.broker.capabilities().ack_timeout == AckTimeout::OfConsumer;
        asked.then(|| {
            self.run_max()
                .saturating_mul(2)
                .saturating_add(SETTLE_MARGIN)
        })
    }

    /// How long a delivery may wait before it is started, so that its run ends in time.
    pub(crate) fn wait_max(&self) -> Option<Duration> {
        let limit = match self.broker.capabilities().ack_timeout {
            AckTimeout::Unlimited => return None,
            AckTimeout::OfConsumer => self.ack_timeout_wanted()?,
            AckTimeout::OfBroker(limit) => limit,
        };
        let longest = self.run_max().saturating_add(SETTLE_MARGIN);
        Some(limit.saturating_sub(longest))
    }
}
