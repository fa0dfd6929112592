//! A producer that notes in a ledger what it asks for and what it is told. Started by
//! `cargo xtask faults` with its orders as JSON. Started again after a kill, it repeats what has no
//! answer yet, with the same ids, as any careful client would.

use pumasi_common::{
    Broker, ConnectionSettings, Diagnostic, ErrorCode, PublishOutcome, QueueName, Retryability,
    TaskId, Topology,
};
use pumasi_producer::{Client, Request};
use pumasi_testkit::faults::{
    ledger::{Event, Ledger, read_so_far},
    orders::{Bug, Orders},
};
use std::{collections::BTreeMap, error::Error, path::Path, sync::Arc, time::Duration};
use tokio::{task::JoinSet, time::sleep};

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// Pause before a task that was not taken, or may not have been, is submitted again.
const AGAIN: Duration = Duration::from_millis(50);

struct Producer {
    client: Client,
    queue: QueueName,
    ledger: Ledger,
    orders: Orders,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    let Some(orders) = std::env::args().nth(1) else {
        return Err("started by: cargo xtask faults".into());
    };
    let orders: Orders = serde_json::from_str(&orders)?;
    let before = open_questions(&orders.ledger)?;
    let queue = QueueName::new(&orders.queue)?;
    let broker = open(&orders).await;
    let topology = Topology::of_queues([queue.clone()]);
    while broker.ensure_topology(&topology).await.is_err() {
        sleep(AGAIN).await;
    }
    let producer = Arc::new(Producer {
        client: Client::new(Arc::clone(&broker)),
        queue,
        ledger: Ledger::open(&orders.ledger)?,
        orders,
    });
    producer.run(before).await?;
    broker.close().await;
    Ok(())
}

/// Opens the broker, however long it takes: whoever started this ends it.
async fn open(orders: &Orders) -> Arc<dyn Broker> {
    let mut settings = ConnectionSettings::of_url(&orders.url);
    settings.heartbeat = Duration::from_secs(2);
    settings.connect_timeout = Duration::from_secs(2);
    settings.publish_timeout = Duration::from_millis(orders.deadline_ms);
    settings.password_file = std::env::var_os("PUMASI__BROKER__PASSWORD_FILE").map(Into::into);
    loop {
        match pumasi_broker::open(&settings).await {
            Ok(broker) => return broker,
            Err(_) => sleep(AGAIN).await,
        }
    }
}

/// What the ledger knows of this producer's tasks: each number, and whether it was answered.
fn open_questions(ledger: &Path) -> Outcome<BTreeMap<u32, bool>> {
    let mut numbers = BTreeMap::new();
    if !ledger.exists() {
        return Ok(numbers);
    }
    for line in read_so_far(ledger)? {
        let number = |id: &str| id.trim_start_matches('t').parse().ok();
        let Some(number) = line.event.id().and_then(number) else {
            continue;
        };
        match line.event {
            Event::Invoke { .. } => drop(numbers.entry(number).or_insert(false)),
            Event::Accepted { .. } => drop(numbers.insert(number, true)),
            Event::Refused { reason, .. } if reason == ErrorCode::QueueFull.to_string() => {
                numbers.insert(number, true);
            }
            _ => {}
        }
    }
    Ok(numbers)
}

impl Producer {
    /// Repeats what has no answer; then bursts of new tasks until it is told to stop.
    async fn run(self: Arc<Self>, before: BTreeMap<u32, bool>) -> Outcome {
        let mut running = JoinSet::new();
        let mut next = before.keys().last().map_or(0, |last| last + 1);
        for (number, answered) in before {
            if !answered {
                let again = self.orders.bug == Some(Bug::NewId);
                running.spawn(Arc::clone(&self).submit(number, again));
            }
        }
        while next < self.orders.count || !self.orders.stop.exists() {
            for number in next..next + self.orders.burst {
                running.spawn(Arc::clone(&self).submit(number, false));
            }
            next += self.orders.burst;
            sleep(Duration::from_millis(self.orders.pause_ms)).await;
            while let Some(done) = running.try_join_next() {
                done??;
            }
        }
        while let Some(done) = running.join_next().await {
            done??;
        }
        Ok(())
    }

    /// Submits a task until it is answered for good.
    async fn submit(self: Arc<Self>, number: u32, renamed: bool) -> Outcome {
        let id = format!("t{number}");
        let name = if renamed {
            format!("{id}x")
        } else {
            id.clone()
        };
        loop {
            let request = Request {
                id: Some(TaskId::new(&name)?),
                ..Request::new(self.orders.payload(number))
            };
            let publication = request.to_queue(&self.queue)?;
            self.ledger.write(Event::Invoke { id: id.clone() })?;
            if self.orders.bug == Some(Bug::NoConfirm) {
                self.ledger.write(Event::Accepted { id: id.clone() })?;
                self.client.submit(publication).await;
                return Ok(());
            }
            let outcome = self.client.submit(publication).await;
            let (event, is_final) = self.told(id.clone(), &outcome);
            self.ledger.write(event)?;
            if is_final {
                return Ok(());
            }
            sleep(AGAIN).await;
        }
    }

    /// The line for an outcome, and whether the task is answered with it.
    fn told(&self, id: String, outcome: &PublishOutcome) -> (Event, bool) {
        match outcome {
            PublishOutcome::Accepted(_) => (Event::Accepted { id }, true),
            PublishOutcome::Refused(..) if self.orders.bug == Some(Bug::RefusedIsAccepted) => {
                (Event::Accepted { id }, true)
            }
            PublishOutcome::Refused(_, why) => {
                let reason = why.code().to_string();
                let full = why.code() == ErrorCode::QueueFull;
                let last = full || why.retryability() == Retryability::Permanent;
                (Event::Refused { id, reason }, last)
            }
            PublishOutcome::Unknown(..) if self.orders.bug == Some(Bug::UnknownIsRefused) => {
                let reason = "unknown, told as refused".to_owned();
                (Event::Refused { id, reason }, true)
            }
            PublishOutcome::Unknown(..) => (Event::Unknown { id }, false),
        }
    }
}
