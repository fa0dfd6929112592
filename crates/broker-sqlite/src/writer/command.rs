//! What the writer is asked to do, how each is done and how each is answered.

use super::Context;
use crate::{
    batch::Batch,
    error::Failure,
    peers::{self, Leaving},
    publish::{self, Publish},
    reader::Ask,
    settle::{self, Settle},
    take_back,
};
use pumasi_common::{PublishOutcome, QueueName, Refusal};
use rusqlite::params;
use std::{
    collections::HashMap,
    sync::{Arc, mpsc::Sender},
};
use tokio::sync::oneshot;

/// Something done inside a transaction; what it gives is called after the commit.
pub(crate) type Job =
    Box<dyn FnOnce(&mut Batch<'_>, &mut Context<'_>) -> rusqlite::Result<Callback> + Send>;
/// What is called after the commit.
pub(crate) type Callback = Box<dyn FnOnce() + Send>;

/// What the writer is asked to do.
pub(crate) enum Command {
    /// Store a task.
    Publish(Box<Publish>),
    /// Settle a delivery.
    Settle(Settle),
    /// Make a consumer known.
    Register(Box<Register>),
    /// Assign nothing more to a consumer; its stream ends with what it has.
    Stop(u64),
    /// Forget a consumer; what it holds goes back.
    Unregister(u64, Option<oneshot::Sender<()>>, Leaving),
    /// Take back what an instance holds.
    Reap(peers::Reap),
    /// What is kept back may have changed: look when the next is due.
    Look,
    /// Anything else that writes.
    Job(Option<Job>),
    /// Let every consumer go and end.
    Close(Option<oneshot::Sender<()>>),
}

/// A consumer to be made known.
pub(crate) struct Register {
    pub(crate) key: u64,
    pub(crate) queue: Arc<QueueName>,
    pub(crate) instance: String,
    pub(crate) name: String,
    pub(crate) prefetch: u16,
    /// Nobody waits when a consumer is made known again.
    pub(crate) answer: Option<oneshot::Sender<Registered>>,
}

/// What came of making a consumer known.
pub(crate) enum Registered {
    Yes,
    QueueMissing,
    Failed(String),
}

/// What applying a command gave; told after the commit.
pub(crate) enum Applied {
    Done,
    Refused(Refusal),
    Consumer(i64),
    QueueMissing,
    Callback(Callback),
}

impl Command {
    /// Calls this after the commit of everything before it.
    pub(crate) fn callback(call: impl FnOnce() + Send + 'static) -> Self {
        Self::Job(Some(Box::new(move |_, _| Ok(Box::new(call)))))
    }

    /// Whether it is still wanted; from then on it is not withdrawn.
    pub(crate) fn take(&self) -> bool {
        if let Self::Publish(publish) = self {
            publish.take()
        } else {
            true
        }
    }

    pub(crate) fn apply(
        &mut self,
        batch: &mut Batch<'_>,
        context: &mut Context<'_>,
    ) -> rusqlite::Result<Applied> {
        match self {
            Self::Publish(publish) => {
                if let Some(refusal) = publish::apply(batch, context.queues, publish)? {
                    return Ok(Applied::Refused(refusal));
                }
            }
            Self::Settle(settle) => {
                if !settle::apply(batch, context.queues, settle)? {
                    tracing::debug!("late settlement of a superseded delivery refused");
                }
            }
            Self::Register(register) => return register.apply(batch, context),
            Self::Stop(key) => {
                if let Some(row) = context.row(*key) {
                    batch
                        .sql
                        .prepare_cached("UPDATE consumers SET stopped = 1 WHERE id = ?1")?
                        .execute([row])?;
                }
            }
            Self::Unregister(key, _, _) => {
                if let Some(row) = context.row(*key) {
                    take_back::release_all(batch, row)?;
                }
            }
            Self::Reap(reap) => {
                if reap.is_due(context.peers) {
                    reap.taken_back = Some(take_back::reap(batch, context.queues, &reap.instance)?);
                }
            }
            Self::Look => {}
            Self::Job(job) => {
                if let Some(job) = job.take() {
                    return job(batch, context).map(Applied::Callback);
                }
            }
            Self::Close(_) => {
                for row in context.all_rows() {
                    take_back::release_all(batch, row)?;
                }
            }
        }
        Ok(Applied::Done)
    }

    /// Tells who waits, after the commit.
    pub(crate) fn answer(
        self,
        applied: Applied,
        rows: &mut HashMap<u64, i64>,
        reader: &Sender<Ask>,
    ) {
        match (self, applied) {
            (Self::Publish(publish), Applied::Refused(refusal)) => {
                let id = publish.id();
                publish.answer(PublishOutcome::Refused(id, refusal));
            }
            (Self::Publish(publish), _) => {
                let id = publish.id();
                publish.answer(PublishOutcome::Accepted(id));
            }
            (Self::Register(register), Applied::Consumer(row)) => {
                rows.insert(register.key, row);
                let _ = reader.send(Ask::Registered(register.key, row));
                register.tell(Registered::Yes);
            }
            (Self::Register(register), _) => register.tell(Registered::QueueMissing),
            (Self::Stop(key), _) => {
                let _ = reader.send(Ask::End(key));
            }
            (Self::Unregister(key, answer, leaving), _) => {
                rows.remove(&key);
                leaving.done();
                tell(answer);
            }
            (Self::Reap(reap), _) => reap.done(),
            (Self::Job(_), Applied::Callback(callback)) => callback(),
            (Self::Close(answer), _) => {
                rows.clear();
                tell(answer);
            }
            (Self::Settle(_) | Self::Job(_) | Self::Look, _) => {}
        }
    }

    /// Tells who waits that nothing was written; gives back what must be tried again.
    pub(crate) fn refuse(self, failure: &Failure, reader: &Sender<Ask>) -> Option<Self> {
        match self {
            Self::Publish(publish) => {
                let id = publish.id();
                publish.answer(failure.outcome(id));
                None
            }
            Self::Register(register) if register.answer.is_some() => {
                register.tell(Registered::Failed(failure.text().to_owned()));
                None
            }
            // The stream must end all the same.
            Self::Stop(key) => {
                let _ = reader.send(Ask::End(key));
                None
            }
            // Who waits for a dropped answer is told by the drop; a reap comes again.
            Self::Job(_) | Self::Reap(_) | Self::Look | Self::Close(_) => None,
            again @ (Self::Settle(_) | Self::Register(_) | Self::Unregister(..)) => Some(again),
        }
    }
}

fn tell(answer: Option<oneshot::Sender<()>>) {
    if let Some(answer) = answer {
        // Who no longer waits needs no answer.
        let _ = answer.send(());
    }
}

impl Register {
    fn apply(&self, batch: &mut Batch<'_>, context: &mut Context<'_>) -> rusqlite::Result<Applied> {
        let Some(queue) = context.queues.find(batch.sql, self.queue.as_str())? else {
            return Ok(Applied::QueueMissing);
        };
        let instances: Vec<String> = batch
            .sql
            .prepare_cached("SELECT DISTINCT instance FROM consumers")?
            .query_map([], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        for instance in instances {
            if instance != self.instance && !context.is_alive(&instance) {
                take_back::reap(batch, context.queues, &instance)?;
            }
        }
        let ticket = batch.tick();
        batch
            .sql
            .prepare_cached(
                "INSERT INTO consumers (instance, queue_id, name, prefetch, free, ticket) \
                 VALUES (?1, ?2, ?3, ?4, ?4, ?5)",
            )?
            .execute(params![
                self.instance,
                queue.id,
                self.name,
                self.prefetch,
                ticket
            ])?;
        batch.touch(queue.id);
        let row = batch.sql.last_insert_rowid();
        context.fresh.insert(self.key, row);
        Ok(Applied::Consumer(row))
    }

    fn tell(self, registered: Registered) {
        if let Some(answer) = self.answer {
            // A caller that was cancelled has dropped its consumer, which unregisters it.
            let _ = answer.send(registered);
        }
    }
}
