//! One measurement per process. `cargo xtask bench` starts the programs in turn and compares.

pub mod usage;

use crate::percentile::percentile;
use serde::{Deserialize, Serialize};
use std::{
    str::FromStr,
    time::{Duration, Instant},
};
use usage::Usage;

/// The tasks are bytes that nobody reads.
const FILLER: u8 = b'x';

/// What a bench program is to do, from its arguments.
#[derive(Clone, Debug)]
pub struct Order {
    /// `submit-many`, `drain` …
    pub work: String,
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
    /// Reads `WORK AT COUNT BYTES WINDOW`; `None` when the program was started by hand.
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
        let [work, at, count, bytes, window] = given.try_into().ok()?;
        Some(Self {
            work,
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

fn number<T: FromStr>(text: &str) -> T {
    text.parse()
        .unwrap_or_else(|_| panic!("`{text}` is not a number here"))
}

/// What one measurement gave; one JSON object on standard output. The C client prints the same.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Measured {
    /// How many tasks.
    pub tasks: usize,
    /// How long they took.
    pub seconds: f64,
    /// The CPU time of the client meanwhile, all threads and the programs it waited for.
    pub cpu_seconds: f64,
    /// Context switches of the client meanwhile, voluntary and not.
    pub switches: u64,
    /// The most memory the client ever held, in KiB.
    pub peak_rss_kib: u64,
    /// How long single tasks took, where that is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
}

impl Measured {
    /// Prints it for whoever started this program.
    ///
    /// # Panics
    /// When standard output is closed.
    pub fn print(&self) {
        println!("{}", serde_json::to_string(self).unwrap());
    }
}

/// How long single tasks took, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Half of them took no longer.
    pub p50_us: f64,
    /// 99 of 100 took no longer.
    pub p99_us: f64,
}

impl Latency {
    /// Of these times; `None` where there are none.
    #[must_use]
    pub fn of(mut times: Vec<Duration>) -> Option<Self> {
        times.sort_unstable();
        let within = |percent| Some(percentile(&times, percent)?.as_secs_f64() * 1e6);
        Some(Self {
            p50_us: within(50)?,
            p99_us: within(99)?,
        })
    }
}

/// Runs while the work is done by this process.
#[derive(Debug)]
pub struct Watch {
    begun: Instant,
    before: Usage,
}

impl Watch {
    /// Starts it.
    #[must_use]
    pub fn start() -> Self {
        let before = Usage::of_self();
        Self {
            begun: Instant::now(),
            before,
        }
    }

    /// Stops it and gives what it shows.
    #[must_use]
    pub fn stop(self, tasks: usize) -> Measured {
        let seconds = self.begun.elapsed().as_secs_f64();
        let cost = Usage::of_self().since(self.before);
        cost.measured(tasks, seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_of_the_sorted_times() {
        let times = (1..=200).rev().map(Duration::from_micros).collect();
        let latency = Latency::of(times).unwrap();
        assert!((latency.p50_us - 100.0).abs() < 1e-6, "{latency:?}");
        assert!((latency.p99_us - 198.0).abs() < 1e-6, "{latency:?}");
        assert_eq!(Latency::of(Vec::new()), None);
    }

    #[test]
    fn a_watch_sees_what_this_process_spends() {
        let watch = Watch::start();
        let begun = Usage::of_self();
        while Usage::of_self().since(begun).cpu_seconds < 0.02 {}
        let measured = watch.stop(7);
        assert_eq!(measured.tasks, 7);
        assert!(measured.cpu_seconds >= 0.02, "{measured:?}");
        assert!(measured.seconds > 0.0 && measured.peak_rss_kib > 0);
    }
}
