//! The checker bites: mistakes that programs make, in real processes under real faults.

use super::{
    Place, build,
    play::play,
    rows::{self, Row},
};
use pumasi_testkit::{
    faults::{
        checker::{Report, Verdict, Violation},
        orders::Bug,
    },
    rabbitmq::{RabbitMq, Version},
};

/// Any; the moments do not have to be lucky.
const SEED: u64 = 7;

fn row(name: &str) -> Row {
    let row = rows::named(name).unwrap();
    Row {
        tasks: row.tasks / 2,
        times: row.times.min(4),
        ..row
    }
}

fn played(place: &Place, row: &Row) -> Report {
    let report = play(&build().unwrap(), place, row, SEED).unwrap();
    println!("{:?}", report.violations);
    report
}

/// That the embedded broker shows the mistake.
fn on_a_file(row: &Row, expected: Violation) {
    let report = played(&Place::Embedded, row);
    assert_eq!(report.verdict(), Verdict::Red, "{report:?}");
    assert!(report.count(expected) > 0, "{report:?}");
    assert!(report.timelines.contains(&format!("{expected:?}: t")));
}

#[test]
fn a_worker_that_acknowledges_first_loses_tasks() {
    let row = Row {
        worker_arguments: &["--ack", "on-receipt"],
        ..row("worker-kill")
    };
    on_a_file(&row, Violation::Lost);
}

#[test]
fn a_producer_that_does_not_wait_for_the_confirm_loses_tasks() {
    let row = Row {
        bug: Some(Bug::NoConfirm),
        ..row("producer-kill")
    };
    on_a_file(&row, Violation::Lost);
}

#[test]
fn a_new_id_for_a_repeated_task_is_a_task_that_nobody_submitted() {
    let row = Row {
        bug: Some(Bug::NewId),
        ..row("producer-kill")
    };
    on_a_file(&row, Violation::Phantom);
}

#[test]
fn what_producers_must_not_make_of_an_answer_is_found() {
    if let Err(missing) = Version::V3_10.available() {
        println!("left out: {missing}");
        return;
    }
    let node = Place::RabbitMq(Box::new(RabbitMq::start(Version::V3_10)));
    for (name, bug, expected) in [
        ("queue-full", Bug::RefusedIsAccepted, Violation::Lost),
        (
            "memory-alarm",
            Bug::UnknownIsRefused,
            Violation::FalseFailure,
        ),
    ] {
        let row = Row {
            bug: Some(bug),
            ..row(name)
        };
        let report = played(&node, &row);
        assert_eq!(report.verdict(), Verdict::Red, "{name}: {report:?}");
        assert!(report.count(expected) > 0, "{name}: {report:?}");
    }
}

#[test]
fn a_row_without_a_mistake_is_green() {
    let report = played(&Place::Embedded, &row("all-kill"));
    assert_eq!(report.verdict(), Verdict::Green, "{report:?}");
}
