//! Execute: turns anything a handler can do (return, fail, panic, hang) into one [`Outcome`].

use crate::{
    decide::Outcome,
    handler::{Context, Handler},
};
use futures_util::FutureExt;
use std::{any::Any, panic::AssertUnwindSafe, time::Duration};
use tokio_util::sync::CancellationToken;

/// How long a cancelled handler may take to return before its future is dropped.
pub const CANCEL_GRACE: Duration = Duration::from_millis(200);

/// Runs a handler to one outcome, within its deadline and until `abort` is cancelled.
///
/// # Cancel safety
/// Dropping the future drops the handler's future.
pub async fn execute(
    handler: &dyn Handler,
    context: Context,
    abort: &CancellationToken,
) -> Outcome {
    let limit = context
        .deadline
        .saturating_duration_since(std::time::Instant::now());
    let cancellation = context.cancellation.clone();
    let started = std::panic::catch_unwind(AssertUnwindSafe(|| handler.handle(context)));
    let mut run = match started {
        Ok(run) => AssertUnwindSafe(run).catch_unwind(),
        Err(panic) => return crashed(panic.as_ref()),
    };
    let interrupted = tokio::select! {
        biased;
        result = &mut run => return finished(result),
        () = abort.cancelled() => Outcome::Interrupted,
        () = tokio::time::sleep(limit) => Outcome::TimedOut(limit),
    };
    cancellation.cancel();
    match tokio::time::timeout(CANCEL_GRACE, run).await {
        // It finished in spite of all: the work is done and must not be done again.
        Ok(Ok(Ok(()))) => Outcome::Done,
        _ => interrupted,
    }
}

fn finished(result: Result<crate::HandlerResult, Box<dyn Any + Send>>) -> Outcome {
    match result {
        Ok(Ok(())) => Outcome::Done,
        Ok(Err(error)) => error.into(),
        Err(panic) => crashed(panic.as_ref()),
    }
}

fn crashed(panic: &(dyn Any + Send)) -> Outcome {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no text".to_owned());
    Outcome::Crashed(format!("the handler panicked: {text}"))
}
