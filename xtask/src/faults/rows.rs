//! The rows of the matrix: which faults, on which broker, how much of it. Each family of rows has
//! the code that makes its faults beside it.

mod cluster;
mod file;
mod mix;
mod network;
mod node;
mod processes;

use super::{Options, Profile, fleet::Fleet, making::Making, pairs::Pair};
use crate::process::Result;
use pumasi_testkit::{
    faults::{checker::Plan, ledger::Nature, orders::Bug},
    rabbitmq::Version,
};
use std::time::Duration;

/// Workers at once, where a row does not say otherwise.
const WORKERS: usize = 3;
/// Tasks that one worker runs at once.
pub(super) const CONCURRENCY: usize = 4;

/// Where a row runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Broker {
    /// One SQLite file
    Embedded,
    /// A private node of RabbitMQ 3.10
    #[value(name = "3.10")]
    RabbitMq3,
    /// A private node of RabbitMQ 4.3
    #[value(name = "4.3")]
    RabbitMq4,
    /// Three nodes of RabbitMQ 4.3
    Cluster,
}

impl Broker {
    pub(super) const ALL: [Self; 4] = [
        Self::Embedded,
        Self::RabbitMq3,
        Self::RabbitMq4,
        Self::Cluster,
    ];

    pub(super) fn version(self) -> Option<Version> {
        match self {
            Self::Embedded => None,
            Self::RabbitMq3 => Some(Version::V3_10),
            Self::RabbitMq4 | Self::Cluster => Some(Version::V4_3),
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::RabbitMq3 => "RabbitMQ 3.10",
            Self::RabbitMq4 => "RabbitMQ 4.3",
            Self::Cluster => "three nodes of RabbitMQ 4.3",
        }
    }
}

/// Every broker of one process or none.
const ALL: &[Broker] = &[Broker::Embedded, Broker::RabbitMq3, Broker::RabbitMq4];
/// The brokers that are a process of their own.
const NODES: &[Broker] = &[Broker::RabbitMq3, Broker::RabbitMq4];
/// The broker that is a file.
const FILE: &[Broker] = &[Broker::Embedded];

/// Something that is broken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    /// What the ledger calls it.
    pub(super) name: &'static str,
    /// What it does to the runs of whom it hits.
    pub(super) nature: Nature,
    /// Makes it once or a few times, and notes each with its begin, its end and the proof that it
    /// took hold.
    pub(super) make: fn(&Making<'_>, &mut Fleet<'_>) -> Result,
}

impl Fault {
    const fn of(
        name: &'static str,
        nature: Nature,
        make: fn(&Making<'_>, &mut Fleet<'_>) -> Result,
    ) -> Self {
        Self { name, nature, make }
    }
}

/// Where the handlers of a row are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handlers {
    /// A program per task, started by `pumasi worker`.
    Programs,
    /// Functions in a worker that is written with the library.
    Functions,
}

/// Who reaches the node through a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proxied {
    Nobody,
    Everybody,
    /// Only the first worker that is started.
    FirstWorker,
}

/// One row.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// Its name at the command line.
    pub(super) name: &'static str,
    /// What it is in a table.
    pub(super) title: &'static str,
    /// What is broken; one of them each time.
    pub(super) faults: &'static [Fault],
    /// How often something is broken, at least.
    pub(super) times: u32,
    pub(super) on: &'static [Broker],
    /// Fewest tasks.
    pub(super) tasks: u32,
    /// Longest work of a task, in milliseconds.
    pub(super) work_ms: u64,
    /// Tasks in a burst, and milliseconds from one to the next.
    pub(super) burst: u32,
    pub(super) pause_ms: u64,
    /// Shortest and longest pause before a fault, in milliseconds.
    pub(super) rest_ms: (u64, u64),
    /// One task in so many fails once, and as many are rejected; none for 0.
    pub(super) trouble: u32,
    /// Whose producer and workers they are.
    pub(super) pair: Pair,
    /// Most deliveries that a worker may hold; the node is asked after the faults.
    pub(super) held_max: Option<u64>,
    /// Where the handlers are.
    pub(super) handlers: Handlers,
    /// What the handler's program is told besides.
    pub(super) handler_arguments: &'static [&'static str],
    /// How many workers there are at once.
    pub(super) workers: usize,
    /// The size of a disk of its own for the broker's data, in MiB.
    pub(super) disk: Option<u64>,
    /// Says what is missing on this machine for the row.
    pub(super) needs: fn() -> Result,
    /// What workers and producer find in their environment besides. They run in the row's folder.
    pub(super) environment: &'static [(&'static str, &'static str)],
    /// Who reaches the node through a proxy.
    pub(super) proxied: Proxied,
    /// How long the producer waits for an answer, in milliseconds.
    pub(super) deadline_ms: u64,
    /// Whether it takes minutes: left out of the `ci` profile unless it is asked for.
    pub(super) is_long: bool,
    /// Whether the login is a user of its own whose password is in a file.
    pub(super) has_password_file: bool,
    /// Longest recovery that is aimed at, for 99 of 100 faults.
    pub(super) goal: Option<Duration>,
    /// What the producer does wrong on purpose.
    pub(super) bug: Option<Bug>,
    /// What the workers are told besides.
    pub(super) worker_arguments: &'static [&'static str],
}

impl Row {
    const fn of(name: &'static str, title: &'static str, faults: &'static [Fault]) -> Self {
        Self {
            name,
            title,
            faults,
            times: 5,
            on: ALL,
            tasks: 300,
            work_ms: 200,
            burst: 30,
            pause_ms: 300,
            rest_ms: (300, 900),
            trouble: 50,
            pair: Pair::Pumasi,
            held_max: None,
            handlers: Handlers::Programs,
            handler_arguments: &[],
            workers: WORKERS,
            disk: None,
            needs: || Ok(()),
            environment: &[],
            proxied: Proxied::Nobody,
            deadline_ms: 5_000,
            is_long: false,
            has_password_file: false,
            goal: None,
            bug: None,
            worker_arguments: &[],
        }
    }

    /// What the checker is to expect.
    pub(super) fn plan(&self) -> Plan {
        Plan {
            tasks: self.tasks as usize,
            faults: self.times as usize,
            concurrency: CONCURRENCY,
            workers: self.workers,
            window: self.burst as usize,
        }
    }
}

/// What CI runs: each kind of fault on one broker at least, in minutes.
const IN_CI: [(Broker, &[&str]); 3] = [
    (
        Broker::Embedded,
        &["worker-kill", "all-kill", "disk-full", "power", "mix"],
    ),
    (
        Broker::RabbitMq3,
        &[
            "producer-kill",
            "close",
            "reset-at-byte",
            "close-one",
            "broker-kill",
        ],
    ),
    (
        Broker::RabbitMq4,
        &[
            "worker-term",
            "worker-stop",
            "cut-in-confirm",
            "black-hole-in",
            "memory-alarm",
            "mix",
        ],
    ),
];

/// Whether CI runs a row on a broker.
fn is_in_ci(broker: Broker, row: &Row) -> bool {
    let its = |(on, names): &(Broker, &[&str])| *on == broker && names.contains(&row.name);
    IN_CI.iter().any(its)
}

/// Every row; those that end the node come last, since rows share it.
fn all() -> Vec<Row> {
    let mut rows = processes::rows();
    rows.extend(file::rows());
    rows.extend(network::rows());
    rows.extend(node::rows());
    rows.extend(cluster::rows());
    rows.extend(mix::rows());
    rows
}

/// The row of a name.
pub(super) fn named(name: &str) -> Option<Row> {
    all().into_iter().find(|row| row.name == name)
}

/// The rows that are wanted on a broker.
pub(super) fn wanted(broker: Broker, options: &Options) -> Vec<Row> {
    let name = match (options.row.as_deref(), options.profile) {
        (None, Profile::Soak) => Some(mix::NAME),
        (name, _) => name,
    };
    let is_wanted = |row: &Row| match name {
        Some(name) => row.name == name,
        None => options.profile != Profile::Ci || is_in_ci(broker, row),
    };
    let mut rows = all();
    rows.retain(|row| row.on.contains(&broker) && is_wanted(row));
    // What takes minutes once is not done four times.
    for row in rows.iter_mut().filter(|row| !row.is_long) {
        let factor = options.profile.factor();
        (row.tasks, row.times) = (row.tasks * factor, row.times * factor);
    }
    rows
}
