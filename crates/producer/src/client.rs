//! The client library: submit one task or many.

use futures_util::{Stream, StreamExt};
use pumasi_common::{Broker, PublishOutcome, broker::Publication};
use std::{num::NonZeroUsize, sync::Arc};

/// Submits tasks to a broker. Cheap to clone; calls of one moment leave together.
///
/// # Examples
/// ```no_run
/// # async fn example(broker: std::sync::Arc<dyn pumasi_common::Broker>) -> Result<(), Box<dyn std::error::Error>> {
/// use pumasi_common::{PublishOutcome, QueueName};
/// use pumasi_producer::{Client, Request};
///
/// let client = Client::new(broker);
/// match client.submit(Request::new("resize me").to_queue(&QueueName::new("images")?)?).await {
///     PublishOutcome::Accepted(id) => println!("accepted {id}"),
///     PublishOutcome::Refused(id, why) => println!("refused {id}: {why}"),
///     PublishOutcome::Unknown(id, why) => println!("repeat {id} to be sure: {why}"),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    broker: Arc<dyn Broker>,
}

impl Client {
    /// A client of a broker.
    #[must_use]
    pub fn new(broker: Arc<dyn Broker>) -> Self {
        Self { broker }
    }

    /// Submits one task and waits until the broker has taken or refused it.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropping the future leaves the outcome unknown.
    pub async fn submit(&self, publication: Publication) -> PublishOutcome {
        self.broker.publish(publication).await
    }

    /// Submits many tasks with up to `window` of them unconfirmed at once; outcomes come as they
    /// arrive. The stream of tasks is read no faster than the broker confirms.
    pub fn submit_many<S>(
        &self,
        tasks: S,
        window: NonZeroUsize,
    ) -> impl Stream<Item = PublishOutcome> + use<'_, S>
    where
        S: Stream<Item = Publication>,
    {
        tasks
            .map(|publication| self.broker.publish(publication))
            .buffer_unordered(window.get())
    }

    /// The broker behind it.
    #[must_use]
    pub fn broker(&self) -> &Arc<dyn Broker> {
        &self.broker
    }
}
