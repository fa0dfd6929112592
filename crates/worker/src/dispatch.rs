//! Dispatch: holds a place for one handler, chooses it by kind, runs it, settles the delivery.

use crate::{
    admit::{Admitted, Company, Facts, Source, admit, since_1970},
    config::AckMode,
    decide::{Circumstances, Decision, Outcome, already_dead, decide, give_back, unstarted},
    events::Events,
    execute::{Ends, execute},
    handler::{Context, Entry, Handlers, Rules},
    news,
    orders::{Orders, Run},
    suspects::{Suspects, uncounted},
};
use pumasi_broker::trace;
use pumasi_common::{
    Broker, Destination, Publication, RetryPolicy, Settlement, Task, TaskKind,
    broker::{Delivery, SettleError},
    outcome::Output,
    settlement::cut,
};
use std::{
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::OwnedSemaphorePermit, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span, debug, info, warn};

/// The longest error text that is logged with each failed attempt, in bytes.
const LOGGED_MAX: usize = 256;

/// Longest wait for a suspect to be moved before this worker goes on.
const MOVE_MAX: Duration = Duration::from_secs(30);

/// What every run of a worker shares.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) name: String,
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) handlers: Arc<Handlers>,
    pub(crate) ack: AckMode,
    pub(crate) timeout: Duration,
    pub(crate) grace: Duration,
    /// How long a delivery may wait here before it is started, where the broker limits it.
    pub(crate) wait_max: Option<Duration>,
    pub(crate) delay_max: Duration,
    pub(crate) orders: Arc<Orders>,
    pub(crate) suspects: Arc<Suspects>,
    pub(crate) events: Option<Events>,
    pub(crate) abort: CancellationToken,
    /// The broker's name in traces, where they are on.
    pub(crate) traced: Option<&'static str>,
}

/// A delivery with its place among the handlers.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) delivery: Delivery,
    pub(crate) source: Arc<Source>,
    pub(crate) company: Company,
    /// Held until it is settled.
    pub(crate) place: Option<OwnedSemaphorePermit>,
}

/// Runs one delivery to its settlement.
pub(crate) async fn dispatch(shared: Arc<Shared>, placed: Placed) {
    let span = shared.traced.map_or_else(Span::none, |system| {
        trace::process_span(&placed.delivery, system)
    });
    handle(shared, placed).instrument(span).await;
}

async fn handle(shared: Arc<Shared>, placed: Placed) {
    let Placed {
        delivery,
        source,
        company,
        place,
    } = placed;
    if !delivery.is_current() {
        debug!(task = %delivery.task().id, "delivery superseded before start");
        return shared.suspects.lost();
    }
    let task = Arc::clone(delivery.task());
    let returns = delivery.delivery_count();
    let facts = Facts {
        redelivered: delivery.redelivered(),
        delivery_count: match company {
            Company::Others => returns,
            Company::Alone => shared.suspects.deaths(&task.id, returns),
        },
        waited: delivery.received_at().elapsed(),
        wait_max: shared.wait_max,
        now: since_1970(),
        company,
    };
    match admit(&task, &source, &shared.orders, &facts) {
        Admitted::Run(run) => start(&shared, delivery, &source, (run, company)).await,
        Admitted::Not(outcome) => settle(&shared, delivery, &source, outcome, Duration::ZERO),
        Admitted::Duplicate => {
            info!(task = %task.id, "task is done already: not done again");
            let done = Outcome::Done(Output::default());
            note(
                tell(&shared, delivery, decide_on(&shared, &task, &source, done)),
                &task,
            );
        }
        Admitted::Dead => {
            info!(task = %task.id, "task is dead already: not tried again");
            let dead = circumstances(&shared, &task, &source, already_dead);
            note(tell(&shared, delivery, dead), &task);
        }
        Admitted::Stale => {
            let back = circumstances(&shared, &task, &source, give_back);
            note(tell(&shared, delivery, back), &task);
        }
        Admitted::Suspect => suspect(&shared, delivery, &source).await,
    }
    drop(place);
}

/// Moves a task that workers died with to where it runs alone; runs it here where there is no
/// such place.
async fn suspect(shared: &Arc<Shared>, delivery: Delivery, source: &Arc<Source>) {
    let task = Arc::clone(delivery.task());
    if let Some(queue) = shared.suspects.queue_of(&*shared.broker, source).await {
        warn!(task = %task.id, count = delivery.delivery_count(), "workers died with the task: it is to run alone");
        let copy = unstarted(&task, since_1970());
        let copy = Publication::new(Destination::Queue(queue), copy);
        let moved = Settlement::Retry(Box::new(copy));
        // Its place is held until the broker knows: what runs alone next may end this process, and
        // the original is not to come back then.
        let moved = delivery.settle_and_flush(moved);
        match timeout(MOVE_MAX, moved).await {
            Ok(told) => note(told, &task),
            Err(_) => warn!(task = %task.id, "the broker was not told in time"),
        }
        shared.suspects.look();
        return;
    }
    match shared.orders.begin(&task) {
        Ok(run) => start(shared, delivery, source, (run, Company::Others)).await,
        Err(outcome) => settle(shared, delivery, source, outcome, Duration::ZERO),
    }
}

/// Starts the handler and settles what comes of it.
async fn start(
    shared: &Arc<Shared>,
    delivery: Delivery,
    source: &Source,
    (run, company): (Run, Company),
) {
    let task = Arc::clone(delivery.task());
    let begun = Instant::now();
    match shared.ack {
        AckMode::AfterWork => {
            let outcome = perform(shared, &task, source, delivery.redelivered(), &run).await;
            if outcome.is_done() {
                source.finished.add(&task.id);
            }
            if !delivery.is_current() {
                match company {
                    Company::Others => shared.suspects.lost(),
                    Company::Alone => shared.suspects.survived(&task.id),
                }
            }
            if outcome == Outcome::Interrupted && company == Company::Alone {
                let back = uncounted(&task, &source.queue.suspects());
                return note(tell(shared, delivery, back.into()), &task);
            }
            settle(shared, delivery, source, outcome, begun.elapsed());
        }
        AckMode::OnReceipt => {
            let redelivered = delivery.redelivered();
            if tell(shared, delivery, Settlement::Ack.into()).is_err() {
                return;
            }
            let outcome = perform(shared, &task, source, redelivered, &run).await;
            lost_if_not_done(shared, &task, source, outcome).await;
        }
    }
}

async fn perform(
    shared: &Shared,
    task: &Arc<Task>,
    source: &Source,
    redelivered: bool,
    run: &Run,
) -> Outcome {
    debug!(task = %task.id, "task started");
    let Some(Entry { handler, rules }) = shared.handlers.find(task.kind.as_ref()) else {
        let kind = task.kind.as_ref().map_or("(default)", TaskKind::as_str);
        return Outcome::UnknownKind(kind.to_owned());
    };
    let most = rules.timeout.unwrap_or(shared.timeout);
    let limit = task.timeout.map_or(most, |own| own.min(most));
    let (news, _forwarder) = news::forward(&shared.broker, task).unzip();
    let context = Context {
        task: Arc::clone(task),
        queue: Arc::clone(&source.queue),
        trace: trace::context_of(&Span::current()).or_else(|| task.trace.clone()),
        redelivered,
        deadline: Instant::now() + limit,
        cancellation: CancellationToken::new(),
        news,
    };
    let ends = Ends {
        abort: &shared.abort,
        cancelled: &run.cancelled,
        grace: shared.grace,
    };
    execute(handler.as_ref(), context, ends).await
}

fn settle(shared: &Shared, delivery: Delivery, source: &Source, outcome: Outcome, took: Duration) {
    let task = Arc::clone(delivery.task());
    record(&outcome);
    let word = outcome.as_str();
    let error = outcome
        .error()
        .map(|error| cut(error, LOGGED_MAX).to_owned());
    let mut decision = decide_on(shared, &task, source, outcome);
    let is_dead = matches!(decision.settlement, Settlement::DeadLetter(_));
    if is_dead && !delivery.redelivered() && source.finished.has_died(&task) {
        // Another copy died while this one ran: one dead letter is enough.
        decision.settlement = Settlement::Ack;
    }
    log(&task, &decision.settlement, (word, error));
    if let Some(events) = &shared.events {
        events.tell(&task, &source.queue, &decision.settlement, (word, took));
    }
    let told = tell(shared, delivery, decision);
    if is_dead && told.is_ok() {
        source.finished.add_dead(&task);
    }
    note(told, &task);
}

fn decide_on(shared: &Shared, task: &Task, source: &Source, outcome: Outcome) -> Decision {
    circumstances(shared, task, source, |on| decide(outcome, on))
}

/// Decides something about a task as things are.
fn circumstances(
    shared: &Shared,
    task: &Task,
    source: &Source,
    decide: impl FnOnce(&Circumstances<'_>) -> Decision,
) -> Decision {
    let rules = shared
        .handlers
        .find(task.kind.as_ref())
        .map_or_else(Rules::default, |entry| entry.rules);
    let circumstances = Circumstances {
        task,
        queue: &source.queue,
        worker: &shared.name,
        policy: source.policy.with(&rules.retry),
        unknown: source.unknown,
        now: since_1970(),
        chance: fastrand::u32(..),
        delay_max: shared.delay_max,
    };
    decide(&circumstances)
}

/// A task that was acknowledged on receipt has no second attempt: who asked is told that it is over.
async fn lost_if_not_done(shared: &Shared, task: &Arc<Task>, source: &Source, outcome: Outcome) {
    record(&outcome);
    if !outcome.is_done() {
        let what = outcome.as_str();
        warn!(task = %task.id, outcome = what, "task lost: acked on receipt and not done");
    }
    let circumstances = Circumstances {
        task: &Task {
            attempts_max: Some(NonZeroU32::MIN),
            ..Task::clone(task)
        },
        queue: &source.queue,
        worker: &shared.name,
        policy: RetryPolicy::default(),
        unknown: source.unknown,
        now: since_1970(),
        chance: 0,
        delay_max: shared.delay_max,
    };
    if let Some(reply) = decide(outcome, &circumstances).reply {
        // Best effort: there is nothing left to give back.
        let _ = shared.broker.publish(*reply).await;
    }
}

fn log(task: &Task, settlement: &Settlement, (outcome, error): (&'static str, Option<String>)) {
    let id = &task.id;
    match settlement {
        Settlement::Ack => debug!(task = %id, outcome, "task completed"),
        Settlement::Release => debug!(task = %id, "delivery released"),
        Settlement::Retry(copy) => {
            let (attempt, delay) = (task.attempt, copy.delay);
            info!(task = %id, outcome, attempt, ?delay, error, "task to be tried again");
        }
        Settlement::DeadLetter(letter) => {
            warn!(task = %id, reason = %letter.reason, error = %letter.error, "task dead-lettered");
        }
    }
}

impl From<Settlement> for Decision {
    fn from(settlement: Settlement) -> Self {
        Self {
            settlement,
            reply: None,
        }
    }
}

fn tell(shared: &Shared, delivery: Delivery, decision: Decision) -> Result<(), SettleError> {
    let Decision { settlement, reply } = decision;
    let span = shared.traced.map_or_else(Span::none, |system| {
        trace::settle_span(&delivery, &settlement, system)
    });
    span.in_scope(|| delivery.settle_with(settlement, reply))
}

fn note(told: Result<(), SettleError>, task: &Task) {
    if told.is_err() {
        warn!(task = %task.id, "delivery superseded before it was settled");
    }
}

/// Notes in the current span what went wrong.
fn record(outcome: &Outcome) {
    if !outcome.is_done() {
        let span = Span::current();
        span.record("otel.status_code", "ERROR");
        span.record("error.type", outcome.as_str());
    }
}
