//! Turns signals into two tokens: the first stops the intake, the second aborts.

use tokio_util::sync::CancellationToken;

/// How a process is told to end. Clones share their tokens.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    /// Cancelled first: take nothing new, finish what runs.
    pub intake: CancellationToken,
    /// Cancelled last: give up what still runs.
    pub abort: CancellationToken,
}

impl Shutdown {
    /// One step further: the first call stops the intake, the second aborts.
    pub fn advance(&self) {
        if self.intake.is_cancelled() {
            self.abort.cancel();
        } else {
            self.intake.cancel();
        }
    }
}

/// Starts a task that advances the shutdown with each SIGTERM or SIGINT.
///
/// Must be called inside a runtime. Where the signals cannot be watched, a warning is logged and
/// the system's own handling stays in force.
#[must_use]
pub fn on_signals() -> Shutdown {
    let shutdown = Shutdown::default();
    match Signals::listen() {
        Ok(signals) => {
            tokio::spawn(watch(signals, shutdown.clone()));
        }
        Err(error) => tracing::warn!(%error, "cannot watch signals"),
    }
    shutdown
}

async fn watch(mut signals: Signals, shutdown: Shutdown) {
    while !shutdown.abort.is_cancelled() {
        let Some(signal) = signals.next().await else {
            return;
        };
        if shutdown.intake.is_cancelled() {
            tracing::warn!(signal, "aborting what still runs");
        } else {
            tracing::info!(signal, "finishing what runs; signal again to abort");
        }
        shutdown.advance();
    }
}

#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> Option<&'static str> {
        tokio::select! {
            got = self.terminate.recv() => got.map(|()| "SIGTERM"),
            got = self.interrupt.recv() => got.map(|()| "SIGINT"),
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> Option<&'static str> {
        tokio::signal::ctrl_c().await.ok().map(|()| "Ctrl-C")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_step_stops_the_intake_and_the_second_aborts() {
        let shutdown = Shutdown::default();
        let seen = shutdown.clone();
        shutdown.advance();
        assert!(seen.intake.is_cancelled() && !seen.abort.is_cancelled());
        shutdown.advance();
        assert!(seen.abort.is_cancelled());
    }
}
