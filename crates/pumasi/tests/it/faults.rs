//! Two workers, and one of them loses its broker in mid-task: nothing is lost, and it comes back.

use crate::{
    broker::{TestBroker, on_every_rabbitmq},
    gate::Gate,
    process::{Worker, lines, pumasi, ready, until},
};
use pumasi_testkit::proxy::{Cut, Proxy};

/// A worker behind a proxy of its own.
struct Behind {
    name: &'static str,
    worker: Worker,
    proxy: Proxy,
}

fn start(broker: &TestBroker, gate: &Gate, name: &'static str) -> Behind {
    let port = broker.node.unwrap().port();
    let proxy = Proxy::to(port);
    let url = broker
        .url
        .replace(&format!(":{port}/"), &format!(":{}/", proxy.port()));
    let mut command = pumasi(&url, &["worker", "-q", "faulty", "-c", "1"]);
    command
        .env("PUMASI__BROKER__HEARTBEAT", "1s")
        .env("PUMASI__BROKER__CONNECT_TIMEOUT", "2s");
    Behind {
        name,
        worker: gate.worker(command, name),
        proxy,
    }
}

/// Runs a fault against the worker that has the task, and heals what the fault left.
fn survives(broker: &TestBroker, fault: impl Fn(&Behind)) {
    let url = &broker.url;
    let gate = Gate::new();
    let [mut one, mut other] = ["a", "b"].map(|name| start(broker, &gate, name));
    lines(url, &["submit", "-q", "faulty", "hit"]);
    until("the task to start", || {
        !gate.started(one.name).is_empty() || !gate.started(other.name).is_empty()
    });
    if gate.started(one.name).is_empty() {
        std::mem::swap(&mut one, &mut other);
    }
    fault(&one);
    until("the task at the other worker", || {
        gate.started(other.name) == ["hit"]
    });
    one.proxy.heal();
    gate.open("hit");
    other.worker.terminate();
    assert_eq!(other.worker.wait(), Some(0));
    lines(url, &["submit", "-q", "faulty", "after"]);
    until("the next task", || {
        gate.started(one.name) == ["hit", "after"]
    });
    gate.open("after");
    one.worker.terminate();
    assert_eq!(one.worker.wait(), Some(0));
    assert_eq!(ready(url, "faulty"), 0, "{url}");
    assert_eq!(gate.started(other.name), ["hit"]);
    for behind in [one, other] {
        quiet(&behind.worker);
    }
}

/// A lost connection is no error, and a library's own words are not for users.
fn quiet(worker: &Worker) {
    for line in worker.log() {
        assert!(!line.contains(" ERROR "), "{line}");
        assert!(!line.contains("lapin"), "{line}");
    }
}

/// Evaluates an expression on the node, with the worker's consuming connection as `C` and its
/// channels as `Channels`. Those of others may end while they are asked.
fn on_the_node(broker: &TestBroker, behind: &Behind, expression: &str) {
    let (_, vhost) = broker.url.rsplit_once('/').unwrap();
    let id = behind.worker.id();
    let said = broker.node.unwrap().ctl(&[
        "eval",
        &format!(
            "[C] = [P || P <- rabbit_networking:connections(), \
               [{{vhost, <<\"{vhost}\">>}}, {{client_properties, Ps}}] \
                 <- [(catch rabbit_networking:connection_info(P, [vhost, client_properties]))], \
               {{_, _, <<\"pumasi {id} (consume)\">>}} \
                 <- [lists:keyfind(<<\"connection_name\">>, 1, Ps)]], \
             Channels = [P || P <- rabbit_channel:list(), \
               [{{connection, C2}}] <- [(catch rabbit_channel:info(P, [connection]))], C2 == C], \
             {expression}."
        ),
    ]);
    assert_eq!(said.trim(), "ok");
}

#[test]
fn a_connection_closed_by_the_broker_loses_nothing() {
    on_every_rabbitmq(|broker| {
        survives(broker, |holder| {
            let close = "rabbit_networking:close_connection(C, <<\"test\">>)";
            on_the_node(broker, holder, close);
        });
    });
}

#[test]
fn channels_closed_by_the_broker_lose_nothing() {
    on_every_rabbitmq(|broker| {
        survives(broker, |holder| {
            // An ack of what was never delivered is an error of the channel: 406.
            let wrong_ack = "[gen_server:cast(P, {method, {'basic.ack', 999999, false}, none, noflow}) \
                     || P <- Channels], ok";
            on_the_node(broker, holder, wrong_ack);
        });
    });
}

#[test]
fn a_channel_that_crashes_in_the_broker_loses_nothing() {
    on_every_rabbitmq(|broker| {
        survives(broker, |holder| {
            let crash = "[exit(P, kill) || P <- Channels], ok";
            on_the_node(broker, holder, crash);
        });
    });
}

#[test]
fn a_reset_connection_loses_nothing() {
    on_every_rabbitmq(|broker| survives(broker, |holder| holder.proxy.cut(Cut::Reset)));
}

#[test]
fn a_connection_that_ends_without_a_word_loses_nothing() {
    on_every_rabbitmq(|broker| survives(broker, |holder| holder.proxy.cut(Cut::Finish)));
}

#[test]
fn a_silent_connection_is_noticed_by_both_sides_and_loses_nothing() {
    on_every_rabbitmq(|broker| survives(broker, |holder| holder.proxy.swallow()));
}

#[test]
fn a_worker_that_cannot_connect_for_a_while_comes_back() {
    on_every_rabbitmq(|broker| {
        survives(broker, |holder| {
            holder.proxy.refuse();
            until("a failed try", || {
                holder.worker.has_logged("consumer cannot start again yet")
            });
        });
    });
}
