//! What both plain clients need for a connection.

use lapin::{Connection, ConnectionProperties, options::BasicPublishOptions};
use std::{error::Error, time::Duration};

pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// Pause before a lost connection is made again.
pub(crate) const AGAIN: Duration = Duration::from_millis(100);
/// Longest wait for an answer of the broker: a call on a lost connection may never return.
pub(crate) const ANSWER: Duration = Duration::from_secs(5);

/// As a publish must be: what has no queue to go to comes back.
pub(crate) const MANDATORY: BasicPublishOptions = BasicPublishOptions {
    mandatory: true,
    immediate: false,
};

/// A connection that notices within seconds that its broker is gone.
pub(crate) async fn connect(url: &str) -> Outcome<Connection> {
    let url = format!("{url}?heartbeat=1");
    let connecting = Connection::connect(&url, ConnectionProperties::default());
    Ok(tokio::time::timeout(ANSWER, connecting).await??)
}
