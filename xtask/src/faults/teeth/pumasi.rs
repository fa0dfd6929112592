//! Mistakes that Pumasi's own clients are told to make.

use super::{Case, On};
use crate::faults::{pairs::Pair, rows::Row};
use pumasi_testkit::faults::{checker::Violation, orders::Bug, plain::Plain};

fn row(name: &str, bug: Option<Bug>) -> Row {
    Row {
        bug,
        pair: Pair::Pumasi,
        ..super::row(name, Plain::default())
    }
}

pub(super) fn cases() -> Vec<Case> {
    let case = |on, says, row, finds| Case {
        says,
        on,
        row,
        finds: Some(finds),
    };
    vec![
        case(
            On::File,
            "a worker that acknowledges on receipt loses tasks",
            Row {
                worker_arguments: &["--ack", "on-receipt"],
                ..row("worker-kill", None)
            },
            Violation::Lost,
        ),
        case(
            On::File,
            "a producer that does not wait for the confirm loses tasks",
            row("producer-kill", Some(Bug::NoConfirm)),
            Violation::Lost,
        ),
        case(
            On::File,
            "a new id for a repeated task is a task that nobody submitted",
            row("producer-kill", Some(Bug::NewId)),
            Violation::Phantom,
        ),
        case(
            On::Node,
            "a refusal that is taken for an acceptance loses tasks",
            row("queue-full", Some(Bug::RefusedIsAccepted)),
            Violation::Lost,
        ),
        case(
            On::WholeNode,
            "a missing answer that is taken for a refusal is a false failure",
            row("memory-alarm", Some(Bug::UnknownIsRefused)),
            Violation::FalseFailure,
        ),
        Case {
            says: "a row of Pumasi without a mistake is green",
            on: On::File,
            row: row("all-kill", None),
            finds: None,
        },
    ]
}
