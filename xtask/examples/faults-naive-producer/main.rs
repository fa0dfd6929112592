//! A producer in plain AMQP, as careful as it can be, but for the mistake that it is told to make.
//! Started by `cargo xtask faults` and its tests with its orders and the mistake, each as JSON.

#[path = "../plain/link.rs"]
mod link;
#[path = "../plain/topology.rs"]
mod topology;
mod tutorial;

use futures_util::future::join_all;
use lapin::{BasicProperties, Channel, Confirmation, Connection, options::ConfirmSelectOptions};
use link::{AGAIN, ANSWER, MANDATORY, Outcome};
use pumasi_testkit::faults::{
    ledger::{Event, Ledger, read_so_far},
    orders::Orders,
    plain::{Plain, ProducerBug},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::time::{sleep, timeout};

/// What the broker said of a task.
enum Answer {
    Accepted,
    Full,
    NoRoute,
    Unknown,
}

struct Producer {
    orders: Orders,
    plain: Plain,
    ledger: Ledger,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [orders, plain] = arguments.as_slice() else {
        return Err("started by: cargo xtask faults".into());
    };
    let orders: Orders = serde_json::from_str(orders)?;
    let ledger = Ledger::open(&orders.ledger)?;
    let producer = Producer {
        plain: serde_json::from_str(plain)?,
        orders,
        ledger,
    };
    if producer.has(ProducerBug::Tutorial) {
        return tutorial::run(&producer).await;
    }
    producer.run().await
}

impl Producer {
    fn has(&self, bug: ProducerBug) -> bool {
        self.plain.producer == Some(bug)
    }

    /// One burst after another; each begins with what has no answer yet.
    async fn run(&self) -> Outcome {
        let (mut todo, mut next) = self.before()?;
        let mut link = None;
        loop {
            let mut burst = todo;
            if next < self.orders.count || !self.orders.stop.exists() {
                burst.extend((next..next + self.orders.burst).map(|number| (number, false)));
                next += self.orders.burst;
            } else if burst.is_empty() {
                return Ok(());
            }
            todo = self.submit(&mut link, burst).await?;
            sleep(Duration::from_millis(self.orders.pause_ms)).await;
        }
    }

    /// What an earlier producer has left without an answer, and the first number that is new.
    fn before(&self) -> Outcome<(BTreeMap<u32, bool>, u32)> {
        let mut open = BTreeMap::new();
        let mut next = 0;
        for line in read_so_far(&self.orders.ledger)? {
            let number = |id: &str| id.trim_start_matches('t').parse::<u32>().ok();
            let Some(number) = line.event.id().and_then(number) else {
                continue;
            };
            next = next.max(number + 1);
            match line.event {
                Event::Invoke { .. } => drop(open.insert(number, true)),
                Event::Accepted { .. } | Event::Refused { .. } => drop(open.remove(&number)),
                _ => {}
            }
        }
        Ok((open, next))
    }

    /// Submits tasks at once, and gives those that must be repeated. A task with `true` is one.
    async fn submit(
        &self,
        link: &mut Option<(Connection, Channel)>,
        burst: BTreeMap<u32, bool>,
    ) -> Outcome<BTreeMap<u32, bool>> {
        let channel = loop {
            match link {
                Some((_, channel)) if channel.status().connected() => break channel.clone(),
                _ => match timeout(ANSWER, self.open()).await {
                    Ok(Ok(opened)) => *link = Some(opened),
                    _ => sleep(AGAIN).await,
                },
            }
        };
        let mut todo = BTreeMap::new();
        for (number, answer) in self.exchange(&channel, &burst).await? {
            let id = format!("t{number}");
            let event = match answer {
                Answer::Accepted => Event::Accepted { id },
                Answer::Full => Event::Refused {
                    id,
                    reason: "full".to_owned(),
                },
                Answer::NoRoute => {
                    // The queue is declared again with the next connection.
                    if !self.is_stray(number) {
                        todo.insert(number, true);
                        *link = None;
                    }
                    let reason = "no route".to_owned();
                    Event::Refused { id, reason }
                }
                Answer::Unknown if self.has(ProducerBug::UnknownIsRefused) => Event::Refused {
                    id,
                    reason: "unknown, told as refused".to_owned(),
                },
                Answer::Unknown => {
                    todo.insert(number, true);
                    *link = None;
                    Event::Unknown { id }
                }
            };
            self.ledger.write(event)?;
        }
        Ok(todo)
    }

    async fn open(&self) -> Outcome<(Connection, Channel)> {
        let connection = link::connect(&self.orders.url).await?;
        let channel = connection.create_channel().await?;
        topology::declare(&channel, &self.orders.queue, self.plain).await?;
        if !self.has(ProducerBug::NoConfirms) {
            channel
                .confirm_select(ConfirmSelectOptions::default())
                .await?;
        }
        Ok((connection, channel))
    }

    /// Publishes all, and only then looks at the answers: lapin hands a returned task to any
    /// confirm of its time, so each is known by its id once all have come.
    async fn exchange(
        &self,
        channel: &Channel,
        burst: &BTreeMap<u32, bool>,
    ) -> Outcome<Vec<(u32, Answer)>> {
        for number in burst.keys() {
            let id = format!("t{number}");
            self.ledger.write(Event::Invoke { id })?;
        }
        let calls = burst.iter().map(|(number, is_repeated)| async {
            let call = self.publish(channel, *number, *is_repeated);
            (*number, timeout(ANSWER, call).await)
        });
        let told = join_all(calls).await;
        let mut returned = BTreeSet::new();
        let mut answers = Vec::new();
        for (number, told) in told {
            let Ok(Ok(confirmation)) = told else {
                answers.push((number, Answer::Unknown));
                continue;
            };
            let answer = match confirmation {
                Confirmation::Nack(_) if !self.has(ProducerBug::NackIsAccepted) => Answer::Full,
                _ => Answer::Accepted,
            };
            answers.push((number, answer));
            if let Some(message) = confirmation.take_message() {
                let id = message.delivery.properties.message_id().clone();
                let id = id.map(|id| id.to_string()).unwrap_or_default();
                if !self.has(ProducerBug::IsAckOnly) {
                    returned.insert(id);
                }
            }
        }
        for (number, answer) in &mut answers {
            if returned.contains(&format!("t{number}")) {
                *answer = Answer::NoRoute;
            }
        }
        Ok(answers)
    }

    async fn publish(
        &self,
        channel: &Channel,
        number: u32,
        is_repeated: bool,
    ) -> Outcome<Confirmation> {
        let mut id = format!("t{number}");
        if is_repeated && self.has(ProducerBug::NewId) {
            id.push('x');
        }
        let properties = BasicProperties::default()
            .with_message_id(id.into())
            .with_delivery_mode(2);
        let queue = match self.is_stray(number) {
            true => "nowhere",
            false => self.orders.queue.as_str(),
        };
        let mut options = MANDATORY;
        options.mandatory = !self.has(ProducerBug::NotMandatory);
        let payload = self.orders.payload(number);
        let confirm = channel
            .basic_publish(
                "".into(),
                queue.into(),
                options,
                payload.as_bytes(),
                properties,
            )
            .await?;
        Ok(confirm.await?)
    }

    fn is_stray(&self, number: u32) -> bool {
        self.plain
            .stray
            .is_some_and(|each| number % each == each - 1)
    }
}
