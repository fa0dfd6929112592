//! [`RabbitMqBroker`]: the contract's calls, handed to the stage that does each.

use crate::{
    admin::{
        self, browse,
        management::{self, Listed},
    },
    connection::{Link, watch_over},
    consume::{Consumers, RabbitMqConsumer, Source},
    control::{self, Asking},
    delay,
    publish::Publisher,
    replies,
    topology::{self, Mode},
};
use futures_util::FutureExt;
use pumasi_common::{
    Broker, BrokerAdmin, ConnectionSettings, Consumer, Publication, PublishOutcome, QueueName,
    TaskId, Topology,
    broker::{
        AckTimeout, AdminError, BoxFuture, BoxStream, Cancelled, Capabilities, ConsumeError,
        ConsumeOptions, Control, Health, OpenError, Pause, QueueStatus, Replies,
    },
    connection::AmqpAddress,
    topology::{Plan, TopologyError},
};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{task::unconstrained, time::timeout};
use tokio_util::sync::CancellationToken;

/// Tasks kept by RabbitMQ.
///
/// One connection publishes and one consumes: while RabbitMQ blocks a publishing connection,
/// settlements go on.
#[derive(Debug)]
pub struct RabbitMqBroker {
    settings: ConnectionSettings,
    address: AmqpAddress,
    publish_link: Arc<Link>,
    consume_link: Arc<Link>,
    publisher: Arc<Publisher>,
    consumers: Arc<Consumers>,
    /// What was declared through this broker.
    ensured: Arc<Mutex<Topology>>,
    closed: CancellationToken,
}

impl RabbitMqBroker {
    /// Connects once, trying each host; from then on a lost connection is made anew for ever.
    ///
    /// # Errors
    /// [`OpenError`] when no host can be used; its code tells an unreachable broker from a
    /// refused login and a missing virtual host. Its text never holds a password.
    pub async fn open(
        settings: &ConnectionSettings,
        address: &AmqpAddress,
    ) -> Result<Arc<Self>, OpenError> {
        let publish_link = Arc::new(Link::new(settings, address, "publish"));
        publish_link.connection().await?;
        let publisher = Arc::new(Publisher::start(publish_link.clone(), settings));
        let consume_link = Arc::new(Link::new(settings, address, "consume"));
        if address.hosts.len() > 1 {
            for link in [&publish_link, &consume_link] {
                tokio::spawn(watch_over(Arc::downgrade(link), settings.heartbeat));
            }
        }
        Ok(Arc::new(Self {
            settings: settings.clone(),
            address: address.clone(),
            publish_link,
            consume_link,
            publisher,
            consumers: Arc::default(),
            ensured: Arc::default(),
            closed: CancellationToken::new(),
        }))
    }

    /// What a consumer is made of.
    fn source(&self) -> Source {
        Source {
            link: self.consume_link.clone(),
            publisher: self.publisher.clone(),
            settings: self.settings.clone(),
            consumers: self.consumers.clone(),
            ensured: self.ensured.clone(),
        }
    }

    fn asking(&self) -> Asking<'_> {
        Asking {
            link: &self.publish_link,
            publisher: &self.publisher,
        }
    }

    /// Longest answer to one question: a connect and a reply.
    fn limit(&self) -> Duration {
        self.settings.connect_timeout.saturating_mul(2)
    }

    async fn in_time<T>(
        &self,
        question: impl Future<Output = Result<T, AdminError>>,
    ) -> Result<T, AdminError> {
        timeout(self.limit(), question).await.unwrap_or_else(|_| {
            Err(AdminError::Failed {
                problem: "the broker did not answer in time".to_owned(),
                source: None,
            })
        })
    }
}

/// Adds what was ensured; the last word on a name counts.
fn remember(known: &mut Topology, ensured: &Topology) {
    for spec in &ensured.queues {
        known.queues.retain(|queue| queue.name != spec.name);
        known.queues.push(spec.clone());
    }
    for spec in &ensured.topics {
        known.topics.retain(|topic| topic.name != spec.name);
        known.topics.push(spec.clone());
    }
}

impl Broker for RabbitMqBroker {
    fn publish(&self, publication: Publication) -> BoxFuture<'_, PublishOutcome> {
        // Outside of tokio's budget: when that is spent, a publish waits for a turn of its task,
        // and whoever publishes many at once would find a few of them behind all others.
        unconstrained(self.publisher.publish(publication)).boxed()
    }

    fn consume(
        &self,
        options: ConsumeOptions,
    ) -> BoxFuture<'_, Result<Box<dyn Consumer>, ConsumeError>> {
        let source = self.source();
        async move {
            let consumer = RabbitMqConsumer::start(source, options).await?;
            Ok(Box::new(consumer) as Box<dyn Consumer>)
        }
        .boxed()
    }

    fn control(
        &self,
        queues: Vec<QueueName>,
    ) -> BoxFuture<'_, Result<BoxStream<Control>, ConsumeError>> {
        control::listen(self.source(), queues, self.limit(), self.closed.clone()).boxed()
    }

    fn replies(&self) -> BoxFuture<'_, Result<Replies, ConsumeError>> {
        replies::open(self.source()).boxed()
    }

    fn ensure_topology<'a>(
        &'a self,
        topology: &'a Topology,
    ) -> BoxFuture<'a, Result<Plan, TopologyError>> {
        async move {
            let link = &self.publish_link;
            let plan = topology::apply(link, topology, Mode::Ensure, self.limit()).await?;
            self.publisher.made_anew(topology, &plan).await;
            let mut ensured = self.ensured.lock().unwrap_or_else(PoisonError::into_inner);
            remember(&mut ensured, topology);
            Ok(plan)
        }
        .boxed()
    }

    fn plan_topology<'a>(
        &'a self,
        topology: &'a Topology,
    ) -> BoxFuture<'a, Result<Plan, TopologyError>> {
        topology::apply(&self.publish_link, topology, Mode::Plan, self.limit()).boxed()
    }

    fn capabilities(&self) -> Capabilities {
        let server = self.publish_link.server();
        Capabilities {
            system: "rabbitmq",
            product: server.to_string(),
            queue_kinds: server.queue_kinds(),
            lists_queues: self.settings.management_url.is_some(),
            payload_bytes_max: self.settings.payload_bytes_max,
            delay_resolution: Duration::from_secs(1),
            delay_max: delay::LONGEST,
            priorities: server.priorities(),
            knows_duplicates: false,
            ack_timeout: if server.times_consumers() {
                AckTimeout::OfConsumer
            } else {
                AckTimeout::OfBroker(self.settings.ack_timeout)
            },
        }
    }

    fn health(&self) -> Health {
        let publishing = self.publish_link.health();
        let (consumers, reviving) = self.consumers.counts();
        if publishing != Health::Up || consumers == 0 {
            return publishing;
        }
        match self.consume_link.health() {
            Health::Down(why) => Health::Down(why),
            _ if reviving > 0 => Health::Down(format!(
                "{reviving} of {consumers} consumers cannot start again yet"
            )),
            // A consuming connection is never blocked: it publishes nothing.
            Health::Up | Health::Blocked(_) => Health::Up,
        }
    }

    fn admin(&self) -> &dyn BrokerAdmin {
        self
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async move {
            self.closed.cancel();
            self.publisher.close(self.settings.close_timeout).await;
            self.publish_link.close().await;
            self.consume_link.close().await;
        }
        .boxed()
    }
}

impl BrokerAdmin for RabbitMqBroker {
    fn queues<'a>(
        &'a self,
        known: &'a [QueueName],
    ) -> BoxFuture<'a, Result<Vec<QueueStatus>, AdminError>> {
        async move {
            let listed: Vec<Listed> = match &self.settings.management_url {
                Some(url) => management::queues(&self.settings, &self.address, url).await?,
                None => known.iter().cloned().map(Listed::unknown).collect(),
            };
            let mut found = Vec::with_capacity(listed.len());
            for Listed {
                name,
                kind,
                in_flight,
            } in listed
            {
                match self.queue(&name).await {
                    Ok(status) => found.push(QueueStatus {
                        kind,
                        in_flight,
                        ..status
                    }),
                    Err(AdminError::QueueMissing { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(found)
        }
        .boxed()
    }

    fn queue<'a>(&'a self, name: &'a QueueName) -> BoxFuture<'a, Result<QueueStatus, AdminError>> {
        self.in_time(admin::queue(&self.publish_link, name)).boxed()
    }

    fn purge<'a>(&'a self, name: &'a QueueName) -> BoxFuture<'a, Result<u64, AdminError>> {
        self.in_time(admin::purge(&self.publish_link, name)).boxed()
    }

    fn browse<'a>(
        &'a self,
        name: &'a QueueName,
    ) -> BoxFuture<'a, Result<Box<dyn Consumer>, AdminError>> {
        async move {
            let browser = self.in_time(browse::open(self.source(), name)).await?;
            Ok(Box::new(browser) as Box<dyn Consumer>)
        }
        .boxed()
    }

    fn pause<'a>(
        &'a self,
        name: &'a QueueName,
        pause: Pause,
    ) -> BoxFuture<'a, Result<(), AdminError>> {
        self.in_time(self.asking().pause(name, pause)).boxed()
    }

    fn cancel<'a>(&'a self, id: &'a TaskId) -> BoxFuture<'a, Result<Cancelled, AdminError>> {
        self.in_time(self.asking().cancel(id)).boxed()
    }

    fn drain<'a>(&'a self, worker: &'a str) -> BoxFuture<'a, Result<(), AdminError>> {
        self.in_time(self.asking().drain(worker)).boxed()
    }
}
