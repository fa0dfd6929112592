//! Whose producer and workers a row drives: Pumasi's, and those that it is compared with.

use super::{
    fleet::{Fleet, QUEUE, dying_with_us},
    rows::CONCURRENCY,
};
use crate::process::Result;
use pumasi_testkit::faults::plain::{Plain, ProducerBug, WorkerBug, WorkerOrders};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// A producer and workers that belong together.
#[derive(Clone, Debug)]
pub(super) enum Pair {
    /// Pumasi.
    Pumasi,
    /// Plain AMQP, with a mistake or without.
    Plain(Plain),
    /// Celery with its defaults, in this interpreter of Python.
    Celery(PathBuf),
}

impl Pair {
    /// A pair as a first tutorial writes it.
    pub(super) const TUTORIAL: Self = Self::Plain(Plain {
        producer: Some(ProducerBug::Tutorial),
        worker: Some(WorkerBug::Tutorial),
        room: None,
        stray: None,
    });

    /// Whether its programs may end by themselves at an error; something starts them again then,
    /// as whatever runs containers does.
    pub(super) fn is_mortal(&self) -> bool {
        match self {
            Self::Pumasi => false,
            Self::Plain(plain) => plain.worker == Some(WorkerBug::Tutorial),
            Self::Celery(_) => true,
        }
    }

    /// The command of a worker; `None` for Pumasi's own.
    pub(super) fn worker(&self, fleet: &Fleet<'_>, name: &str) -> Result<Option<Command>> {
        let ledger = fleet.ledger_path();
        match self {
            Self::Pumasi => Ok(None),
            Self::Plain(plain) => {
                let orders = WorkerOrders {
                    url: fleet.url().to_owned(),
                    queue: QUEUE.to_owned(),
                    ledger,
                    name: name.to_owned(),
                    concurrency: u16::try_from(CONCURRENCY).map_err(|error| error.to_string())?,
                    plain: *plain,
                };
                let mut command = dying_with_us(&fleet.example("faults-naive-worker"));
                command.arg(serde_json::to_string(&orders).map_err(|error| error.to_string())?);
                Ok(Some(command))
            }
            Self::Celery(python) => {
                // As in a container: whoever is killed takes its children along.
                let mut command = dying_with_us(Path::new("unshare"));
                command
                    .args(["--pid", "--fork", "--kill-child", "--"])
                    .arg(python)
                    .args(["-m", "celery", "-A", "tasks", "worker", "-l", "WARNING"])
                    .args(["-c", &CONCURRENCY.to_string(), "-n"])
                    .arg(format!("{name}@%h"))
                    .env("PYTHONPATH", celery())
                    .env("PYTHONDONTWRITEBYTECODE", "1")
                    .env("FAULTS_LEDGER", ledger)
                    .env("FAULTS_URL", fleet.url())
                    .env("FAULTS_QUEUE", QUEUE)
                    .env("FAULTS_WORKER", name);
                Ok(Some(command))
            }
        }
    }

    /// The command of a producer with these orders; `None` for Pumasi's own.
    pub(super) fn producer(&self, fleet: &Fleet<'_>, orders: &str) -> Result<Option<Command>> {
        match self {
            Self::Pumasi => Ok(None),
            Self::Plain(plain) => {
                let mut command = dying_with_us(&fleet.example("faults-naive-producer"));
                let plain = serde_json::to_string(plain).map_err(|error| error.to_string())?;
                command.arg(orders).arg(plain);
                Ok(Some(command))
            }
            Self::Celery(python) => {
                let mut command = dying_with_us(python);
                command
                    .arg(celery().join("producer.py"))
                    .arg(orders)
                    .env("PYTHONDONTWRITEBYTECODE", "1");
                Ok(Some(command))
            }
        }
    }
}

/// Where the programs for Celery are.
fn celery() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/celery")
}
