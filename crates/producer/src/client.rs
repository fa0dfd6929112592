//! The client library: submit one task or many.

use futures_util::{Stream, StreamExt};
use pumasi_common::{
    Broker, PublishOutcome, Refusal,
    broker::{Capabilities, Priorities, Publication},
};
use std::{num::NonZeroUsize, sync::Arc, time::Duration};

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

    /// Submits one task and waits until the broker has taken or refused it. What the broker
    /// cannot do is refused before anything is sent.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropping the future leaves the outcome unknown.
    pub async fn submit(&self, publication: Publication) -> PublishOutcome {
        // Asked only where there is a question: most tasks ask for nothing special.
        if publication.task.priority.is_some() || !publication.delay.is_zero() {
            let refusal = unsupported(&publication, &self.broker.capabilities());
            if let Some(refusal) = refusal {
                return PublishOutcome::Refused(publication.task.id, refusal);
            }
        }
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
            .map(|publication| self.submit(publication))
            .buffer_unordered(window.get())
    }

    /// The broker behind it.
    #[must_use]
    pub fn broker(&self) -> &Arc<dyn Broker> {
        &self.broker
    }
}

/// Why a broker cannot take a task as it is asked for.
fn unsupported(publication: &Publication, can: &Capabilities) -> Option<Refusal> {
    let refuse = |what, problem, instead| {
        Some(Refusal::Unsupported {
            what,
            product: can.product.clone(),
            problem,
            instead,
        })
    };
    if let (Some(priority), Priorities::None) = (publication.task.priority, can.priorities) {
        return refuse(
            format!("priority {priority}"),
            "it hands out the tasks of a queue in turn".to_owned(),
            "submit urgent tasks to a queue of their own, or use RabbitMQ 4.0 or later",
        );
    }
    if publication.delay > can.delay_max {
        let shown = |time: Duration| {
            humantime::format_duration(Duration::from_secs(time.as_secs())).to_string()
        };
        return refuse(
            format!("a delay of {}", shown(publication.delay)),
            format!("its longest is {}", shown(can.delay_max)),
            "submit the task again when its time is nearer",
        );
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use pumasi_common::{Destination, Diagnostic, ErrorCode, QueueName, Task, broker::AckTimeout};

    fn publication(priority: Option<u8>, delay: u64) -> Publication {
        let mut task = Task::new("x");
        task.priority = priority;
        let queue = Destination::Queue(QueueName::new("q").unwrap());
        Publication::new(queue, task).after(Duration::from_secs(delay))
    }

    #[test]
    fn what_a_broker_cannot_do_is_refused_with_what_to_do_instead() {
        let can = |priorities| Capabilities {
            system: "rabbitmq",
            product: "RabbitMQ 3.10.8".to_owned(),
            queue_kinds: Vec::new(),
            lists_queues: false,
            payload_bytes_max: 1,
            delay_resolution: Duration::from_secs(1),
            delay_max: Duration::from_secs(60),
            priorities,
            knows_duplicates: false,
            ack_timeout: AckTimeout::Unlimited,
        };
        let told = |publication: &Publication, priorities| {
            unsupported(publication, &can(priorities)).map(|refusal| {
                assert_eq!(refusal.code(), ErrorCode::Unsupported);
                format!("{refusal}; {}", refusal.help().unwrap())
            })
        };
        let urgent = publication(Some(7), 0);
        assert_eq!(
            told(&urgent, Priorities::None).as_deref(),
            Some(
                "priority 7 cannot be had of RabbitMQ 3.10.8: it hands out the tasks of a queue \
                 in turn; submit urgent tasks to a queue of their own, or use RabbitMQ 4.0 or later"
            )
        );
        assert_eq!(told(&urgent, Priorities::Two), None);
        assert_eq!(told(&urgent, Priorities::Ten), None);
        assert_eq!(told(&publication(None, 60), Priorities::None), None);
        assert_eq!(
            told(&publication(None, 61), Priorities::None).as_deref(),
            Some(
                "a delay of 1m 1s cannot be had of RabbitMQ 3.10.8: its longest is 1m; \
                 submit the task again when its time is nearer"
            )
        );
    }
}
