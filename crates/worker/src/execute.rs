//! Execute: turns anything a handler can do (return, fail, panic, hang) into one [`Outcome`].

use crate::{
    decide::Outcome,
    handler::{Context, Handler, HandlerResult},
};
use futures_util::FutureExt;
use pumasi_common::outcome::Output;
use std::{any::Any, panic::AssertUnwindSafe, time::Duration};
use tokio_util::sync::CancellationToken;

/// How long a handler may take to return when the worker must end.
pub const ABORT_GRACE: Duration = Duration::from_millis(200);

/// What ends a run besides its handler and its deadline.
#[derive(Clone, Copy, Debug)]
pub struct Ends<'a> {
    /// Cancelled when the worker must end.
    pub abort: &'a CancellationToken,
    /// Cancelled when the task was cancelled.
    pub cancelled: &'a CancellationToken,
    /// How long a handler that was told to stop may take to return before it is dropped.
    pub grace: Duration,
}

/// Runs a handler to one outcome: up to its deadline, until its task is cancelled or the worker
/// must end. Then it is told so, and dropped after the grace.
///
/// # Cancel safety
/// Dropping the future drops the handler's future.
pub async fn execute(handler: &dyn Handler, context: Context, ends: Ends<'_>) -> Outcome {
    let limit = context
        .deadline
        .saturating_duration_since(std::time::Instant::now());
    let cancellation = context.cancellation.clone();
    let started = std::panic::catch_unwind(AssertUnwindSafe(|| handler.handle(context)));
    let mut run = match started {
        Ok(run) => AssertUnwindSafe(run).catch_unwind(),
        Err(panic) => return crashed(panic.as_ref()),
    };
    let told = tokio::select! {
        biased;
        result = &mut run => return finished(result),
        () = ends.abort.cancelled() => Outcome::Interrupted,
        () = ends.cancelled.cancelled() => Outcome::Cancelled,
        () = tokio::time::sleep(limit) => Outcome::TimedOut(limit),
    };
    cancellation.cancel();
    let over = async {
        if told != Outcome::Interrupted {
            tokio::select! {
                () = tokio::time::sleep(ends.grace) => return,
                () = ends.abort.cancelled() => {}
            }
        }
        tokio::time::sleep(ABORT_GRACE).await;
    };
    tokio::select! {
        biased;
        result = &mut run => match result {
            // It finished in spite of all: the work is done and must not be done again.
            Ok(Ok(output)) => Outcome::Done(output),
            Ok(Err(_)) | Err(_) => told,
        },
        () = over => told,
    }
}

fn finished(result: Result<HandlerResult<Output>, Box<dyn Any + Send>>) -> Outcome {
    match result {
        Ok(Ok(output)) => Outcome::Done(output),
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
