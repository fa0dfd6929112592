//! Every fault that leaves the queue standing, in any order: the row that a soak repeats.

use super::{FILE, Fault, Handlers, NODES, Proxied, Row, network, node, processes};

/// The rows' name.
pub(super) const NAME: &str = "mix";

/// What can be done to workers and producers of any broker.
const ON_A_FILE: &[Fault] = &[
    processes::WORKER_KILL,
    processes::WORKER_TERM,
    processes::WORKER_TERM_TWICE,
    processes::PRODUCER_KILL,
    processes::ALL_KILL,
];

/// The same, and what a network and a node do. The queue is not filled: that takes tasks away from
/// the load for seconds, and has a row of its own.
const ON_A_NODE: &[Fault] = &[
    processes::WORKER_KILL,
    processes::WORKER_KILL,
    processes::WORKER_TERM,
    processes::WORKER_TERM_TWICE,
    processes::WORKER_STOP,
    processes::PRODUCER_KILL,
    processes::PRODUCER_KILL,
    network::RESET,
    network::RESET_AT_BYTE,
    network::RESET_AT_BYTE,
    network::HALF_CLOSE,
    node::CLOSE,
    node::CLOSE_ONE,
    node::BROKER_KILL,
];

/// The rows of everything.
pub(super) fn rows() -> Vec<Row> {
    let row = |faults, on| Row {
        on,
        tasks: 5_000,
        times: 15,
        work_ms: 20,
        burst: 150,
        pause_ms: 250,
        handlers: Handlers::Functions,
        proxied: if on == NODES {
            Proxied::Everybody
        } else {
            Proxied::Nobody
        },
        ..Row::of(NAME, "all of this, in any order", faults)
    };
    vec![row(ON_A_FILE, FILE), row(ON_A_NODE, NODES)]
}
