//! The Pumasi broker contract over one SQLite file: the embedded default.
//!
//! Any number of processes share the file; there is no server and no leader. Read in this order:
//! `store` and `schema` (the files, which are refused), `publish` (checks, window, deadline),
//! `writer` and `batch` (one thread, everything of one moment in one commit), `dispatch` (who
//! gets which task, inside the same commit), `reader` and `consume` (how it gets there),
//! `settle` (how a delivery ends, fencing), `delay` (what is kept back), `peers` and `take_back` (who lives, waking, who does not),
//! `topology` and `admin`, with `browse`, `cancel`, `control` and `replies`.
//!
//! # Limits
//! A process that is stopped (not killed) in the middle of a commit holds SQLite's write lock
//! until it goes on or is killed; others refuse to publish meanwhile.

mod admin;
mod batch;
mod browse;
mod cancel;
mod consume;
mod control;
mod convert;
mod delay;
mod dispatch;
mod error;
mod once;
mod peers;
mod publish;
mod reader;
mod replies;
mod row;
mod schema;
mod settle;
mod store;
mod take_back;
mod topology;
mod writer;

use batch::Batch;
use error::{refuse, refuse_io, refuse_sqlite};
use peers::Presence;
use publish::Window;
use pumasi_common::{
    Broker, BrokerAdmin, Consumer, ErrorCode, Publication, PublishOutcome, QueueKind, QueueName,
    Topology,
    broker::{
        AckTimeout, BoxFuture, BoxStream, Capabilities, ConsumeError, ConsumeOptions, Control,
        Health, OpenError, Priorities, Replies,
    },
    connection::ConnectionSettings,
    telemetry,
    topology::{Plan, TopologyError},
};
use reader::{Ask, Reader};
use rusqlite::Connection;
use std::{
    fmt,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::AtomicU64,
        mpsc::{self, Sender},
    },
    time::Duration,
};
use store::Paths;
use tokio::{
    sync::{oneshot, watch},
    time::timeout,
};
use writer::{Command, Context, Ends, Writer};

/// A broker in one SQLite file.
pub struct SqliteBroker(Inner);

/// What the stages share.
pub(crate) struct Inner {
    settings: ConnectionSettings,
    paths: Paths,
    /// Unbounded in itself: publishes are bounded by the window, settlements by the prefetch.
    writer: Sender<Command>,
    reader: Sender<Ask>,
    window: Window,
    presence: Mutex<Weak<Presence>>,
    keys: AtomicU64,
    health: Arc<Mutex<Health>>,
    /// Moves when operators asked something of workers.
    changes: watch::Receiver<u64>,
}

impl SqliteBroker {
    /// Opens the store at this path; creates the file and its folders where there are none.
    ///
    /// # Errors
    /// The code says why: `StoreNewer`, `StoreCorrupt`, `StoreReadOnly`, `StoreFull` or
    /// `StoreUnusable`. A refused file is not changed.
    pub async fn open(settings: &ConnectionSettings, path: &Path) -> Result<Arc<Self>, OpenError> {
        let settings = settings.clone();
        let paths = Paths::new(path);
        let opened = tokio::task::spawn_blocking(move || open(settings, paths)).await;
        match opened {
            Ok(opened) => opened,
            Err(error) => Err(refuse(path, ErrorCode::Internal, error.to_string())),
        }
    }
}

fn open(settings: ConnectionSettings, paths: Paths) -> Result<Arc<SqliteBroker>, OpenError> {
    let path = &paths.database;
    let gate = schema::prepare(&paths)?;
    let connect = || store::connect(&paths).map_err(|error| refuse_sqlite(path, error));
    let (for_writing, for_reading) = (connect()?, connect()?);
    let left = replies::are_any(&for_reading).map_err(|error| refuse_sqlite(path, error))?;
    let (changed, changes) = watch::channel(0);
    let health = Arc::new(Mutex::new(Health::Up));
    let (writer, inbox) = mpsc::channel();
    let (reader, asked) = mpsc::channel();
    let ends = Ends {
        inbox,
        reader: reader.clone(),
        health: Arc::clone(&health),
    };
    Writer::new(for_writing, gate, &paths, ends)
        .start()
        .and_then(|()| Reader::new(for_reading, asked, writer.clone(), changed).start())
        .map_err(|error| refuse_io(path, "its threads cannot be started", error))?;
    if left {
        // A writer that is gone already says so to whoever uses it.
        let _ = writer.send(replies::removing());
    }
    Ok(Arc::new(SqliteBroker(Inner {
        window: Window::new(&settings),
        settings,
        paths,
        writer,
        reader,
        presence: Mutex::default(),
        keys: AtomicU64::new(1),
        health,
        changes,
    })))
}

impl Inner {
    /// Runs something on the reader's connection.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, String> {
        reader::read(&self.reader, read).await
    }

    /// Runs something in the writer's next transaction; resolves when that is committed.
    async fn write<T: Send + 'static>(
        &self,
        write: impl FnOnce(&mut Batch<'_>, &mut Context<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, String> {
        let (answer, answered) = oneshot::channel();
        let job = Command::Job(Some(Box::new(move |batch, context| {
            let written = write(batch, context)?;
            Ok(Box::new(move || {
                // A caller that was cancelled needs no answer.
                let _ = answer.send(written);
            }))
        })));
        if self.writer.send(job).is_err() {
            return Err("the store is closed".to_owned());
        }
        answered.await.map_err(|_| self.why_not_written())
    }

    /// Why the last transaction came to nothing, for a caller whose answer was dropped.
    fn why_not_written(&self) -> String {
        match self.health() {
            Health::Up => "the store is closed".to_owned(),
            Health::Blocked(text) | Health::Down(text) => text,
        }
    }

    fn health(&self) -> Health {
        self.health
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Broker for SqliteBroker {
    fn publish(&self, publication: Publication) -> BoxFuture<'_, PublishOutcome> {
        Box::pin(publish::publish(&self.0, publication))
    }

    fn consume(
        &self,
        options: ConsumeOptions,
    ) -> BoxFuture<'_, Result<Box<dyn Consumer>, ConsumeError>> {
        Box::pin(async move {
            let consumer = consume::consume(&self.0, options).await?;
            Ok(Box::new(consumer) as Box<dyn Consumer>)
        })
    }

    fn control(
        &self,
        queues: Vec<QueueName>,
    ) -> BoxFuture<'_, Result<BoxStream<Control>, ConsumeError>> {
        Box::pin(control::listen(&self.0, queues))
    }

    fn replies(&self) -> BoxFuture<'_, Result<Replies, ConsumeError>> {
        Box::pin(replies::replies(&self.0))
    }

    fn ensure_topology<'a>(
        &'a self,
        topology: &'a Topology,
    ) -> BoxFuture<'a, Result<Plan, TopologyError>> {
        Box::pin(topology::ensure(&self.0, topology))
    }

    fn plan_topology<'a>(
        &'a self,
        topology: &'a Topology,
    ) -> BoxFuture<'a, Result<Plan, TopologyError>> {
        Box::pin(topology::plan(&self.0, topology))
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            system: telemetry::SYSTEM_SQLITE,
            product: format!("SQLite {}", rusqlite::version()),
            queue_kinds: vec![QueueKind::Quorum, QueueKind::Classic],
            lists_queues: true,
            payload_bytes_max: self.0.settings.payload_bytes_max,
            delay_resolution: Duration::from_millis(1),
            delay_max: row::DELAY_MAX,
            priorities: Priorities::Ten,
            knows_duplicates: true,
            ack_timeout: AckTimeout::Unlimited,
        }
    }

    fn health(&self) -> Health {
        self.0.health()
    }

    fn admin(&self) -> &dyn BrokerAdmin {
        self
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            if self.0.writer.send(Command::Close(Some(answer))).is_err() {
                return;
            }
            if timeout(self.0.settings.close_timeout, answered)
                .await
                .is_err()
            {
                tracing::warn!("store not closed in time");
            }
        })
    }
}

impl Drop for SqliteBroker {
    fn drop(&mut self) {
        // A writer that is gone was closed before.
        let _ = self.0.writer.send(Command::Close(None));
    }
}

impl fmt::Debug for SqliteBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteBroker")
            .field("path", &self.0.paths.database)
            .finish_non_exhaustive()
    }
}
