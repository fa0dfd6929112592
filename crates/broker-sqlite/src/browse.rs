//! Going once through the ready tasks of a queue, without consuming them.
//!
//! Read a page at a time, in the order of the queue, up to the last task that there was at the
//! start. Nothing is assigned, so nothing changes for those who consume.

use crate::{
    Inner,
    convert::{self, Delivered},
    delay,
    reader::{self, Ask},
    settle::{Place, Settle},
    writer::Command,
};
use futures_util::{FutureExt, Stream};
use pumasi_common::{
    Consumer, Delivery, Publication, QueueName, Settlement, Task,
    broker::{BoxFuture, SettleError, Settler},
};
use rusqlite::{Connection, OptionalExtension, params};
use std::{
    collections::{HashMap, VecDeque},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc::Sender},
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{sync::oneshot, time::timeout};

/// Most tasks in one page.
const PAGE_MAX: usize = 100;
/// A page ends with the task that brings it over this.
const PAGE_BYTES: usize = 1024 * 1024;
/// The last rank, that of priority 0.
const RANK_LAST: i64 = 9;

/// Where in the queue the next page begins: after this task.
#[derive(Clone, Copy, Debug)]
struct Cursor {
    queue: i64,
    rank: i64,
    seq: i64,
    /// The last task that is looked at.
    end: i64,
}

struct Page {
    found: Vec<Delivered>,
    /// Nothing where the queue has been gone through.
    next: Option<Cursor>,
}

/// Who goes through a queue.
pub(crate) struct Browser {
    name: Arc<QueueName>,
    seen: Arc<Seen>,
    reader: Sender<Ask>,
    writer: Sender<Command>,
    cursor: Option<Cursor>,
    asked: Option<BoxFuture<'static, Result<Page, String>>>,
    page: VecDeque<Delivery>,
    live: bool,
    close_timeout: Duration,
}

/// Begins to go through a queue; nothing where there is no such queue.
pub(crate) async fn browse(
    inner: &Inner,
    name: &QueueName,
) -> Result<Option<Box<dyn Consumer>>, String> {
    let due = |sql: &Connection| delay::earliest(sql);
    if inner
        .read(due)
        .await?
        .is_some_and(|at| at <= delay::now_ms())
    {
        // What nobody has made ready, because nobody consumes, is ready all the same.
        inner
            .write(|batch, _| {
                while delay::make_ready(batch)? {}
                Ok(())
            })
            .await?;
    }
    let queue = name.clone();
    let begin = move |sql: &Connection| {
        sql.prepare_cached(
            "SELECT id, (SELECT coalesce(max(seq), 0) FROM tasks) FROM queues WHERE name = ?1",
        )?
        .query_row([queue.as_str()], |row| {
            Ok(Cursor {
                queue: row.get(0)?,
                rank: 0,
                seq: 0,
                end: row.get(1)?,
            })
        })
        .optional()
    };
    let cursor = inner.read(begin).await?;
    Ok(cursor.map(|cursor| {
        Box::new(Browser {
            name: Arc::new(name.clone()),
            seen: Arc::new(Seen {
                places: Mutex::default(),
                writer: inner.writer.clone(),
            }),
            reader: inner.reader.clone(),
            writer: inner.writer.clone(),
            cursor: Some(cursor),
            asked: None,
            page: VecDeque::new(),
            live: true,
            close_timeout: inner.settings.close_timeout,
        }) as Box<dyn Consumer>
    }))
}

/// One rank after the other: so each page begins where the last one ended, without passing over
/// what was read.
fn read_page(sql: &Connection, cursor: Cursor) -> rusqlite::Result<Page> {
    let mut find = sql.prepare_cached(&format!(
        "SELECT {} FROM tasks WHERE queue_id = ?1 AND consumer = 0 AND rank = ?2 \
         AND seq > ?3 AND seq <= ?4 ORDER BY seq",
        convert::COLUMNS
    ))?;
    let mut found = Vec::new();
    let mut bytes = 0;
    let mut after = cursor.seq;
    for rank in cursor.rank..=RANK_LAST {
        let mut rows = find.query(params![cursor.queue, rank, after, cursor.end])?;
        while let Some(row) = rows.next()? {
            let delivered = convert::delivered(row)?;
            after = delivered.seq;
            bytes += delivered.task.payload.len();
            found.push(delivered);
            if found.len() >= PAGE_MAX || bytes >= PAGE_BYTES {
                let seq = after;
                let next = Some(Cursor {
                    rank,
                    seq,
                    ..cursor
                });
                return Ok(Page { found, next });
            }
        }
        after = 0;
    }
    Ok(Page { found, next: None })
}

impl Browser {
    fn take(&mut self, page: Page) {
        self.cursor = page.next;
        for delivered in page.found {
            let token = u64::try_from(delivered.seq).unwrap_or_default();
            self.seen.places().insert(
                token,
                Place {
                    seq: delivered.seq,
                    consumer: 0,
                    queue: delivered.queue,
                    bytes: convert::signed(delivered.task.payload.len()),
                },
            );
            let settler = Arc::clone(&self.seen) as Arc<dyn Settler>;
            let delivery = Delivery::new(delivered.task, Arc::clone(&self.name), token, settler)
                .with_history(delivered.redelivered, delivered.delivery_count);
            self.page.push_back(delivery);
        }
    }
}

impl Stream for Browser {
    type Item = Delivery;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Delivery>> {
        loop {
            if let Some(delivery) = self.page.pop_front() {
                return Poll::Ready(Some(delivery));
            }
            let Some(cursor) = self.cursor else {
                return Poll::Ready(None);
            };
            if self.asked.is_none() {
                let reader = self.reader.clone();
                let ask =
                    async move { reader::read(&reader, move |sql| read_page(sql, cursor)).await };
                self.asked = Some(Box::pin(ask));
            }
            let Some(asked) = &mut self.asked else {
                return Poll::Ready(None);
            };
            let read = ready!(asked.poll_unpin(cx));
            self.asked = None;
            match read {
                Ok(page) => self.take(page),
                Err(error) => {
                    tracing::debug!(error, "queue not readable");
                    self.live = false;
                    self.cursor = None;
                }
            }
        }
    }
}

impl Consumer for Browser {
    fn stop(&mut self) {
        self.cursor = None;
        self.asked = None;
    }

    fn is_live(&self) -> bool {
        self.live
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            // Behind every settlement that was made so far.
            let (answer, answered) = oneshot::channel();
            let last = Command::callback(move || {
                // Who no longer waits needs no answer.
                let _ = answer.send(());
            });
            let sent = self.writer.send(last).is_ok();
            if sent && timeout(self.close_timeout, answered).await.is_err() {
                tracing::warn!("browser not closed in time");
            }
        })
    }
}

/// What was handed out and is not settled.
struct Seen {
    places: Mutex<HashMap<u64, Place>>,
    writer: Sender<Command>,
}

impl Seen {
    fn places(&self) -> MutexGuard<'_, HashMap<u64, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Settler for Seen {
    fn settle(
        &self,
        token: u64,
        task: &Arc<Task>,
        settlement: Settlement,
        reply: Option<Box<Publication>>,
    ) -> Result<(), SettleError> {
        let place = self
            .places()
            .remove(&token)
            .ok_or(SettleError::Superseded)?;
        match settlement {
            Settlement::Ack => self
                .writer
                .send(Command::Settle(Settle::removal(
                    place,
                    task.id.clone(),
                    reply,
                )))
                .map_err(|_| SettleError::Superseded),
            Settlement::Release => Ok(()),
            Settlement::Retry(_) | Settlement::DeadLetter(_) => {
                tracing::debug!("a task that is only looked at stays where it is");
                Ok(())
            }
        }
    }

    fn is_current(&self, token: u64) -> bool {
        self.places().contains_key(&token)
    }

    fn flush(&self) -> BoxFuture<'static, ()> {
        crate::settle::flush(&self.writer)
    }
}
