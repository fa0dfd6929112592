//! The `[worker]` section of the configuration.

mod handlers;
mod networks;

pub use handlers::{HandlerConfig, HttpConfig};
pub use networks::Network;
pub(crate) use networks::Networks;

use pumasi_common::{QueueName, RetryPolicy, field};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{
    fmt,
    num::{NonZeroU16, NonZeroU32},
    time::Duration,
};

/// How a worker works.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorkerConfig {
    /// The worker's name in logs and at the broker. Default: host name and process id.
    pub name: Option<String>,
    /// The queues it consumes. At least one.
    pub queues: Vec<QueueName>,
    /// Most handlers running at once, 1–65,535. Default 4.
    pub concurrency: NonZeroU16,
    /// Most unsettled deliveries a consumer holds: `auto` follows the concurrency. A higher number
    /// saves round trips for fast handlers and is unfair to slow ones.
    pub prefetch: Prefetch,
    /// When the broker may forget a task: `after-work` (at least once) or `on-receipt` (at most
    /// once: a crash loses the task). Default `after-work`.
    pub ack: AckMode,
    /// How long running handlers may go on after the first SIGTERM; then they are ended and their
    /// tasks go back. Keep it below the pod's grace period. Default 25 s.
    #[serde(with = "field::duration")]
    pub drain_timeout: Duration,
    /// Longest run of a handler that has no time-out of its own; then it is told to stop. Default
    /// 25 min, below RabbitMQ's own 30 min.
    #[serde(with = "field::duration")]
    pub timeout: Duration,
    /// How long a handler that was told to stop (its time is up, its task was cancelled) may take
    /// to end; then it is ended by force. Default 10 s.
    #[serde(with = "field::duration")]
    pub timeout_grace: Duration,
    /// When failed tasks are tried again, where neither their queue nor their kind says otherwise.
    pub retry: RetryPolicy,
    /// What becomes of a task of a kind that has no handler here: `dead` moves it to the dead
    /// letters, `requeue-later` keeps it back for `unknown_delay` and offers it again, so that a
    /// rolling deploy loses nothing. Default `dead`.
    pub unknown: Unknown,
    /// How long a task of an unknown kind is kept back with `requeue-later`. Default 30 s.
    #[serde(with = "field::duration")]
    pub unknown_delay: Duration,
    /// How many workers a task may take down with it while it runs alone; then it is a dead
    /// letter. See `Q.suspects` in the topology. Default 3.
    pub crashes_max: NonZeroU32,
    /// Whether what becomes of each task is published to the topic `pumasi.events`. Default
    /// `false`.
    pub events: bool,
    /// Handlers by kind, for the worker service.
    pub handlers: Vec<HandlerConfig>,
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self {
            name: None,
            queues: Vec::new(),
            concurrency: const { NonZeroU16::new(4).unwrap() },
            prefetch: Prefetch::Auto,
            ack: AckMode::AfterWork,
            drain_timeout: Duration::from_secs(25),
            timeout: Duration::from_secs(25 * 60),
            timeout_grace: Duration::from_secs(10),
            retry: RetryPolicy::default(),
            unknown: Unknown::Dead,
            unknown_delay: Duration::from_secs(30),
            crashes_max: const { NonZeroU32::new(3).unwrap() },
            events: false,
            handlers: Vec::new(),
        }
    }
}

/// What becomes of a task of a kind that has no handler here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unknown {
    /// It is moved to the dead letters.
    #[default]
    Dead,
    /// It is offered again later; the attempt is not counted.
    RequeueLater,
}

/// A task that nobody here can handle is not offered more often than this.
const UNKNOWN_DELAY_MIN: Duration = Duration::from_secs(1);

/// The first that was there before.
fn first_twice<T: PartialEq>(all: &[T]) -> Option<&T> {
    all.iter()
        .enumerate()
        .find(|(place, one)| all.iter().take(*place).any(|before| before == *one))
        .map(|(_, one)| one)
}

/// When a delivery is acked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AckMode {
    /// After the handler has finished: nothing is lost, a crash runs the task again.
    #[default]
    AfterWork,
    /// Before the handler starts: a crash loses the task.
    OnReceipt,
}

impl fmt::Display for AckMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AfterWork => "after-work",
            Self::OnReceipt => "on-receipt",
        })
    }
}

/// Most unsettled deliveries a consumer holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Prefetch {
    /// As many as handlers may run at once: fair dispatch.
    #[default]
    Auto,
    /// This many.
    Fixed(NonZeroU16),
}

impl Prefetch {
    /// The number to ask the broker for.
    #[must_use]
    pub fn resolve(self, concurrency: NonZeroU16) -> NonZeroU16 {
        match self {
            Self::Auto => concurrency,
            Self::Fixed(count) => count,
        }
    }
}

impl std::str::FromStr for Prefetch {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        text.parse()
            .map(Self::Fixed)
            .map_err(|_| format!("`{text}` is not a prefetch: expected `auto` or 1 to 65535"))
    }
}

impl fmt::Display for Prefetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Fixed(count) => write!(f, "{count}"),
        }
    }
}

impl Serialize for Prefetch {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Prefetch {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Prefetch;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`auto` or a number from 1 to 65535")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Prefetch, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Prefetch, E> {
                number.to_string().parse().map_err(E::custom)
            }
            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Prefetch, E> {
                number.to_string().parse().map_err(E::custom)
            }
        }
        from.deserialize_any(Visitor)
    }
}

impl WorkerConfig {
    /// Every contradiction, as `(key, value, expectation)`.
    #[must_use]
    pub fn problems(&self) -> Vec<(&'static str, String, &'static str)> {
        let mut problems = Vec::new();
        if self.queues.is_empty() {
            problems.push(("worker.queues", "[]".to_owned(), "at least one queue"));
        }
        if let Some(queue) = first_twice(&self.queues) {
            problems.push(("worker.queues", queue.to_string(), "each queue once"));
        }
        if let Prefetch::Fixed(count) = self.prefetch
            && usize::from(count.get()) * self.queues.len().max(1)
                < usize::from(self.concurrency.get())
        {
            problems.push((
                "worker.prefetch",
                count.to_string(),
                "together, over all queues, at least worker.concurrency: else some handlers never run",
            ));
        }
        if self.timeout.is_zero() {
            problems.push(("worker.timeout", "0s".to_owned(), "more than 0s"));
        }
        if self.unknown == Unknown::RequeueLater && self.unknown_delay < UNKNOWN_DELAY_MIN {
            let shown = format!("{:?}", self.unknown_delay);
            problems.push(("worker.unknown_delay", shown, "at least 1s"));
        }
        problems.extend(handlers::problems(&self.handlers));
        problems
    }
}
