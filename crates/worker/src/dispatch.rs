//! Dispatch: holds a place for one handler, chooses it by kind, runs it, settles the delivery.

use crate::{
    config::AckMode,
    decide::{Outcome, decide},
    execute::execute,
    handler::{Context, Handlers},
};
use pumasi_broker::trace;
use pumasi_common::{
    Settlement, TaskKind,
    broker::{Delivery, SettleError},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span, debug, warn};

/// What every run of a worker shares.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) name: String,
    pub(crate) handlers: Handlers,
    pub(crate) ack: AckMode,
    pub(crate) timeout: Duration,
    pub(crate) abort: CancellationToken,
    /// The broker's name in traces, where they are on.
    pub(crate) traced: Option<&'static str>,
}

/// Runs one delivery to its settlement; the permit is the place it holds meanwhile.
pub(crate) async fn dispatch(
    shared: Arc<Shared>,
    delivery: Delivery,
    permit: OwnedSemaphorePermit,
) {
    let span = shared
        .traced
        .map_or_else(Span::none, |system| trace::process_span(&delivery, system));
    handle(shared, delivery, permit).instrument(span).await;
}

async fn handle(shared: Arc<Shared>, delivery: Delivery, permit: OwnedSemaphorePermit) {
    if !delivery.is_current() {
        debug!(task = %delivery.task().id, "delivery superseded before start");
        return;
    }
    let task = Arc::clone(delivery.task());
    let limit = task
        .timeout
        .map_or(shared.timeout, |own| own.min(shared.timeout));
    let context = Context {
        task: Arc::clone(&task),
        queue: Arc::clone(delivery.queue()),
        trace: trace::context_of(&Span::current()).or_else(|| task.trace.clone()),
        redelivered: delivery.redelivered(),
        deadline: Instant::now() + limit,
        cancellation: CancellationToken::new(),
    };
    let outcome = match shared.ack {
        AckMode::AfterWork => {
            let outcome = run(&shared, context).await;
            settle(&shared, delivery, outcome);
            return drop(permit);
        }
        AckMode::OnReceipt => {
            if tell(&shared, delivery, Settlement::Ack).is_err() {
                return;
            }
            run(&shared, context).await
        }
    };
    if outcome != Outcome::Done {
        record(&outcome);
        warn!(task = %task.id, ?outcome, "task lost: acked on receipt and not done");
    }
    drop(permit);
}

async fn run(shared: &Shared, context: Context) -> Outcome {
    debug!(task = %context.task.id, "task started");
    match shared.handlers.find(context.task.kind.as_ref()) {
        Some(handler) => execute(handler.as_ref(), context, &shared.abort).await,
        None => {
            let kind = context
                .task
                .kind
                .as_ref()
                .map_or("(default)", TaskKind::as_str);
            Outcome::UnknownKind(kind.to_owned())
        }
    }
}

fn settle(shared: &Shared, delivery: Delivery, outcome: Outcome) {
    let task = Arc::clone(delivery.task());
    record(&outcome);
    let settlement = decide(outcome, &shared.name);
    match &settlement {
        Settlement::Ack => debug!(task = %task.id, "task completed"),
        Settlement::Release => debug!(task = %task.id, "delivery released"),
        Settlement::Retry(_) => debug!(task = %task.id, "task tried again later"),
        Settlement::DeadLetter(letter) => {
            warn!(task = %task.id, reason = %letter.reason, error = %letter.error, "task dead-lettered");
        }
    }
    if tell(shared, delivery, settlement).is_err() {
        warn!(task = %task.id, "delivery superseded before it was settled");
    }
}

fn tell(shared: &Shared, delivery: Delivery, settlement: Settlement) -> Result<(), SettleError> {
    let span = shared.traced.map_or_else(Span::none, |system| {
        trace::settle_span(&delivery, &settlement, system)
    });
    span.in_scope(|| delivery.settle(settlement))
}

/// Notes in the current span what went wrong.
fn record(outcome: &Outcome) {
    if *outcome != Outcome::Done {
        let span = Span::current();
        span.record("otel.status_code", "ERROR");
        span.record("error.type", outcome.as_str());
    }
}
