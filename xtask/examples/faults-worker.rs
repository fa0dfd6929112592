//! A worker with its handlers inside, which note in a ledger what they do. Started by
//! `cargo xtask faults` with the ledger; everything else is in `PUMASI__…` variables, as for
//! `pumasi-worker`. Payloads are those of `faults-handler`.

use pumasi_common::{Broker, ConnectionSettings, Topology};
use pumasi_service::{
    config::{self, Layers},
    process,
    shutdown::{self, Shutdown},
    telemetry::{self, TelemetryConfig},
};
use pumasi_testkit::faults::{
    ledger::{Event, Ledger, Outcome, now},
    orders::Work,
};
use pumasi_worker::{
    Worker, WorkerConfig,
    handler::{Context, HandlerError},
    service,
};
use serde::{Deserialize, Serialize};
use std::{
    error::Error,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// The sections that it reads.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    broker: ConnectionSettings,
    worker: WorkerConfig,
    telemetry: TelemetryConfig,
}

/// What the handlers share.
struct Book {
    ledger: Ledger,
    worker: String,
    runs: AtomicU64,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let Some(ledger) = std::env::args().nth(1) else {
        return Err("started by: cargo xtask faults".into());
    };
    let settings = config::load::<Settings>(&Layers::default())?.value;
    let telemetry = telemetry::start(&settings.telemetry, "faults-worker")?;
    let book = Book {
        ledger: Ledger::open(Path::new(&ledger))?,
        worker: settings.worker.name.clone().unwrap_or_default(),
        runs: AtomicU64::new(0),
    };
    work(settings, Arc::new(book), shutdown::on_signals()).await?;
    process::finish(telemetry).await;
    Ok(())
}

async fn work(
    settings: Settings,
    book: Arc<Book>,
    stop: Shutdown,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let opening = pumasi_broker::open(&settings.broker);
    // Told to stop before the broker was reached, it ends at once.
    let Some(opened) = stop.intake.clone().run_until_cancelled(opening).await else {
        return Ok(());
    };
    let broker: Arc<dyn Broker> = opened?;
    let mut topology = Topology::default();
    topology.add_missing(&settings.worker.queues);
    broker.ensure_topology(&topology).await?;
    let handler = move |context: Context| {
        let book = Arc::clone(&book);
        async move { book.run(&context).await }
    };
    let worker = Worker::builder(Arc::clone(&broker), settings.worker)
        .handler(None, Arc::new(handler))
        .duplicate_window(settings.broker.duplicate_window)
        .build()?;
    service::run(worker, &broker, None, stop).await?;
    Ok(())
}

impl Book {
    /// Does what the payload says and notes it.
    async fn run(&self, context: &Context) -> Result<(), HandlerError> {
        let number = self.runs.fetch_add(1, Ordering::Relaxed);
        let id = context.task.id.to_string();
        let run = format!("{}-{number}-{}", std::process::id(), now());
        let note = |event| {
            let written = self.ledger.write(event);
            written.map_err(HandlerError::fail)
        };
        note(Event::Start {
            id: id.clone(),
            attempt: context.attempt(),
            worker: self.worker.clone(),
            run: run.clone(),
        })?;
        let payload = String::from_utf8_lossy(&context.task.payload);
        let work = Work::of(&payload, context.attempt());
        tokio::time::sleep(Duration::from_millis(work.ms)).await;
        if work.is_deadly {
            std::process::abort();
        }
        if work.outcome == Outcome::Done {
            note(Event::Effect {
                id: id.clone(),
                run: run.clone(),
            })?;
        }
        note(Event::End {
            id,
            run,
            outcome: work.outcome,
        })?;
        match work.outcome {
            Outcome::Done => Ok(()),
            Outcome::Failed => Err(HandlerError::fail("flaky")),
            Outcome::Rejected => Err(HandlerError::reject("rejected")),
        }
    }
}
