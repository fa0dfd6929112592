//! What is measured, beside what, and what is aimed at.

use super::figures::Measure;
use serde::{Deserialize, Serialize};

/// A payload that says something.
const BYTES: usize = 256;

/// Something to do, by us and by others.
#[derive(Clone, Debug)]
pub(super) struct Work {
    /// For `--only`.
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) place: Place,
    /// Whether the tasks are in the queue before it begins.
    pub(super) is_full: bool,
    /// The tasks by those of the command line: multiplied, divided.
    share: (usize, usize),
    pub(super) bytes: usize,
    pub(super) window: u16,
    /// Ours first.
    pub(super) sides: Vec<Side>,
    pub(super) goals: Vec<Goal>,
}

/// Where the tasks go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    RabbitMq,
    Embedded,
}

impl Place {
    /// For a person.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::RabbitMq => "RabbitMQ 4.3, quorum queue",
            Self::Embedded => "embedded, one file",
        }
    }
}

/// Who does a work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Side {
    pub(super) name: &'static str,
    pub(super) program: Program,
    /// As the program calls it.
    pub(super) work: &'static str,
    /// It does this part of the tasks only.
    pub(super) part: usize,
    /// Whether a child that is not the client takes part, so that system calls are not its own.
    pub(super) has_load_generator: bool,
}

/// Which program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Program {
    /// The example `bench` of this package: the product, and the plain lapin loops.
    Pumasi,
    /// `bench/c`.
    C,
    /// The bench of the embedded broker: SQLite alone.
    Sqlite,
}

/// What a ratio is to reach.
#[derive(Clone, Copy, Debug)]
pub(super) struct Goal {
    /// The name of the other side.
    pub(super) against: &'static str,
    pub(super) measure: Measure,
    pub(super) bound: Bound,
}

/// At least, or at most.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Bound {
    /// Whether a ratio is within it.
    pub(super) fn is_met(self, ratio: f64) -> bool {
        match self {
            Self::AtLeast(least) => ratio >= least,
            Self::AtMost(most) => ratio <= most,
        }
    }

    /// The ratio at its edge.
    pub(super) fn edge(self) -> f64 {
        let (Self::AtLeast(edge) | Self::AtMost(edge)) = self;
        edge
    }
}

impl std::fmt::Display for Bound {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtLeast(least) => write!(out, "≥ {least}"),
            Self::AtMost(most) => write!(out, "≤ {most}"),
        }
    }
}

const C: &str = "C";
const C_EACH: &str = "C, acking each";
const C_MULTIPLE: &str = "C, acking multiple";
const LAPIN: &str = "lapin, a plain loop";
const SQLITE: &str = "SQLite alone";
const TENTH: &str = "itself, a tenth of the tasks";
const HTTP: &str = "its HTTP server, answering at once";
const SPAWN: &str = "C, posix_spawn and wait";

fn side(name: &'static str, program: Program, work: &'static str) -> Side {
    Side {
        name,
        program,
        work,
        part: 1,
        has_load_generator: false,
    }
}

fn ours(work: &'static str) -> Side {
    side("Pumasi", Program::Pumasi, work)
}

fn c(work: &'static str) -> Side {
    side(C, Program::C, work)
}

impl Work {
    /// On RabbitMQ, into an empty queue, beside C.
    fn new(name: &'static str, title: &'static str, window: u16, works: [&'static str; 2]) -> Self {
        let [ours_work, c_work] = works;
        Self {
            name,
            title,
            place: Place::RabbitMq,
            is_full: false,
            share: (1, 1),
            bytes: BYTES,
            window,
            sides: vec![ours(ours_work), c(c_work)],
            goals: Vec::new(),
        }
    }

    fn goal(mut self, against: &'static str, measure: Measure, bound: Bound) -> Self {
        self.goals.push(Goal {
            against,
            measure,
            bound,
        });
        self
    }

    /// How many tasks it takes.
    pub(super) fn count(&self, count: usize) -> usize {
        let (multiplied, divided) = self.share;
        (count * multiplied / divided).max(1)
    }

    pub(super) fn needs_rabbitmq(&self) -> bool {
        self.place == Place::RabbitMq
    }
}

/// All of them, in the order of the page.
pub(super) fn works() -> Vec<Work> {
    [submits(), payloads(), drains(), services(), embedded()].concat()
}

/// One task, for the time from a program's start to its end.
pub(super) fn start() -> Work {
    Work {
        is_full: true,
        ..Work::new("start", "start, one task, end", 256, ["drain", "consume"])
    }
}

/// Waking a worker of another process that has nothing to do; ours alone.
pub(super) fn wake() -> Work {
    let mut work = Work::new("wake", "wake an idle worker", 256, ["wake", "wake"]);
    work.place = Place::Embedded;
    work.sides.truncate(1);
    work
}

fn submits() -> Vec<Work> {
    use Bound::{AtLeast, AtMost};
    use Measure::{Cpu, P50, Rate};
    let many = |name, window| {
        let title = "submit_many, confirmed";
        let mut work = Work::new(name, title, window, ["submit-many", "publish"])
            .goal(C, Rate, AtLeast(0.97))
            .goal(C, Cpu, AtMost(1.2));
        work.sides
            .push(side(LAPIN, Program::Pumasi, "plain-publish"));
        work
    };
    let callers = "256 callers of submit().await";
    let one = "one caller, one task at a time";
    vec![
        many("submit-256", 256),
        many("submit-1000", 1_000),
        Work::new(
            "submit-callers",
            callers,
            256,
            ["submit-callers", "publish"],
        )
        .goal(C, Rate, AtLeast(0.9))
        .goal(C, Cpu, AtMost(1.5)),
        Work {
            share: (1, 25),
            ..Work::new("submit-one", one, 1, ["submit-one", "publish-one"])
        }
        .goal(C, P50, AtMost(1.1)),
        file(),
    ]
}

fn file() -> Work {
    let title = "pumasi submit --file";
    let mut work = Work::new("submit-file", title, 1_000, ["submit-file", "publish"])
        .goal(C, Measure::Rate, Bound::AtLeast(0.9))
        .goal(TENTH, Measure::Memory, Bound::AtMost(1.1));
    work.share = (20, 1);
    work.sides.push(Side {
        part: 10,
        ..side(TENTH, Program::Pumasi, "submit-file")
    });
    work
}

fn payloads() -> Vec<Work> {
    let payload = |name, works, is_full, bytes, share| {
        let title = "payloads of other sizes";
        Work {
            is_full,
            bytes,
            share,
            ..Work::new(name, title, 256, works)
        }
        .goal(C, Measure::Rate, Bound::AtLeast(0.9))
    };
    let (submit, drain) = (["submit-many", "publish"], ["drain", "consume"]);
    vec![
        payload("submit-64B", submit, false, 64, (1, 1)),
        payload("submit-4KiB", submit, false, 4 << 10, (1, 2)),
        payload("submit-64KiB", submit, false, 64 << 10, (1, 25)),
        payload("drain-64B", drain, true, 64, (1, 1)),
        payload("drain-4KiB", drain, true, 4 << 10, (1, 2)),
        payload("drain-64KiB", drain, true, 64 << 10, (1, 25)),
    ]
}

fn drains() -> Vec<Work> {
    use Bound::{AtLeast, AtMost};
    use Measure::{Cpu, Rate};
    let drain = |name, window| {
        let title = "drain, no-op handler, acked after the work";
        let mut work = Work::new(name, title, window, ["drain", "consume"])
            .goal(C_EACH, Rate, AtLeast(1.2))
            .goal(C_MULTIPLE, Rate, AtLeast(0.85))
            .goal(C_MULTIPLE, Cpu, AtMost(2.0));
        work.sides = vec![
            ours("drain"),
            side(C_EACH, Program::C, "consume"),
            side(C_MULTIPLE, Program::C, "consume-multiple"),
            side(LAPIN, Program::Pumasi, "plain-consume"),
        ];
        work.is_full = true;
        work
    };
    let both = "submit and drain at once";
    vec![
        drain("drain-256", 256),
        drain("drain-1000", 1_000),
        Work::new("both", both, 256, ["both", "both"]).goal(C, Rate, AtLeast(0.95)),
    ]
}

fn services() -> Vec<Work> {
    use Bound::{AtLeast, AtMost};
    use Measure::{P50, P99, Rate};
    let mut gateway = Work::new(
        "gateway",
        "POST to the gateway, 64 connections that are kept",
        256,
        ["gateway", "publish"],
    )
    .goal(C, Rate, AtLeast(0.5));
    gateway.sides.push(side(HTTP, Program::Pumasi, "http"));
    for side in &mut gateway.sides {
        side.has_load_generator = side.program == Program::Pumasi;
    }
    let queue_time = "200 tasks a second: from submit to the start of the handler";
    let queue_time = Work {
        share: (1, 50),
        ..Work::new("queue-time", queue_time, 256, ["queue-time", "queue-time"])
    };
    let mut exec = Work {
        is_full: true,
        share: (1, 25),
        ..Work::new(
            "exec",
            "exec handler `true`, 4 at once",
            4,
            ["drain-exec", "spawn"],
        )
    };
    exec.sides = vec![ours("drain-exec"), side(SPAWN, Program::C, "spawn")];
    vec![
        gateway,
        queue_time
            .goal(C, P50, AtMost(1.3))
            .goal(C, P99, AtMost(1.5)),
        exec.goal(SPAWN, Rate, AtLeast(0.8)),
    ]
}

fn embedded() -> Vec<Work> {
    let work = |name, title, window, works: [&'static str; 2], least| {
        let [ours_work, sqlite_work] = works;
        Work {
            place: Place::Embedded,
            sides: vec![ours(ours_work), side(SQLITE, Program::Sqlite, sqlite_work)],
            ..Work::new(name, title, window, works)
        }
        .goal(SQLITE, Measure::Rate, Bound::AtLeast(least))
    };
    let many = "submit_many, committed together";
    let drain = "drain, no-op handler, claimed and removed together";
    let one = "one caller, a commit for each task";
    vec![
        Work {
            share: (4, 1),
            ..work(
                "embedded-submit",
                many,
                1_000,
                ["submit-many", "publish"],
                0.85,
            )
        },
        Work {
            share: (4, 1),
            is_full: true,
            ..work("embedded-drain", drain, 1_000, ["drain", "consume"], 0.85)
        },
        Work {
            share: (1, 10),
            ..work("embedded-one", one, 1, ["submit-one", "publish-one"], 0.9)
        },
    ]
}
