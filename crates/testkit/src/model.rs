//! A broker in memory, on tokio's clock: the contract as simply as it can be said.
//!
//! It passes the same conformance suite as the real ones. With a paused clock a schedule of hours
//! takes milliseconds; [`Model::crash`] lets a worker die without its knowing. It keeps nothing: it
//! is for the tests of what works on a broker, never for work.

mod admin;
mod consume;
mod state;

use consume::ModelConsumer;
use futures_util::FutureExt;
use pumasi_common::{
    Broker, BrokerAdmin, Consumer, Destination, Publication, PublishOutcome, QueueKind, QueueName,
    QueueSpec, Refusal, Topology,
    broker::{
        AckTimeout, BoxFuture, BoxStream, Capabilities, ConsumeError, ConsumeOptions, Control,
        Health, Priorities, Replies, Uncertainty,
    },
    topology::{Declaration, Plan, TopologyError},
};
use state::State;
pub use state::Step;
use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};
use tokio::sync::{mpsc, watch};

/// The largest payload that the model takes.
const PAYLOAD_BYTES_MAX: usize = 1024 * 1024;
/// The longest delay that the model takes.
const DELAY_MAX: Duration = Duration::from_secs(1 << 28);

/// A broker in memory.
#[derive(Debug, Default)]
pub struct Model(Arc<Shared>);

#[derive(Debug, Default)]
pub(crate) struct Shared(Mutex<State>);

impl Shared {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl Model {
    /// An empty broker.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// From now on what is given back is counted like what a dead worker held, as by RabbitMQ up to
    /// 4.2.
    pub fn count_releases(&self) {
        self.0.state().counts_releases = true;
    }

    /// The worker of this name is dead: what it held is ready again, and counted.
    pub fn crash(&self, worker: &str) {
        self.0.state().crash(worker);
    }

    /// The connection of the worker of this name is lost and made anew; the worker lives on.
    pub fn reset(&self, worker: &str) {
        self.0.state().reset(worker);
    }

    /// The answers to the next `count` publishes, and the settlements that arrive meanwhile, are
    /// lost: what was published is stored and its publisher is not told; what was acknowledged
    /// comes back, its copy stored all the same.
    pub fn lose_answers(&self, count: u32) {
        self.0.state().answers_lost = count;
    }

    /// Every task of a queue that is ready, delayed or held, in no order.
    #[must_use]
    pub fn tasks(&self, queue: &QueueName) -> Vec<pumasi_common::Task> {
        self.0.state().tasks(queue)
    }

    /// How many tasks of a queue are ready, delayed or held.
    #[must_use]
    pub fn count_of(&self, queue: &QueueName) -> usize {
        self.0.state().count_of(queue)
    }

    /// Every step that a task took so far, in order.
    #[must_use]
    pub fn steps(&self) -> Vec<Step> {
        self.0.state().steps.clone()
    }

    /// Changes with each step of any task.
    #[must_use]
    pub fn moved(&self) -> watch::Receiver<usize> {
        self.0.state().count.subscribe()
    }

    fn take(&self, publication: Publication) -> PublishOutcome {
        let id = publication.task.id.clone();
        let bytes = publication.task.payload.len();
        let refused = if bytes > PAYLOAD_BYTES_MAX {
            Some(Refusal::PayloadTooLarge {
                bytes,
                bytes_max: PAYLOAD_BYTES_MAX,
            })
        } else if publication.delay > DELAY_MAX {
            Some(Refusal::Property {
                property: "delay",
                problem: "it is longer than the model can wait".to_owned(),
            })
        } else if !publication.delay.is_zero()
            && !matches!(publication.destination, Destination::Queue(_))
        {
            Some(Refusal::Property {
                property: "delay",
                problem: "only a task for a queue can be delayed".to_owned(),
            })
        } else {
            let from = self.0.state().origin(&id);
            state::publish(&self.0, publication, from)
        };
        match refused {
            Some(refusal) => PublishOutcome::Refused(id, refusal),
            None if self.0.state().loses_answer() => {
                let problem = "its answer was lost".to_owned();
                PublishOutcome::Unknown(id, Uncertainty { problem })
            }
            None => PublishOutcome::Accepted(id),
        }
    }
}

impl Broker for Model {
    fn publish(&self, publication: Publication) -> BoxFuture<'_, PublishOutcome> {
        std::future::ready(self.take(publication)).boxed()
    }

    fn consume(
        &self,
        options: ConsumeOptions,
    ) -> BoxFuture<'_, Result<Box<dyn Consumer>, ConsumeError>> {
        let consumer = ModelConsumer::start(&self.0, &options);
        async move {
            match consumer {
                Some(consumer) => Ok(Box::new(consumer) as Box<dyn Consumer>),
                None => Err(ConsumeError::QueueMissing {
                    queue: options.queue,
                }),
            }
        }
        .boxed()
    }

    fn control(
        &self,
        queues: Vec<QueueName>,
    ) -> BoxFuture<'_, Result<BoxStream<Control>, ConsumeError>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.0.state().listen(&queues, sender);
        let stream = futures_util::stream::unfold(receiver, async |mut receiver| {
            let order = receiver.recv().await?;
            Some((order, receiver))
        });
        async move { Ok(Box::pin(stream) as BoxStream<Control>) }.boxed()
    }

    fn replies(&self) -> BoxFuture<'_, Result<Replies, ConsumeError>> {
        async move {
            let name = QueueName::new(&format!("pumasi.reply.{}", uuid::Uuid::new_v4())).unwrap();
            self.0.state().declare(QueueSpec::new(name.clone()));
            let options = ConsumeOptions {
                queue: name.clone(),
                prefetch: std::num::NonZeroU16::MAX,
                consumer: "replies".to_owned(),
                ack_timeout: None,
            };
            let consumer = ModelConsumer::start(&self.0, &options)
                .unwrap()
                .for_replies();
            Ok(Replies {
                to: name.to_string(),
                consumer: Box::new(consumer),
            })
        }
        .boxed()
    }

    fn ensure_topology<'a>(
        &'a self,
        topology: &'a Topology,
    ) -> BoxFuture<'a, Result<Plan, TopologyError>> {
        async move {
            let plan = self.plan(topology)?;
            if plan.differences.is_empty() {
                self.0.state().ensure(topology);
                Ok(plan)
            } else {
                Err(TopologyError::Mismatch {
                    differences: plan.differences,
                })
            }
        }
        .boxed()
    }

    fn plan_topology<'a>(
        &'a self,
        topology: &'a Topology,
    ) -> BoxFuture<'a, Result<Plan, TopologyError>> {
        async move { self.plan(topology) }.boxed()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            system: "model",
            product: "the model".to_owned(),
            queue_kinds: vec![QueueKind::Quorum, QueueKind::Classic],
            lists_queues: true,
            payload_bytes_max: PAYLOAD_BYTES_MAX,
            delay_resolution: Duration::from_millis(1),
            delay_max: DELAY_MAX,
            priorities: Priorities::Ten,
            ack_timeout: AckTimeout::Unlimited,
            knows_duplicates: true,
        }
    }

    fn health(&self) -> Health {
        Health::Up
    }

    fn admin(&self) -> &dyn BrokerAdmin {
        self
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        std::future::ready(()).boxed()
    }
}

impl Model {
    fn plan(&self, topology: &Topology) -> Result<Plan, TopologyError> {
        let mut plan = Plan::default();
        let state = self.0.state();
        for declaration in topology.declarations()? {
            let (is_there, difference) = match &declaration {
                Declaration::Queue(queue) => state.compare(queue),
                Declaration::Exchange(topic) => (state.topics.contains_key(topic), None),
                Declaration::Binding { topic, queue } => {
                    let bound = state.topics.get(topic);
                    (bound.is_some_and(|queues| queues.contains(queue)), None)
                }
            };
            match difference {
                Some(difference) => plan.differences.push(difference),
                None if is_there => plan.present.push(declaration.to_string()),
                None => plan.missing.push(declaration.to_string()),
            }
        }
        Ok(plan)
    }
}
