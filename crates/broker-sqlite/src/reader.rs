//! The reader: one thread that finds what was assigned to this process and hands it out.

use crate::{
    convert::{self, signed},
    settle::{self, Held, Place},
    writer::{Command, Register},
};
use pumasi_common::{DeadLetter, DeadReason, Delivery, Settlement};
use rusqlite::{Connection, OptionalExtension};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        mpsc::{Receiver, Sender},
    },
    thread,
};
use tokio::sync::{mpsc::UnboundedSender, oneshot, watch};

/// What the reader is asked to do.
pub(crate) enum Ask {
    /// Take a consumer in; it is not registered yet.
    Attach(u64, Intake),
    /// A consumer has this row now.
    Registered(u64, i64),
    /// Hand out what was assigned.
    Refresh,
    /// Tell who listens that operators asked something of workers.
    Control,
    /// A tick: look whether anything was written, in case that a wake was lost.
    Beat,
    /// Hand out what was assigned, then end the stream.
    End(u64),
    /// Let a consumer go.
    Detach(u64),
    /// Anything that reads.
    Read(Box<dyn FnOnce(&Connection) + Send>),
    /// End.
    Stop,
}

/// Where the deliveries of one consumer go.
pub(crate) struct Intake {
    pub(crate) held: Arc<Held>,
    /// Unbounded in itself; the store assigns at most the prefetch.
    pub(crate) stream: Option<UnboundedSender<Delivery>>,
    pub(crate) instance: String,
    pub(crate) name: String,
    pub(crate) prefetch: u16,
    /// The row in the store; 0 while not registered.
    pub(crate) row: i64,
    /// The last delivery that was handed out.
    pub(crate) last: i64,
}

/// Reads something with the reader's connection.
pub(crate) async fn read<T: Send + 'static>(
    reader: &Sender<Ask>,
    read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
) -> Result<T, String> {
    let (answer, answered) = oneshot::channel();
    let ask = Ask::Read(Box::new(move |sql| {
        // A caller that was cancelled needs no answer.
        let _ = answer.send(read(sql));
    }));
    let closed = || "the store is closed".to_owned();
    reader.send(ask).map_err(|_| closed())?;
    let read = answered.await.map_err(|_| closed())?;
    read.map_err(|error| error.to_string())
}

pub(crate) struct Reader {
    sql: Connection,
    inbox: Receiver<Ask>,
    writer: Sender<Command>,
    /// Tells who listens to operators that there is something to read.
    changes: watch::Sender<u64>,
    intakes: HashMap<u64, Intake>,
    data_version: i64,
}

impl Reader {
    pub(crate) fn new(
        sql: Connection,
        inbox: Receiver<Ask>,
        writer: Sender<Command>,
        changes: watch::Sender<u64>,
    ) -> Self {
        Self {
            sql,
            inbox,
            writer,
            changes,
            intakes: HashMap::new(),
            data_version: 0,
        }
    }

    /// Starts the thread.
    pub(crate) fn start(mut self) -> std::io::Result<()> {
        thread::Builder::new()
            .name("pumasi-reader".to_owned())
            .spawn(move || {
                while let Ok(ask) = self.inbox.recv() {
                    if matches!(ask, Ask::Stop) {
                        return;
                    }
                    if let Err(error) = self.answer(ask) {
                        tracing::debug!(%error, "store not readable");
                    }
                }
            })
            .map(drop)
    }

    fn answer(&mut self, ask: Ask) -> rusqlite::Result<()> {
        match ask {
            Ask::Attach(key, intake) => {
                self.intakes.insert(key, intake);
            }
            Ask::Registered(key, row) => {
                if let Some(intake) = self.intakes.get_mut(&key) {
                    intake.row = row;
                    intake.held.set_live(intake.stream.is_some());
                }
            }
            Ask::Refresh => return self.refresh(),
            Ask::Control => self
                .changes
                .send_modify(|count| *count = count.wrapping_add(1)),
            Ask::Beat => {
                let version = self
                    .sql
                    .prepare_cached("PRAGMA data_version")?
                    .query_row([], |row| row.get(0))?;
                if version != self.data_version {
                    self.verify()?;
                    self.refresh()?;
                    self.data_version = version;
                    self.answer(Ask::Control)?;
                    // A writer that is gone waits for nothing.
                    let _ = self.writer.send(Command::Look);
                }
            }
            Ask::End(key) => {
                let refreshed = self.refresh();
                if let Some(intake) = self.intakes.get_mut(&key) {
                    intake.held.set_live(false);
                    intake.stream = None;
                }
                return refreshed;
            }
            Ask::Detach(key) => {
                if let Some(intake) = self.intakes.remove(&key) {
                    intake.held.set_live(false);
                }
            }
            Ask::Read(read) => read(&self.sql),
            Ask::Stop => {}
        }
        Ok(())
    }

    /// Hands out everything assigned since the last time.
    fn refresh(&mut self) -> rusqlite::Result<()> {
        let mut find = self.sql.prepare_cached(&format!(
            "SELECT {} FROM tasks WHERE consumer = ?1 AND consumer > 0 AND delivery > ?2 \
             ORDER BY delivery",
            convert::COLUMNS
        ))?;
        for intake in self.intakes.values_mut() {
            if intake.row == 0 {
                continue;
            }
            let found = find.query_map([intake.row, intake.last], convert::delivered)?;
            for delivered in found {
                intake.hand_out(delivered?);
            }
        }
        Ok(())
    }

    /// Whether the consumers are still known to the store; who was taken for dead is told so and
    /// made known again.
    fn verify(&mut self) -> rusqlite::Result<()> {
        let mut find = self
            .sql
            .prepare_cached("SELECT 1 FROM consumers WHERE id = ?1")?;
        for (key, intake) in &mut self.intakes {
            if intake.row == 0 {
                continue;
            }
            let known = find.query_row([intake.row], |_| Ok(())).optional()?;
            if known.is_some() {
                continue;
            }
            let deliveries = intake.held.supersede();
            tracing::warn!(
                consumer = intake.name,
                deliveries,
                "consumer was taken for dead; its deliveries are superseded"
            );
            intake.row = 0;
            intake.held.set_live(false);
            if intake.stream.is_some() {
                // A writer that is gone takes no consumers.
                let _ = self.writer.send(Command::Register(Box::new(Register {
                    key: *key,
                    queue: Arc::clone(&intake.held.queue),
                    instance: intake.instance.clone(),
                    name: intake.name.clone(),
                    prefetch: intake.prefetch,
                    answer: None,
                })));
            }
        }
        Ok(())
    }
}

impl Intake {
    fn hand_out(&mut self, delivered: convert::Delivered) {
        let convert::Delivered {
            seq,
            delivery,
            delivery_count,
            redelivered,
            queue,
            task,
            expired,
        } = delivered;
        self.last = delivery;
        let Some(stream) = &self.stream else {
            return;
        };
        let token = u64::try_from(delivery).unwrap_or_default();
        debug_assert_eq!(signed(token), delivery);
        let place = Place {
            seq,
            consumer: self.row,
            queue,
            bytes: signed(task.payload.len()),
        };
        self.held.add(token, place);
        let settler = Arc::clone(&self.held);
        let delivery = Delivery::new(task, Arc::clone(&self.held.queue), token, settler)
            .with_history(redelivered, delivery_count);
        if expired {
            let text = "it waited longer than it was to";
            let letter = DeadLetter::new(DeadReason::Expired, text, &self.name);
            let reply = settle::dead_outcome(&letter)
                .message(delivery.task())
                .map(Box::new);
            // One that is superseded meanwhile expires where it is handed out next.
            let _ = delivery.settle_with(Settlement::DeadLetter(Box::new(letter)), reply);
            return;
        }
        // A consumer that is gone releases it by dropping it.
        let _ = stream.send(delivery);
    }
}
