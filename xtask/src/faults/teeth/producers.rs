//! Mistakes of producers in plain AMQP.

use super::{Case, On, row};
use pumasi_testkit::faults::{
    checker::Violation,
    plain::{Plain, ProducerBug},
};

pub(super) fn cases() -> Vec<Case> {
    use ProducerBug as Bug;
    use Violation::{FalseFailure, Lost, Phantom};
    vec![
        case(
            "what is only written to the socket may be lost",
            "queue-full",
            Bug::NoConfirms,
            Lost,
        ),
        case(
            "a negative confirm is no acceptance",
            "queue-full",
            Bug::NackIsAccepted,
            Lost,
        ),
        case(
            "what has no queue to go to and is not mandatory is lost",
            "worker-kill",
            Bug::NotMandatory,
            Lost,
        ),
        case(
            "a confirm that carries a returned task is no acceptance",
            "worker-kill",
            Bug::IsAckOnly,
            Lost,
        ),
        case(
            "a missing answer is no refusal",
            "memory-alarm",
            Bug::UnknownIsRefused,
            FalseFailure,
        ),
        case(
            "what is repeated keeps its id",
            "memory-alarm",
            Bug::NewId,
            Phantom,
        ),
    ]
}

/// Some tasks have no queue to go to.
fn case(says: &'static str, name: &str, bug: ProducerBug, finds: Violation) -> Case {
    let plain = Plain {
        producer: Some(bug),
        stray: Some(20),
        ..Plain::default()
    };
    Case {
        says,
        on: match name {
            "memory-alarm" => On::WholeNode,
            _ => On::Node,
        },
        row: row(name, plain),
        finds: Some(finds),
    }
}
