//! The rows of the matrix: which fault, on which broker, how much of it.

use super::Options;
use pumasi_testkit::{
    faults::{checker::Plan, ledger::Kind, orders::Bug},
    rabbitmq::Version,
};

/// Workers at once.
pub(super) const WORKERS: usize = 3;
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
}

impl Broker {
    pub(super) const ALL: [Self; 3] = [Self::Embedded, Self::RabbitMq3, Self::RabbitMq4];

    pub(super) fn version(self) -> Option<Version> {
        match self {
            Self::Embedded => None,
            Self::RabbitMq3 => Some(Version::V3_10),
            Self::RabbitMq4 => Some(Version::V4_3),
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::RabbitMq3 => "RabbitMQ 3.10",
            Self::RabbitMq4 => "RabbitMQ 4.3",
        }
    }
}

/// What is hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Victim {
    Worker,
    Producer,
    Everyone,
}

/// One row.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// Its name at the command line.
    pub(super) name: &'static str,
    /// What it is in a table.
    pub(super) title: &'static str,
    pub(super) kind: Kind,
    pub(super) victim: Victim,
    pub(super) on: &'static [Broker],
    /// Fewest tasks, and faults.
    pub(super) tasks: u32,
    pub(super) faults: u32,
    /// Longest work of a task, in milliseconds.
    pub(super) work_ms: u64,
    /// Tasks in a burst, and milliseconds from one to the next.
    pub(super) burst: u32,
    pub(super) pause_ms: u64,
    /// What the producer does wrong on purpose.
    pub(super) bug: Option<Bug>,
    /// What the workers are told besides.
    pub(super) worker_arguments: &'static [&'static str],
}

const BOTH: &[Broker] = &Broker::ALL;
const NODES: &[Broker] = &[Broker::RabbitMq3, Broker::RabbitMq4];
const FILE: &[Broker] = &[Broker::Embedded];

impl Row {
    const fn of(name: &'static str, title: &'static str, kind: Kind, victim: Victim) -> Self {
        Self {
            name,
            title,
            kind,
            victim,
            on: BOTH,
            tasks: 300,
            faults: 5,
            work_ms: 200,
            burst: 30,
            pause_ms: 300,
            bug: None,
            worker_arguments: &[],
        }
    }

    /// What the checker is to expect.
    pub(super) fn plan(&self) -> Plan {
        Plan {
            tasks: self.tasks as usize,
            faults: self.faults as usize,
            concurrency: CONCURRENCY,
            workers: WORKERS,
            window: self.burst as usize,
        }
    }
}

/// Every row; the one that kills the node comes last, since rows share it.
fn all() -> Vec<Row> {
    use Victim::{Everyone, Producer, Worker};
    vec![
        Row::of("worker-kill", "kill -9 of a worker", Kind::Kill, Worker),
        Row::of(
            "worker-term",
            "SIGTERM to a worker",
            Kind::Terminate,
            Worker,
        ),
        Row::of(
            "worker-term-twice",
            "SIGTERM twice to a worker",
            Kind::TerminateTwice,
            Worker,
        ),
        Row {
            faults: 10,
            work_ms: 20,
            burst: 40,
            ..Row::of(
                "producer-kill",
                "kill -9 of the producer in mid-burst",
                Kind::Kill,
                Producer,
            )
        },
        Row {
            on: FILE,
            ..Row::of("all-kill", "kill -9 of all processes", Kind::Kill, Everyone)
        },
        Row {
            on: NODES,
            ..Row::of(
                "close",
                "the broker closes all connections",
                Kind::Close,
                Everyone,
            )
        },
        Row {
            on: NODES,
            faults: 10,
            ..Row::of("reset", "all connections are reset", Kind::Reset, Everyone)
        },
        Row {
            on: NODES,
            faults: 3,
            ..Row::of(
                "worker-stop",
                "SIGSTOP of a worker beyond its heartbeat, SIGCONT",
                Kind::Stop,
                Worker,
            )
        },
        Row {
            on: NODES,
            faults: 1,
            burst: 60,
            ..Row::of(
                "queue-full",
                "the queue is full (reject-publish)",
                Kind::Full,
                Everyone,
            )
        },
        Row {
            on: NODES,
            faults: 1,
            ..Row::of("memory-alarm", "memory alarm", Kind::Alarm, Everyone)
        },
        Row {
            on: NODES,
            faults: 1,
            ..Row::of(
                "broker-kill",
                "kill -9 of the broker, and its restart",
                Kind::BrokerKill,
                Everyone,
            )
        },
    ]
}

/// The row of a name.
#[cfg(test)]
pub(super) fn named(name: &str) -> Option<Row> {
    all().into_iter().find(|row| row.name == name)
}

/// The rows that are wanted on a broker.
pub(super) fn wanted(broker: Broker, options: &Options) -> Vec<Row> {
    let name = options.row.as_deref();
    let mut rows = all();
    rows.retain(|row| row.on.contains(&broker) && name.is_none_or(|name| row.name == name));
    for row in &mut rows {
        row.tasks *= options.profile.factor();
        row.faults *= options.profile.factor();
    }
    rows
}
