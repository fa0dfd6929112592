//! Drain: stop the intake, give back what was not started, let handlers finish within the grace,
//! end the rest. Bounded throughout: neither a silent broker nor a handler that blocks its thread
//! keeps a worker from ending.

use futures_util::{StreamExt, future::join_all};
use pumasi_common::broker::{Consumer, Delivery};
use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};
use tokio::time::timeout;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

/// Longest wait for a broker to end the stream of a stopped consumer. What it still delivers goes
/// back when the consumer is closed.
const RELEASE_MAX: Duration = Duration::from_secs(5);

/// Longest wait for handlers that were told to end; one that blocks its thread never does.
const ABORT_MAX: Duration = Duration::from_secs(1);

/// How a drain is bounded.
pub(crate) struct Limits<'a> {
    /// How long running handlers may go on.
    pub(crate) grace: Duration,
    /// Cancelled when it must end at once.
    pub(crate) now: &'a CancellationToken,
    /// Ends the handlers.
    pub(crate) abort: &'a CancellationToken,
}

/// Drains a worker whose intakes have ended. Returns how many deliveries were given back
/// unstarted.
pub(crate) async fn drain(
    consumers: &mut [Box<dyn Consumer>],
    running: &TaskTracker,
    limits: Limits<'_>,
) -> usize {
    let released = AtomicUsize::new(0);
    tokio::join!(
        release(consumers, &released, limits.now),
        finish(running, &limits)
    );
    released.into_inner()
}

/// Gives back what had arrived and was not started.
async fn release(
    consumers: &mut [Box<dyn Consumer>],
    released: &AtomicUsize,
    now: &CancellationToken,
) {
    let all = join_all(consumers.iter_mut().map(|consumer| async move {
        consumer.stop();
        while let Some(delivery) = consumer.next().await {
            // A dropped delivery is released.
            drop::<Delivery>(delivery);
            released.fetch_add(1, Ordering::Relaxed);
        }
    }));
    tokio::select! {
        ended = timeout(RELEASE_MAX, all) => {
            if ended.is_err() {
                warn!("the broker did not end the deliveries in time");
            }
        }
        () = now.cancelled() => {}
    }
}

/// Waits for running handlers within the grace, or until it must end at once; then ends them.
async fn finish(running: &TaskTracker, limits: &Limits<'_>) {
    running.close();
    let grace = limits.grace;
    info!(in_flight = running.len(), ?grace, "drain started");
    tokio::select! {
        () = running.wait() => {}
        () = tokio::time::sleep(grace) => warn!(in_flight = running.len(), "drain deadline passed"),
        () = limits.now.cancelled() => warn!(in_flight = running.len(), "stopping at once"),
    }
    limits.abort.cancel();
    if timeout(ABORT_MAX, running.wait()).await.is_err() {
        let left = running.len();
        warn!(
            left,
            "handlers that block their threads are left behind; their tasks go back"
        );
    }
}
