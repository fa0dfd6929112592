//! Where the prefetch follows how long tasks run: what an intake does about its [`Window`].

use super::{Intake, release_arrived};
use crate::prefetch::{STALL, Seen, Window};
use pumasi_common::broker::{Consumer, Delivery};
use std::{pin::Pin, time::Duration};
use tokio::time::{Instant, Sleep, sleep};
use tracing::debug;

/// The window of one queue, and what it was judged by.
pub(crate) struct Adapting {
    window: Window,
    seen: Seen,
    /// Handed to handlers since the last look.
    deliveries: u32,
    /// Their payloads.
    bytes: u64,
    /// Kept, so that a wait that is short costs no timer.
    timer: Pin<Box<Sleep>>,
}

impl Adapting {
    pub(crate) fn new(window: Window) -> Self {
        Self {
            window,
            seen: Seen::default(),
            deliveries: 0,
            bytes: 0,
            timer: Box::pin(sleep(Duration::ZERO)),
        }
    }

    /// Whether what waits here is more than is meant to, with this many handlers at work on what
    /// came before. A narrow window is wide for a moment after it was narrowed. What waits in one
    /// that is narrow waits for handlers that are at work for another queue.
    pub(super) fn holds_too_much(&self, runs: usize) -> bool {
        self.window.is_wide() || runs >= usize::from(self.window.now().get())
    }
}

/// Waits until a place takes too long to become free; for ever, where nobody is to know.
pub(super) async fn stalled(adapting: Option<&mut Adapting>) {
    let Some(adapting) = adapting else {
        return std::future::pending().await;
    };
    let due = Instant::now() + STALL;
    loop {
        adapting.timer.as_mut().await;
        // It may be the time of an earlier wait.
        if Instant::now() >= due {
            return;
        }
        adapting.timer.as_mut().reset(due);
    }
}

impl Intake {
    /// Looks at how long tasks ran, now and then, and asks for more or fewer of them.
    pub(super) fn adapt(&mut self, consumer: &mut Box<dyn Consumer>, delivery: &Delivery) {
        let Some(adapting) = &mut self.adapting else {
            return;
        };
        let before = adapting.window.now();
        if delivery.delivery_count() > 0 {
            // It was with a worker that died, and may have done it. The fewer are with it here, the
            // fewer are taken for it.
            adapting.window.narrow();
        }
        adapting.deliveries += 1;
        adapting.bytes += u64::try_from(delivery.task().payload.len()).unwrap_or(u64::MAX);
        if adapting.window.is_due(adapting.deliveries) {
            let (runs, took) = self.shared.runs.since(&mut adapting.seen);
            let mean = adapting.bytes / u64::from(adapting.deliveries);
            adapting.window.ran(runs, took, mean);
            (adapting.deliveries, adapting.bytes) = (0, 0);
        }
        let now = adapting.window.now();
        if now != before {
            self.ask_for_window(consumer);
            if now < before {
                // It waits for longer than was thought.
                release_arrived(consumer);
            }
        }
    }

    /// Holds no more than handlers run.
    pub(super) fn narrow(&mut self, consumer: &mut Box<dyn Consumer>) {
        if let Some(adapting) = &mut self.adapting
            && adapting.window.narrow()
        {
            self.ask_for_window(consumer);
        }
    }

    fn ask_for_window(&mut self, consumer: &mut Box<dyn Consumer>) {
        let Some(adapting) = &self.adapting else {
            return;
        };
        let prefetch = adapting.window.now();
        debug!(queue = %self.options.queue, prefetch, "prefetch changed");
        // Also for a consumer of after a pause.
        self.options.prefetch = prefetch;
        consumer.set_prefetch(prefetch);
    }
}
