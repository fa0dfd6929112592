//! What is left of an opening that nobody waits for any more.

use lapin::Channel;
use std::time::Duration;
use tokio::{runtime::Handle, time::timeout};

/// How long the broker may take to close what is given up.
const CLOSE_MAX: Duration = Duration::from_secs(5);

/// A channel that is closed unless somebody takes it over. lapin goes on with a `basic.consume`
/// whose future was dropped: the broker answers late, and its consumer takes deliveries that nobody
/// reads, as many as it may hold.
pub(crate) struct Unfinished(Option<Channel>);

impl Unfinished {
    /// A channel that was just opened.
    pub(crate) fn new(channel: &Channel) -> Self {
        Self(Some(channel.clone()))
    }

    /// It is in use from now on.
    pub(crate) fn finish(mut self) {
        self.0 = None;
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(channel) = self.0.take() {
            close_in_background(channel, CLOSE_MAX);
        }
    }
}

/// Closes a channel without a wait for its end, which may be over already.
pub(crate) fn close_in_background(channel: Channel, limit: Duration) {
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(async move {
            let _ = timeout(limit, channel.close(200, "replaced".into())).await;
        });
    }
}
