//! The contract against real RabbitMQ nodes of both versions.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod ack_timeout;
mod blocked;
mod browsing;
mod consuming;
mod controlling;
mod cut_off;
mod delay;
mod hostile;
mod lapin_faults;
mod publishing;
mod raw;
mod reaching;
mod replying;
mod surviving;
mod topology;

use futures_util::StreamExt;
use pumasi_broker_rabbitmq::RabbitMqBroker;
use pumasi_common::{
    Broker, ConnectionSettings, Consumer, Delivery, Destination, Publication, PublishOutcome,
    QueueKind, QueueName, QueueSpec, Task, Topology,
    broker::{ConsumeOptions, OpenError},
    connection::BrokerAddress,
};
use pumasi_testkit::rabbitmq::{RabbitMq, Version};
use std::{num::NonZeroU16, sync::Arc, time::Duration};
use tokio::time::timeout;

/// Longest wait for anything.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs a test on each version that is here.
fn each<F: Future<Output = ()>>(test: impl Fn(&'static RabbitMq) -> F) {
    for version in Version::ALL {
        if let Err(reason) = version.available() {
            println!("skipped: {reason}");
            continue;
        }
        println!("on {version:?}");
        let node = RabbitMq::shared(version);
        runtime().block_on(test(node));
    }
}

/// As [`each`], on all versions at the same time: for tests that mostly wait.
fn together<F: Future<Output = ()>>(test: impl Fn(&'static RabbitMq) -> F) {
    let here = |version: &Version| match version.available() {
        Ok(()) => true,
        Err(reason) => {
            println!("skipped: {reason}");
            false
        }
    };
    let versions = Version::ALL.into_iter().filter(here);
    let nodes: Vec<_> = versions.map(RabbitMq::shared).collect();
    runtime().block_on(futures_util::future::join_all(nodes.into_iter().map(test)));
}

/// As [`together`], on nodes of the test's own: for tests that block or kill one.
fn apart(test: impl AsyncFn(&RabbitMq) + Sync) {
    std::thread::scope(|scope| {
        for version in Version::ALL {
            if let Err(reason) = version.available() {
                println!("skipped: {reason}");
                continue;
            }
            let test = &test;
            scope.spawn(move || {
                let node = RabbitMq::start(version);
                runtime().block_on(test(&node));
                println!("done on {version:?}");
            });
        }
    });
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

async fn open(url: &str) -> Arc<RabbitMqBroker> {
    open_with(ConnectionSettings::of_url(url)).await.unwrap()
}

async fn open_with(settings: ConnectionSettings) -> Result<Arc<RabbitMqBroker>, OpenError> {
    let BrokerAddress::Amqp(address) = settings.address().unwrap() else {
        panic!("not AMQP");
    };
    RabbitMqBroker::open(&settings, &address).await
}

fn name(text: &str) -> QueueName {
    QueueName::new(text).unwrap()
}

async fn declare(broker: &RabbitMqBroker, queue: &str, kind: QueueKind) {
    let topology = Topology {
        queues: vec![QueueSpec::new(name(queue)).with_kind(kind)],
        topics: vec![],
    };
    broker.ensure_topology(&topology).await.unwrap();
}

fn publication(queue: &str, payload: &str) -> Publication {
    Publication::new(
        Destination::Queue(name(queue)),
        Task::new(payload.to_owned()),
    )
}

async fn publish(broker: &RabbitMqBroker, queue: &str, payload: &str) {
    let outcome = broker.publish(publication(queue, payload)).await;
    assert!(
        matches!(outcome, PublishOutcome::Accepted(_)),
        "{outcome:?}"
    );
}

async fn consume(broker: &RabbitMqBroker, queue: &str, prefetch: u16) -> Box<dyn Consumer> {
    broker.consume(options(queue, prefetch)).await.unwrap()
}

fn options(queue: &str, prefetch: u16) -> ConsumeOptions {
    ConsumeOptions {
        queue: name(queue),
        prefetch: NonZeroU16::new(prefetch).unwrap(),
        consumer: "test".to_owned(),
        ack_timeout: None,
    }
}

async fn next(consumer: &mut Box<dyn Consumer>) -> Delivery {
    timeout(LIMIT, consumer.next())
        .await
        .expect("a delivery in time")
        .expect("the stream goes on")
}

fn payload(delivery: &Delivery) -> String {
    String::from_utf8(delivery.task().payload.to_vec()).unwrap()
}

/// A channel of a client that is not ours.
async fn foreign(node: &RabbitMq, vhost: &str) -> lapin::Channel {
    foreign_at(&node.url_of(vhost)).await
}

async fn foreign_at(url: &str) -> lapin::Channel {
    let properties = lapin::ConnectionProperties::default();
    let connection = lapin::Connection::connect(url, properties).await;
    connection.unwrap().create_channel().await.unwrap()
}

async fn delete(channel: &lapin::Channel, queue: &str) {
    let options = lapin::options::QueueDeleteOptions::default();
    channel.queue_delete(queue.into(), options).await.unwrap();
}

/// Ends all connections to a virtual host, as a network would.
fn cut_connections(node: &RabbitMq, vhost: &str) {
    let cut = format!(
        "[catch rabbit_networking:close_connection(P, \"test\") || \
         P <- rabbit_networking:connections(), \
         (catch rabbit_networking:connection_info(P, [vhost])) =:= [{{vhost, <<\"{vhost}\">>}}]]."
    );
    node.ctl(&["eval", &cut]);
}

/// Waits until the queue has this many ready tasks.
async fn until_ready(broker: &RabbitMqBroker, queue: &str, ready: u64) {
    let queue = name(queue);
    timeout(LIMIT, async {
        while broker.admin().queue(&queue).await.unwrap().ready != ready {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .expect("the count in time");
}

/// Waits until something is so.
async fn until(what: &str, condition: impl Fn() -> bool) {
    timeout(LIMIT, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("waited too long for {what}"));
}
