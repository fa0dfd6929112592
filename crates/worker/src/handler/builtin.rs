//! The built-in kinds `echo`, `sleep` and `fail`, for trying things out.

use super::{Context, Handler, HandlerError, HandlerResult, Handlers};
use pumasi_common::{TaskKind, field::duration};
use std::{io::Write, sync::Arc, time::Duration};

/// Longest sleep that the `sleep` kind accepts.
pub const SLEEP_MAX: Duration = Duration::from_secs(24 * 3600);

/// Adds `echo`, `sleep` and `fail`; `echo` also takes tasks without a kind.
pub fn add(handlers: &mut Handlers) {
    let kinds: [(&str, Arc<dyn Handler>); 3] = [
        ("echo", Arc::new(echo)),
        ("sleep", Arc::new(sleep)),
        ("fail", Arc::new(fail)),
    ];
    for (kind, handler) in kinds {
        if let Ok(kind) = TaskKind::new(kind) {
            handlers.set(kind, handler);
        }
    }
    handlers.set_default(Arc::new(echo));
}

/// Prints the payload as one line on standard output, then sleeps a second for each dot in it.
async fn echo(context: Context) -> HandlerResult {
    let text = String::from_utf8_lossy(&context.task.payload).into_owned();
    let line = format!("{text}\n");
    std::io::stdout().lock().write_all(line.as_bytes())?;
    let dots = text
        .bytes()
        .rev()
        .take_while(|byte| *byte == b'.')
        .take(60)
        .count();
    pause(&context, Duration::from_secs(dots as u64)).await
}

/// Sleeps as long as the payload says: `2s`, `150ms`.
async fn sleep(context: Context) -> HandlerResult {
    let text = String::from_utf8_lossy(&context.task.payload);
    let time = duration::parse(&text).map_err(|error| HandlerError::Malformed { error })?;
    if time > SLEEP_MAX {
        return Err(HandlerError::Malformed {
            error: format!("cannot sleep {time:?}: at most one day"),
        });
    }
    pause(&context, time).await
}

/// Fails, or is rejected when the payload is `reject`, panics when it is `panic`, and takes the
/// worker down when it is `abort`.
async fn fail(context: Context) -> HandlerResult {
    match &context.task.payload[..] {
        b"reject" => Err(HandlerError::reject("asked to be rejected")),
        #[expect(clippy::panic, reason = "the kind exists to show what a panic does")]
        b"panic" => panic!("asked to panic"),
        b"abort" => std::process::abort(),
        _ => Err(HandlerError::fail("asked to fail")),
    }
}

async fn pause(context: &Context, time: Duration) -> HandlerResult {
    tokio::select! {
        () = tokio::time::sleep(time) => Ok(()),
        () = context.cancellation.cancelled() => Err(HandlerError::fail("cancelled")),
    }
}
