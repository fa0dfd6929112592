//! Control: what operators ask of running workers.

use crate::{queue::QueueName, task::TaskId};
use futures_core::Stream;
use std::pin::Pin;

/// A boxed stream, as the object-safe contract returns them.
pub type BoxStream<T> = Pin<Box<dyn Stream<Item = T> + Send>>;

/// One thing asked of workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// A task is not to be started any more, and to be ended where it runs.
    Cancel {
        /// The task.
        id: TaskId,
        /// When it was asked, in milliseconds since 1970: a replay after that is not meant.
        at_ms: u64,
    },
    /// A queue is not to be consumed until it is resumed.
    Pause(QueueName),
    /// A queue is to be consumed again.
    Resume(QueueName),
    /// The worker of this name is to drain and end.
    Drain(String),
}
