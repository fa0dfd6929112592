//! A consumer: registered in the store, fed by the reader.

use crate::{
    Inner,
    peers::{Leaving, Links, Presence},
    reader::{Ask, Intake},
    replies,
    settle::Held,
    writer::{Command, Register, Registered},
};
use futures_util::Stream;
use pumasi_common::{
    Consumer, Delivery, QueueName,
    broker::{BoxFuture, ConsumeError, ConsumeOptions},
};
use std::{
    pin::Pin,
    sync::{Arc, PoisonError, atomic::Ordering, mpsc::Sender},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

/// A consumer of one queue.
pub(crate) struct SqliteConsumer {
    key: u64,
    held: Arc<Held>,
    deliveries: mpsc::UnboundedReceiver<Delivery>,
    writer: Sender<Command>,
    reader: Sender<Ask>,
    presence: Option<Arc<Presence>>,
    close_timeout: Duration,
    /// Whether its queue goes with it.
    temporary: bool,
}

/// Registers a consumer and starts its stream.
pub(crate) async fn consume(
    inner: &Inner,
    options: ConsumeOptions,
) -> Result<SqliteConsumer, ConsumeError> {
    let ConsumeOptions {
        queue,
        prefetch,
        consumer: name,
        ack_timeout: _,
    } = options;
    let presence = presence(inner, &queue)?;
    let key = inner.keys.fetch_add(1, Ordering::Relaxed);
    let queue = Arc::new(queue);
    let held = Arc::new(Held::new(Arc::clone(&queue), inner.writer.clone()));
    let (stream, deliveries) = mpsc::unbounded_channel();
    let intake = Intake {
        held: Arc::clone(&held),
        stream: Some(stream),
        instance: presence.instance.clone(),
        name: name.clone(),
        prefetch: prefetch.get(),
        row: 0,
        last: 0,
    };
    let (answer, answered) = oneshot::channel();
    let register = Register {
        key,
        queue: Arc::clone(&queue),
        instance: presence.instance.clone(),
        name,
        prefetch: prefetch.get(),
        answer: Some(answer),
    };
    // From here on, dropping it undoes everything.
    let consumer = SqliteConsumer {
        key,
        held,
        deliveries,
        writer: inner.writer.clone(),
        reader: inner.reader.clone(),
        presence: Some(presence),
        close_timeout: inner.settings.close_timeout,
        temporary: false,
    };
    let sent = inner.reader.send(Ask::Attach(key, intake)).is_ok()
        && inner
            .writer
            .send(Command::Register(Box::new(register)))
            .is_ok();
    if !sent {
        return Err(failed(&queue, "the store is closed"));
    }
    match answered.await {
        Ok(Registered::Yes) => Ok(consumer),
        Ok(Registered::QueueMissing) => Err(ConsumeError::QueueMissing {
            queue: QueueName::clone(&queue),
        }),
        Ok(Registered::Failed(problem)) => Err(failed(&queue, &problem)),
        Err(_) => Err(failed(&queue, "the store is closed")),
    }
}

fn failed(queue: &QueueName, problem: &str) -> ConsumeError {
    ConsumeError::Failed {
        queue: queue.clone(),
        problem: problem.to_owned(),
        source: None,
    }
}

/// The entry of this process; made for the first who consumes or listens, gone with the last.
pub(crate) fn presence(inner: &Inner, queue: &QueueName) -> Result<Arc<Presence>, ConsumeError> {
    let mut known = inner
        .presence
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    if let Some(presence) = known.upgrade() {
        return Ok(presence);
    }
    let links = Links {
        writer: inner.writer.clone(),
        reader: inner.reader.clone(),
        stall_timeout: inner.settings.stall_timeout,
    };
    let presence = Presence::start(&inner.paths, links).map_err(|error| ConsumeError::Failed {
        queue: queue.clone(),
        problem: "its entry among the processes of the store cannot be made".to_owned(),
        source: Some(Box::new(error)),
    })?;
    *known = Arc::downgrade(&presence);
    Ok(presence)
}

impl SqliteConsumer {
    /// Its queue is removed when it goes.
    pub(crate) fn takes_queue_along(&mut self) {
        self.temporary = true;
    }

    fn leave(&mut self, answer: Option<oneshot::Sender<()>>) {
        let Some(presence) = self.presence.take() else {
            return;
        };
        let (answer, discarded) = if self.temporary {
            (None, answer)
        } else {
            (answer, None)
        };
        // Where both are gone, the store was closed and has let everything go.
        let _ = self.reader.send(Ask::Detach(self.key));
        let _ = self.writer.send(Command::Unregister(
            self.key,
            answer,
            Leaving::new(presence),
        ));
        if self.temporary {
            let discard = replies::discarding(Arc::clone(&self.held.queue), discarded);
            let _ = self.writer.send(discard);
        }
        self.held.supersede();
    }
}

impl Stream for SqliteConsumer {
    type Item = Delivery;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Delivery>> {
        loop {
            match self.deliveries.poll_recv(cx) {
                // Superseded while it waited here.
                Poll::Ready(Some(delivery)) if !delivery.is_current() => {}
                other @ (Poll::Ready(_) | Poll::Pending) => return other,
            }
        }
    }
}

impl Consumer for SqliteConsumer {
    fn stop(&mut self) {
        if self.writer.send(Command::Stop(self.key)).is_err() {
            self.deliveries.close();
        }
    }

    fn is_live(&self) -> bool {
        self.held.is_live()
    }

    fn close(mut self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            let limit = self.close_timeout;
            self.leave(Some(answer));
            if timeout(limit, answered).await.is_err() {
                tracing::warn!("consumer not closed in time");
            }
        })
    }
}

impl Drop for SqliteConsumer {
    fn drop(&mut self) {
        self.leave(None);
    }
}
