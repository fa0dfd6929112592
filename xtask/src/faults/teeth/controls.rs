//! The same rows and the same clients without a mistake.

use super::{
    Case, On, row,
    workers::{alarmed, crammed, crowded, vanishing},
};
use crate::faults::rows::Row;
use pumasi_testkit::faults::plain::Plain;

pub(super) fn cases() -> Vec<Case> {
    let plain = Plain::default();
    let astray = Plain {
        stray: Some(20),
        ..plain
    };
    let case = |says, on, row: Row| Case {
        says,
        on,
        row,
        finds: None,
    };
    vec![
        case(
            "careful clients survive kills and tasks that have no queue to go to",
            On::Node,
            row("worker-kill", astray),
        ),
        case(
            "careful clients survive kills while the queue is full",
            On::Node,
            crammed(plain),
        ),
        case(
            "careful clients survive full queues",
            On::Node,
            row("queue-full", plain),
        ),
        case(
            "careful workers finish what they run",
            On::Node,
            row("worker-term", plain),
        ),
        case(
            "careful workers leave the record of another as it is",
            On::Node,
            row("worker-stop", plain),
        ),
        case(
            "careful workers consume again from a queue that was deleted",
            On::Node,
            vanishing(plain),
        ),
        case(
            "careful workers hold what they may",
            On::WholeNode,
            crowded(plain),
        ),
        case(
            "careful clients survive alarms",
            On::WholeNode,
            alarmed(plain),
        ),
    ]
}
