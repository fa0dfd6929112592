//! Consuming: one subscription on one queue, its deliveries and how each is settled.

use super::{BoxFuture, Publication};
use crate::{
    error::{Cause, Diagnostic, ErrorCode, Retryability},
    queue::QueueName,
    settlement::Settlement,
    task::Task,
};
use futures_core::Stream;
use std::{
    fmt,
    num::NonZeroU16,
    sync::Arc,
    time::{Duration, Instant},
};

/// What a consumer asks of the broker.
#[derive(Clone, Debug)]
pub struct ConsumeOptions {
    /// The queue.
    pub queue: QueueName,
    /// Most unsettled deliveries held at once, 1–65,535.
    pub prefetch: NonZeroU16,
    /// Who consumes, for an operator's eyes: the worker's name.
    pub consumer: String,
    /// The longest a delivery of this consumer may stay unsettled, where a consumer can say so
    /// ([`AckTimeout::OfConsumer`](super::AckTimeout)); `None` leaves it to the broker.
    pub ack_timeout: Option<Duration>,
}

/// A consumer: a stream of deliveries that survives lost connections.
///
/// A stream that is not polled stops asking the broker for more than `prefetch`.
/// The stream ends after [`Consumer::stop`], when what had arrived was handed out.
pub trait Consumer: Stream<Item = Delivery> + Send + Unpin {
    /// Stops the intake. Deliveries that have arrived still come out, then the stream ends.
    fn stop(&mut self);

    /// Whether deliveries can arrive now.
    fn is_live(&self) -> bool;

    /// Tells the broker every settlement made so far, then closes; what is unsettled goes back.
    fn close(self: Box<Self>) -> BoxFuture<'static, ()>;
}

/// One handing-over of a task to one consumer.
///
/// Settled exactly once, by value: settling twice does not compile. One that is dropped
/// unsettled is released.
pub struct Delivery {
    task: Arc<Task>,
    queue: Arc<QueueName>,
    redelivered: bool,
    delivery_count: u32,
    token: u64,
    received_at: Instant,
    settler: Option<Arc<dyn Settler>>,
}

/// Tells a broker how deliveries of one consumer are settled. Written by brokers only.
pub trait Settler: Send + Sync {
    /// Takes the settlement of the delivery with this token, without waiting for the broker.
    ///
    /// A reply is published before the broker is told, in the same commit where there is one. It
    /// is best effort: one that nobody takes changes nothing about the settlement.
    ///
    /// # Errors
    /// [`SettleError::Superseded`] when it is already known that the delivery is no longer ours.
    fn settle(
        &self,
        token: u64,
        task: &Arc<Task>,
        settlement: Settlement,
        reply: Option<Box<Publication>>,
    ) -> Result<(), SettleError>;

    /// Whether the delivery is still ours, as far as is known.
    fn is_current(&self, token: u64) -> bool;

    /// Resolves when the broker was told everything that was settled before the call, or cannot be
    /// told any more.
    fn flush(&self) -> BoxFuture<'static, ()>;
}

impl Delivery {
    /// A delivery as a broker makes it.
    #[must_use]
    pub fn new(task: Task, queue: Arc<QueueName>, token: u64, settler: Arc<dyn Settler>) -> Self {
        Self {
            task: Arc::new(task),
            queue,
            redelivered: false,
            delivery_count: 0,
            token,
            received_at: Instant::now(),
            settler: Some(settler),
        }
    }

    /// The same delivery with what the broker says about earlier ones.
    #[must_use]
    pub fn with_history(mut self, redelivered: bool, delivery_count: u32) -> Self {
        self.redelivered = redelivered;
        self.delivery_count = delivery_count;
        self
    }

    /// The task.
    #[must_use]
    pub fn task(&self) -> &Arc<Task> {
        &self.task
    }

    /// The queue it came from.
    #[must_use]
    pub fn queue(&self) -> &Arc<QueueName> {
        &self.queue
    }

    /// Whether the broker may have handed it over before. A hint.
    #[must_use]
    pub fn redelivered(&self) -> bool {
        self.redelivered
    }

    /// How often the broker has returned it, where the broker counts.
    #[must_use]
    pub fn delivery_count(&self) -> u32 {
        self.delivery_count
    }

    /// When it arrived here.
    #[must_use]
    pub fn received_at(&self) -> Instant {
        self.received_at
    }

    /// Whether it is still ours, as far as is known.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.settler
            .as_ref()
            .is_some_and(|settler| settler.is_current(self.token))
    }

    /// Hands the settlement over to be told to the broker, without waiting for it.
    ///
    /// # Errors
    /// [`SettleError::Superseded`] when the delivery is known to be another worker's by now.
    pub fn settle(self, settlement: Settlement) -> Result<(), SettleError> {
        self.settle_with(settlement, None)
    }

    /// As [`Delivery::settle`], and waits until the broker was told, or cannot be any more.
    ///
    /// # Errors
    /// [`SettleError::Superseded`] when the delivery is known to be another worker's by now.
    ///
    /// # Cancel safety
    /// Cancel safe: the settlement was handed over at the first poll.
    pub async fn settle_and_flush(mut self, settlement: Settlement) -> Result<(), SettleError> {
        let settler = self.settler.take().ok_or(SettleError::Superseded)?;
        settler.settle(self.token, &self.task, settlement, None)?;
        settler.flush().await;
        Ok(())
    }

    /// As [`Delivery::settle`]; the reply is published first. Best effort: a requester that is
    /// gone changes nothing about the settlement.
    ///
    /// # Errors
    /// [`SettleError::Superseded`] when the delivery is known to be another worker's by now.
    pub fn settle_with(
        mut self,
        settlement: Settlement,
        reply: Option<Box<Publication>>,
    ) -> Result<(), SettleError> {
        match self.settler.take() {
            Some(settler) => settler.settle(self.token, &self.task, settlement, reply),
            None => Err(SettleError::Superseded),
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if let Some(settler) = self.settler.take() {
            // Superseded means that it is released already.
            let _ = settler.settle(self.token, &self.task, Settlement::Release, None);
        }
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("task", &self.task.id)
            .field("queue", &self.queue)
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}

/// Why a settlement was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SettleError {
    /// The delivery went back to the broker, and perhaps to another worker.
    #[error("the delivery is no longer ours")]
    Superseded,
}

impl Diagnostic for SettleError {
    fn code(&self) -> ErrorCode {
        ErrorCode::DeliverySuperseded
    }
    fn retryability(&self) -> Retryability {
        Retryability::Permanent
    }
}

/// Why a consumer cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ConsumeError {
    /// The queue does not exist.
    #[error("cannot consume from queue `{queue}`: it does not exist")]
    QueueMissing {
        /// The queue.
        queue: QueueName,
    },
    /// The user may not read it.
    #[error("cannot consume from queue `{queue}`: {reply}")]
    NotPermitted {
        /// The queue.
        queue: QueueName,
        /// The broker's words.
        reply: String,
    },
    /// The broker could not be asked.
    #[error("cannot consume from queue `{queue}`: {problem}")]
    Failed {
        /// The queue.
        queue: QueueName,
        /// What happened.
        problem: String,
        /// The foreign error behind it.
        #[source]
        source: Option<Cause>,
    },
}

impl Diagnostic for ConsumeError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::QueueMissing { .. } => ErrorCode::QueueMissing,
            Self::NotPermitted { .. } => ErrorCode::PermissionRefused,
            Self::Failed { .. } => ErrorCode::ConsumeFailed,
        }
    }
    fn retryability(&self) -> Retryability {
        match self {
            Self::QueueMissing { .. } | Self::NotPermitted { .. } => Retryability::Permanent,
            Self::Failed { .. } => Retryability::Transient,
        }
    }
    fn help(&self) -> Option<String> {
        match self {
            Self::QueueMissing { queue } => {
                Some(format!("create it with `pumasi queue declare {queue}`"))
            }
            Self::NotPermitted { .. } => Some("grant the user read permission".to_owned()),
            Self::Failed { .. } => None,
        }
    }
}
