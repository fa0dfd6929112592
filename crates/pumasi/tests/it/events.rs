//! Publish-subscribe: every subscription gets every event, its workers compete for them.

use crate::{
    broker::on_every_broker,
    process::{Worker, lines, pumasi, ready, until},
};
use std::process::{Command, Stdio};

const EVENTS: usize = 100;
const SUBSCRIPTIONS: [&str; 2] = ["mail", "audit"];
const CONFIG: &str = r#"
[[topics]]
name = "orders"
subscriptions = ["mail", "audit"]
"#;

/// How many publishers run at the same time.
const AT_ONCE: usize = 10;

#[test]
fn every_subscription_handles_every_event_once() {
    on_every_broker(|broker| {
        let config = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
        std::fs::write(&config, CONFIG).unwrap();
        let command = |arguments: &[&str]| {
            let mut command = pumasi(&broker.url, arguments);
            command.arg("--config").arg(config.path());
            command
        };
        let mut workers = SUBSCRIPTIONS.map(|name| {
            let queue = format!("orders.{name}");
            [(); 2].map(|()| Worker::spawn(command(&["worker", "-q", &queue, "-c", "2"])))
        });
        let events: Vec<String> = (0..EVENTS).map(|number| format!("e{number:03}")).collect();
        for some in events.chunks(AT_ONCE) {
            let publish = |event: &String| start(command(&["publish", "orders", event]));
            let publishers: Vec<_> = some.iter().map(publish).collect();
            for mut publisher in publishers {
                assert!(publisher.wait().unwrap().success(), "{}", broker.url);
            }
        }
        for (name, [one, other]) in SUBSCRIPTIONS.iter().zip(&mut workers) {
            until("all events", || {
                one.listen().len() + other.listen().len() >= EVENTS
            });
            for worker in [&mut *one, &mut *other] {
                worker.terminate();
                assert_eq!(worker.wait(), Some(0));
                // Both had a part: they compete.
                assert!(!worker.listen().is_empty(), "{}", broker.url);
            }
            let mut handled = [one.said.clone(), other.said.clone()].concat();
            handled.sort();
            assert_eq!(handled, events, "{name} on {}", broker.url);
            assert_eq!(ready(&broker.url, &format!("orders.{name}")), 0);
        }
    });
}

fn start(mut command: Command) -> std::process::Child {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn a_worker_tells_what_becomes_of_its_tasks_where_that_is_asked_for() {
    on_every_broker(|broker| {
        let url = &broker.url;
        let config =
            broker.config("[[topics]]\nname = \"pumasi.events\"\nsubscriptions = [\"all\"]\n");
        let applied = pumasi(url, &["topology", "apply", "--config", &config]).output();
        assert!(applied.unwrap().status.success());
        let mut command = pumasi(url, &["worker", "-q", "told", "--name", "w"]);
        command
            .env("PUMASI__WORKER__EVENTS", "true")
            .env("PUMASI__WORKER__RETRY__DELAY_BASE", "1ms");
        let _worker = Worker::spawn(command);
        let id = lines(url, &["submit", "-q", "told", "x"]).remove(0);
        lines(
            url,
            &["submit", "-q", "told", "-k", "fail", "--attempts", "2", "x"],
        );
        until("the events", || ready(url, "pumasi.events.all") == 3);
        let mut reader = pumasi(url, &["worker", "-q", "pumasi.events.all"]);
        reader.args([
            "--exec",
            "sh",
            "-c",
            "cat >&2; echo \" $PUMASI_TASK_KIND\" >&2; exit 65",
        ]);
        let reader = Worker::spawn(reader);
        let said = |text: &str| reader.has_logged(text);
        until("every event", || {
            said("task.done") && said("task.retry") && said("task.dead")
        });
        assert!(said(&format!(
            r#"{{"id":"{id}","kind":null,"queue":"told","outcome":"done""#
        )));
        assert!(said(
            r#""outcome":"failed","reason":"attempts-spent","attempt":2,"worker":"w""#
        ));
    });
}
