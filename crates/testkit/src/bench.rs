//! One measurement per process. `cargo xtask bench` starts the programs in turn and compares.

use futures_util::{StreamExt, stream};
use pumasi_common::{
    Broker, Destination, Publication, PublishOutcome, QueueName, Settlement, Task,
    broker::ConsumeOptions,
};
use rustix::time::{ClockId, Timespec, clock_gettime};
use serde::{Deserialize, Serialize};
use std::{num::NonZeroU16, str::FromStr, time::Instant};

/// The tasks are bytes that nobody reads.
const FILLER: u8 = b'x';

/// What a bench program is to do, from its arguments.
#[derive(Clone, Debug)]
pub struct Order {
    /// `publish`, `consume` …
    pub work: String,
    /// Whose loop does it.
    pub contender: String,
    /// The broker's URL, or the file of the store.
    pub at: String,
    /// How many tasks.
    pub count: usize,
    /// How large each payload is.
    pub bytes: usize,
    /// Most publishes or deliveries in flight.
    pub window: u16,
}

impl Order {
    /// Reads `WORK CONTENDER AT COUNT BYTES WINDOW`; `None` when the program was started by hand.
    ///
    /// # Panics
    /// When an argument is not a number.
    #[must_use]
    pub fn from_args() -> Option<Self> {
        // Cargo adds `--bench`.
        let given: Vec<String> = std::env::args()
            .skip(1)
            .filter(|argument| argument != "--bench")
            .collect();
        let [work, contender, at, count, bytes, window] = given.try_into().ok()?;
        Some(Self {
            work,
            contender,
            at,
            count: number(&count),
            bytes: number(&bytes),
            window: number(&window),
        })
    }

    /// The order of this process; says what starts it otherwise.
    #[must_use]
    pub fn or_explain() -> Option<Self> {
        let order = Self::from_args();
        if order.is_none() {
            println!("started by: cargo xtask bench");
        }
        order
    }

    /// The payload of every task.
    #[must_use]
    pub fn payload(&self) -> Vec<u8> {
        vec![FILLER; self.bytes]
    }
}

/// Publishes the order's tasks, a window of them in flight.
///
/// # Panics
/// When one is not accepted.
pub async fn fill(broker: &dyn Broker, queue: &QueueName, order: &Order) {
    let destination = Destination::Queue(queue.clone());
    let payload = bytes::Bytes::from(order.payload());
    let mut outcomes = stream::iter(0..order.count)
        .map(|_| {
            broker.publish(Publication::new(
                destination.clone(),
                Task::new(payload.clone()),
            ))
        })
        .buffer_unordered(order.window.into());
    while let Some(outcome) = outcomes.next().await {
        assert!(
            matches!(outcome, PublishOutcome::Accepted(_)),
            "{outcome:?}"
        );
    }
}

/// Consumes and acknowledges the order's tasks; returns when the last was told.
///
/// # Panics
/// When the broker ends the stream before.
pub async fn drain(broker: &dyn Broker, queue: &QueueName, order: &Order) {
    let options = ConsumeOptions {
        queue: queue.clone(),
        prefetch: NonZeroU16::new(order.window).unwrap(),
        consumer: "bench".to_owned(),
        ack_timeout: None,
    };
    let mut consumer = broker.consume(options).await.unwrap();
    for _ in 0..order.count {
        let delivery = consumer.next().await.unwrap();
        delivery.settle(Settlement::Ack).unwrap();
    }
    consumer.close().await;
}

fn number<T: FromStr>(text: &str) -> T {
    text.parse()
        .unwrap_or_else(|_| panic!("`{text}` is not a number here"))
}

/// What one measurement gave; one JSON object on standard output.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Measured {
    /// How long it took.
    pub seconds: f64,
    /// The CPU time of this process meanwhile, all threads.
    pub cpu_seconds: f64,
}

/// Runs while the work is done.
#[derive(Debug)]
pub struct Watch {
    begun: Instant,
    cpu: f64,
}

impl Watch {
    /// Starts it.
    #[must_use]
    pub fn start() -> Self {
        Self {
            begun: Instant::now(),
            cpu: cpu_seconds(),
        }
    }

    /// Stops it and prints what it shows.
    ///
    /// # Panics
    /// When standard output is closed.
    pub fn stop(self) {
        let measured = Measured {
            seconds: self.begun.elapsed().as_secs_f64(),
            cpu_seconds: cpu_seconds() - self.cpu,
        };
        println!("{}", serde_json::to_string(&measured).unwrap());
    }
}

fn cpu_seconds() -> f64 {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::ProcessCPUTime);
    #[expect(clippy::cast_precision_loss, reason = "seconds of one process")]
    let seconds = tv_sec as f64 + tv_nsec as f64 / 1e9;
    seconds
}
