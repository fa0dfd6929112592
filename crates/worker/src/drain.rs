//! Drain: stop the intake, let handlers finish within the grace, release the rest, close.

use futures_util::StreamExt;
use pumasi_common::broker::{Consumer, Delivery};
use std::time::Duration;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

/// Stops a consumer and gives back what had arrived and was not started. Returns how many.
pub(crate) async fn release_unstarted(consumer: &mut Box<dyn Consumer>) -> usize {
    consumer.stop();
    let mut released = 0;
    while let Some(delivery) = consumer.next().await {
        // A dropped delivery is released.
        drop::<Delivery>(delivery);
        released += 1;
    }
    released
}

/// Waits for running handlers within the grace, or until `now` is cancelled; then aborts them.
pub(crate) async fn finish(
    running: &TaskTracker,
    grace: Duration,
    now: &CancellationToken,
    abort: &CancellationToken,
) {
    running.close();
    let in_flight = running.len();
    info!(in_flight, grace = ?grace, "drain started");
    tokio::select! {
        () = running.wait() => {}
        () = tokio::time::sleep(grace) => warn!(in_flight = running.len(), "drain deadline passed"),
        () = now.cancelled() => warn!(in_flight = running.len(), "stopping at once"),
    }
    abort.cancel();
    running.wait().await;
}
