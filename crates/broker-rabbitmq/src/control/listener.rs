//! A worker listens: what is in force comes first, then what changes, whatever connection it takes.

use super::{Entry, is_paused, is_without_streams, stream};
use crate::{
    connection::{Backoff, Failures, Link, Unfinished},
    consume::Source,
    error::ACCESS_REFUSED,
    publish::Publisher,
    topology::object::{self, Failure},
};
use futures_util::{StreamExt, stream::poll_fn};
use lapin::{
    Channel,
    message::Delivery,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions},
    types::{AMQPValue, FieldTable, LongString},
};
use pumasi_common::{
    PublishOutcome, QueueName, TaskId,
    broker::{BoxStream, ConsumeError, Control},
};
use std::{collections::HashSet, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// Entries held at once, here and on their way.
const BUFFER: usize = 1024;
/// Most entries on their way.
const PREFETCH: u16 = 256;
/// How long what was asked before may take to be told before the listener is given out.
const CATCH_UP: Duration = Duration::from_secs(2);
/// How often a worker looks by itself where it cannot read the stream.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Where an entry is in the stream.
const OFFSET: &str = "x-stream-offset";

/// Starts to listen; only this first try fails, later ones are repeated.
pub(crate) async fn listen(
    source: Source,
    queues: Vec<QueueName>,
    limit: Duration,
    closed: CancellationToken,
) -> Result<BoxStream<Control>, ConsumeError> {
    let (out, mut told) = mpsc::channel(BUFFER + queues.len());
    let (caught_up, is_caught_up) = oneshot::channel();
    let mut listener = Listener {
        link: source.link,
        publisher: source.publisher,
        queues,
        limit,
        out,
        paused: HashSet::new(),
        next: None,
        past: Past::Ahead,
        caught_up: Some(caught_up),
        warned: false,
    };
    let opened = listener.open_in_time().await;
    let log = opened.map_err(|failure| explain(&listener.queues, failure))?;
    tokio::spawn(async move {
        let out = listener.out.clone();
        tokio::select! {
            () = listener.run(log) => {}
            () = out.closed() => {}
            () = closed.cancelled() => {}
        }
    });
    // Whoever is not told of everything in time is told the rest as it comes.
    let _ = timeout(CATCH_UP, is_caught_up).await;
    Ok(Box::pin(poll_fn(move |cx| told.poll_recv(cx))))
}

fn explain(queues: &[QueueName], failure: Failure) -> ConsumeError {
    let queue = queues.first().cloned().unwrap_or_else(QueueName::control);
    match failure {
        Failure::Reply(ACCESS_REFUSED, reply) => ConsumeError::NotPermitted { queue, reply },
        Failure::Reply(_, problem) => ConsumeError::Failed {
            queue,
            problem,
            source: None,
        },
        Failure::Other { problem, source } => ConsumeError::Failed {
            queue,
            problem,
            source,
        },
    }
}

struct Listener {
    link: Arc<Link>,
    publisher: Arc<Publisher>,
    queues: Vec<QueueName>,
    /// Longest try to begin.
    limit: Duration,
    out: mpsc::Sender<Control>,
    /// As it was told.
    paused: HashSet<QueueName>,
    /// The place in the stream of the entry that comes next.
    next: Option<i64>,
    past: Past,
    /// Waits until what was there at the start was told.
    caught_up: Option<oneshot::Sender<()>>,
    /// Whether it was said that there is no stream.
    warned: bool,
}

/// What was in the stream before the listener: cancellations still hold, drains do not.
enum Past {
    /// Nothing was read yet.
    Ahead,
    /// It ends with the entry of this name, which the listener has written: RabbitMQ does not tell
    /// where a stream ends, and clocks differ.
    Until(TaskId),
    /// It could not write one; so it ends about now.
    UntilTime(Instant),
    Over,
}

impl Past {
    fn is_over(&self) -> bool {
        match self {
            Self::Ahead | Self::Until(_) => false,
            Self::UntilTime(end) => Instant::now() >= *end,
            Self::Over => true,
        }
    }
}

/// The stream, being read on one channel.
struct Log {
    channel: Channel,
    consumer: lapin::Consumer,
}

impl Listener {
    async fn run(mut self, first: Option<Log>) {
        let mut log = first;
        loop {
            match log {
                Some(log) => {
                    let end = self.read(log).await;
                    let why = end.err().map(|failure| failure.text().to_owned());
                    tracing::debug!(why, "control stream lost, starting again");
                }
                None => {
                    self.tell_caught_up();
                    sleep(LOOK_EVERY).await;
                }
            }
            log = self.open_again().await;
        }
    }

    async fn open_again(&mut self) -> Option<Log> {
        let mut backoff = Backoff::default();
        let mut failures = Failures::default();
        loop {
            backoff.wait().await;
            match self.open_in_time().await {
                Ok(log) => return log,
                Err(failure) if failures.is_to_be_told() => {
                    let problem = failure.text();
                    tracing::warn!(problem, "operators cannot reach this worker yet");
                }
                Err(_) => {}
            }
        }
    }

    async fn open_in_time(&mut self) -> Result<Option<Log>, Failure> {
        let limit = self.limit;
        timeout(limit, self.open()).await.unwrap_or_else(|_| {
            Err(Failure::Other {
                problem: "the broker did not answer in time".to_owned(),
                source: None,
            })
        })
    }

    /// Begins to read the stream and looks at all marks; without a stream where there cannot be
    /// one, or none for this user.
    async fn open(&mut self) -> Result<Option<Log>, Failure> {
        let log = match self.subscribe().await {
            Ok(log) => Some(log),
            Err(failure)
                if is_without_streams(&failure)
                    || matches!(failure, Failure::Reply(ACCESS_REFUSED, _)) =>
            {
                if !std::mem::replace(&mut self.warned, true) {
                    let problem = failure.text();
                    tracing::warn!(
                        problem,
                        "no control stream: this worker hears of pauses only, and later"
                    );
                }
                None
            }
            Err(failure) => return Err(failure),
        };
        // After the stream is being read: what changes from now on is in there.
        for queue in self.queues.clone() {
            self.look(queue).await?;
        }
        Ok(log)
    }

    async fn subscribe(&mut self) -> Result<Log, Failure> {
        let stream = stream();
        if !stream.exists(&self.link).await? {
            stream.declare(&self.link).await?;
            self.begin_anew();
        }
        if matches!(self.past, Past::Ahead) {
            self.past = self.mark_end_of_past().await;
        }
        let channel = object::channel(&self.link).await?;
        let unfinished = Unfinished::new(&channel);
        let name = QueueName::control();
        let qos = BasicQosOptions { global: false };
        channel.basic_qos(PREFETCH, qos).await?;
        let mut arguments = FieldTable::default();
        let from = match self.next {
            Some(offset) => AMQPValue::LongLongInt(offset),
            None => AMQPValue::LongString(LongString::from("first")),
        };
        arguments.insert(OFFSET.into(), from);
        let options = BasicConsumeOptions::default();
        let consumer = channel
            .basic_consume(name.as_str().into(), "control".into(), options, arguments)
            .await?;
        unfinished.finish();
        Ok(Log { channel, consumer })
    }

    /// Writes an entry of its own: what comes before it is past.
    async fn mark_end_of_past(&self) -> Past {
        let listener = TaskId::generate();
        let entry = Entry::Begin {
            listener: listener.clone(),
        };
        let published = self.publisher.publish(entry.publication());
        match timeout(CATCH_UP, published).await {
            Ok(PublishOutcome::Accepted(_)) => Past::Until(listener),
            outcome => {
                tracing::debug!(?outcome, "the end of the past could not be marked");
                Past::UntilTime(Instant::now() + CATCH_UP)
            }
        }
    }

    /// Another stream counts from its own beginning, and nothing in it is older than this.
    fn begin_anew(&mut self) {
        self.next = None;
        if matches!(self.past, Past::Until(_)) {
            self.past = Past::Over;
        }
    }

    /// Reads until the channel ends.
    async fn read(&mut self, mut log: Log) -> Result<(), Failure> {
        loop {
            if self.past.is_over() {
                self.tell_caught_up();
            }
            let Some(message) = log.consumer.next().await else {
                // The stream was deleted.
                self.begin_anew();
                return Ok(());
            };
            let message = message?;
            if let Some(offset) = offset(&message) {
                self.next = Some(offset.saturating_add(1));
            }
            self.tell(&message.data).await?;
            let options = BasicAckOptions { multiple: false };
            log.channel.basic_ack(message.delivery_tag, options).await?;
        }
    }

    async fn tell(&mut self, payload: &[u8]) -> Result<(), Failure> {
        match Entry::parse(payload) {
            Some(Entry::Cancel { id, at_ms }) => {
                self.send(Control::Cancel { id, at_ms }).await;
            }
            // A worker of that name that was asked to end has ended.
            Some(Entry::Drain { worker }) if self.past.is_over() => {
                self.send(Control::Drain(worker)).await;
            }
            // All marks were looked at when it began.
            Some(Entry::Look { queue }) if self.past.is_over() => self.look(queue).await?,
            Some(Entry::Begin { listener }) => {
                if matches!(&self.past, Past::Until(own) if *own == listener) {
                    self.past = Past::Over;
                }
            }
            Some(Entry::Drain { .. } | Entry::Look { .. }) | None => {}
        }
        Ok(())
    }

    /// Looks at a mark and tells what has changed.
    async fn look(&mut self, queue: QueueName) -> Result<(), Failure> {
        if !self.queues.contains(&queue) {
            return Ok(());
        }
        let is_paused = is_paused(&self.link, &queue).await?;
        let control = if is_paused && self.paused.insert(queue.clone()) {
            Control::Pause(queue)
        } else if !is_paused && self.paused.remove(&queue) {
            Control::Resume(queue)
        } else {
            return Ok(());
        };
        self.send(control).await;
        Ok(())
    }

    async fn send(&mut self, control: Control) {
        if self.out.capacity() == 0 {
            // Nobody reads before that.
            self.tell_caught_up();
        }
        // Nobody listens any more: the task that runs this ends.
        let _ = self.out.send(control).await;
    }

    fn tell_caught_up(&mut self) {
        if let Some(caught_up) = self.caught_up.take() {
            // Nobody waits any more.
            let _ = caught_up.send(());
        }
    }
}

fn offset(message: &Delivery) -> Option<i64> {
    let headers = message.properties.headers().as_ref()?;
    if let AMQPValue::LongLongInt(offset) = headers.inner().get(OFFSET)? {
        Some(*offset)
    } else {
        None
    }
}
