//! Mistakes of workers in plain AMQP.

use super::{Case, On, row};
use crate::{
    faults::{
        fleet::{Fleet, LIMIT, QUEUE, until, until_within},
        making::Making,
        rows::{CONCURRENCY, Fault, Row},
    },
    process::Result,
};
use pumasi_testkit::faults::{
    checker::Violation,
    ledger::{Nature, Target},
    plain::{Plain, WorkerBug},
};
use std::time::Duration;

pub(super) fn cases() -> Vec<Case> {
    use Violation::{ExtraRun, Hoarding, Idle, Lost, Overwritten, Survivor};
    use WorkerBug as Bug;
    vec![
        case(
            "an automatic acknowledgement loses what a killed worker had",
            lengthy(Bug::AutoAck),
            Lost,
        ),
        case(
            "an acknowledgement before the run loses what a killed worker ran",
            lengthy(Bug::AckFirst),
            Lost,
        ),
        case(
            "a copy that is published after the acknowledgement may be lost",
            Row {
                trouble: 8,
                ..killed(Bug::AckThenPublish)
            },
            Lost,
        ),
        case(
            "a failed task that is put back as it was runs again for no reason",
            killed(Bug::Requeue),
            ExtraRun,
        ),
        case(
            "dead letters for an exchange that is not there are lost",
            killed(Bug::DeadLettersToNowhere),
            Lost,
        ),
        case(
            "a program that a killed worker leaves behind runs on",
            lengthy(Bug::Orphans),
            Survivor,
        ),
        case(
            "a worker that does not finish what it runs makes others run it again",
            row("worker-term", plain(Bug::NoDrain)),
            ExtraRun,
        ),
        case(
            "a full queue that drops its oldest loses tasks",
            crammed(plain(Bug::DropHead)),
            Lost,
        ),
        case(
            "a worker that stood still replaces the record of another",
            row("worker-stop", plain(Bug::Unfenced)),
            Overwritten,
        ),
        case(
            "a worker that does not miss its consumer does nothing",
            vanishing(plain(Bug::EndIgnored)),
            Lost,
        ),
        Case {
            on: On::WholeNode,
            ..case(
                "a prefetch that is not set again lets a worker hoard",
                crowded(plain(Bug::PrefetchOnce)),
                Hoarding,
            )
        },
        Case {
            on: On::WholeNode,
            ..case(
                "a worker that publishes where it consumes stands still during an alarm",
                Row {
                    trouble: 8,
                    ..alarmed(plain(Bug::OneConnection))
                },
                Idle,
            )
        },
    ]
}

fn case(says: &'static str, row: Row, finds: Violation) -> Case {
    Case {
        says,
        on: On::Node,
        row,
        finds: Some(finds),
    }
}

fn plain(bug: WorkerBug) -> Plain {
    Plain {
        worker: Some(bug),
        ..Plain::default()
    }
}

/// A row whose workers are killed.
fn killed(bug: WorkerBug) -> Row {
    row("worker-kill", plain(bug))
}

/// The same, with tasks that run for seconds.
fn lengthy(bug: WorkerBug) -> Row {
    Row {
        work_ms: 4_000,
        burst: 5,
        tasks: 20,
        ..killed(bug)
    }
}

/// The same, with more tasks than the queue has room for.
pub(super) fn crammed(plain: Plain) -> Row {
    Row {
        burst: 60,
        ..row(
            "worker-kill",
            Plain {
                room: Some(20),
                ..plain
            },
        )
    }
}

/// A row in which more tasks wait than its workers may hold, after they lost their connections.
pub(super) fn crowded(plain: Plain) -> Row {
    Row {
        work_ms: 1_000,
        burst: 40,
        pause_ms: 1_000,
        held_max: Some(CONCURRENCY as u64),
        ..row("close", plain)
    }
}

/// A row in which tasks wait during an alarm: more are submitted than are done.
pub(super) fn alarmed(plain: Plain) -> Row {
    Row {
        work_ms: 1_500,
        burst: 60,
        pause_ms: 3_000,
        tasks: 120,
        ..row("memory-alarm", plain)
    }
}

/// A row whose queue is deleted between two bursts, when it is empty.
pub(super) fn vanishing(plain: Plain) -> Row {
    Row {
        tasks: 90,
        times: 1,
        work_ms: 100,
        pause_ms: 4_000,
        faults: &[Fault {
            name: "queue-deleted",
            nature: Nature::Severs,
            make: delete,
        }],
        ..row("worker-kill", plain)
    }
}

/// How long a worker may take to consume again; a longer time is what the checker finds.
const CONSUMING: Duration = Duration::from_secs(6);

fn delete(making: &Making<'_>, fleet: &mut Fleet<'_>) -> Result {
    let count = |fleet: &Fleet<'_>, word| fleet.ledger_text().matches(word).count();
    let before = count(fleet, "\"accepted\"");
    until("a burst", || {
        let accepted = count(fleet, "\"accepted\"");
        accepted > before && making.stage.left(fleet) == Ok(0)
    })?;
    let (node, vhost) = (making.stage.node()?, &making.stage.vhost);
    let mark = making.begin(fleet, Target::All)?;
    let said = node.ctl(&["delete_queue", "-p", vhost, QUEUE]);
    let starts = count(fleet, "\"start\"");
    // Only to have the fault last until then.
    let _ = until_within(LIMIT.min(CONSUMING), "a run", || {
        count(fleet, "\"start\"") > starts
    });
    making.healed(fleet, mark)?;
    making.bit(fleet, mark, said)
}
