//! Any AMQP client is a producer, and any AMQP consumer can read a task: pika, amqplib and
//! amqp-tools, each without a line of ours in it.

use crate::{
    broker::on_every_rabbitmq,
    process::{Worker, lines, ready, until},
};
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Where `cargo xtask test` puts the clients; `PUMASI_CLIENTS` overrides it.
const CLIENTS: &str = "/var/cache/pumasi-testkit/clients";

/// A client of another library, as a small script.
struct Client {
    name: &'static str,
    program: PathBuf,
    script: &'static str,
}

fn clients_folder() -> PathBuf {
    std::env::var_os("PUMASI_CLIENTS").map_or_else(|| CLIENTS.into(), PathBuf::from)
}

/// The clients that are here. One that is absent is named and left out, unless
/// `PUMASI_REQUIRE_CLIENTS` is set.
fn clients() -> Vec<Client> {
    let folder = clients_folder();
    let python = folder.join("python/bin/python3");
    let amqplib = folder.join("js/node_modules/amqplib");
    let mut here = Vec::new();
    for (name, program, script, needs) in [
        ("pika", python.clone(), "client.py", python),
        ("amqplib", "/usr/bin/node".into(), "client.js", amqplib),
        (
            "amqp-tools",
            "/bin/sh".into(),
            "client.sh",
            "/usr/bin/amqp-publish".into(),
        ),
    ] {
        if needs.exists() && program.exists() {
            here.push(Client {
                name,
                program,
                script,
            });
            continue;
        }
        let problem = format!("{name} is not here: {} does not exist", needs.display());
        assert!(
            std::env::var_os("PUMASI_REQUIRE_CLIENTS").is_none(),
            "{problem}; `cargo xtask test` sets it up"
        );
        eprintln!("left out: {problem}");
    }
    here
}

impl Client {
    fn run(&self, url: &str, arguments: &[&str]) -> String {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/plain_amqp");
        let output = Command::new(&self.program)
            .arg(folder.join(self.script))
            .args(arguments)
            .env("AMQP_URL", url)
            .env("NODE_PATH", clients_folder().join("js/node_modules"))
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}: {}",
            self.name,
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }
}

#[test]
fn a_message_of_any_client_without_properties_is_handled() {
    let clients = clients();
    on_every_rabbitmq(|broker| {
        lines(&broker.url, &["queue", "declare", "work"]);
        let mut expected = Vec::new();
        for client in &clients {
            client.run(&broker.url, &["publish", "work", client.name]);
            expected.push(client.name);
        }
        let mut worker = Worker::start(&broker.url, &["-q", "work", "-c", "1"]);
        assert_eq!(worker.wait_for_lines(expected.len()), expected);
        until("an empty queue", || ready(&broker.url, "work") == 0);
        assert_eq!(ready(&broker.url, "work.dead"), 0);
    });
}

#[test]
fn a_task_is_read_by_any_client_with_the_documented_properties() {
    let clients = clients();
    on_every_rabbitmq(|broker| {
        for client in &clients {
            let queue = format!("for-{}", client.name);
            let submit = [
                "submit",
                "-q",
                &queue,
                "-k",
                "image.resize",
                "--id",
                "order-7",
                "--expires",
                "1h",
                "--timeout",
                "30s",
                "--attempts",
                "3",
                "--header",
                "color=red",
                "resize",
                "it",
            ];
            assert_eq!(lines(&broker.url, &submit), ["order-7"]);
            if client.name == "amqp-tools" {
                assert_eq!(
                    client.run(&broker.url, &["get", &queue]).trim_end(),
                    "resize it"
                );
                lines(&broker.url, &submit);
                assert_eq!(
                    client.run(&broker.url, &["consume", &queue]).trim_end(),
                    "resize it"
                );
                continue;
            }
            let told = client.run(&broker.url, &["get", &queue]);
            let mut told: Value = serde_json::from_str(&told).unwrap();
            let at = told.as_object_mut().unwrap().remove("timestamp").unwrap();
            assert!(at.as_u64().unwrap() > 1_700_000_000, "{at}");
            // Not given; some clients tell of what is absent.
            let priority = told.as_object_mut().unwrap().remove("priority");
            assert!(priority.is_none_or(|priority| priority.is_null()));
            // RabbitMQ 4 adds how often it has returned the task.
            told["headers"]
                .as_object_mut()
                .unwrap()
                .remove("x-delivery-count");
            let expected = json!({
                "body": "resize it",
                "id": "order-7",
                "kind": "image.resize",
                "content_type": "text/plain",
                "delivery_mode": 2,
                "expiration": "3600000",
                "app_id": "pumasi",
                "headers": {
                    "color": "red",
                    "pumasi-timeout-ms": 30_000,
                    "pumasi-attempts-max": 3,
                },
            });
            assert_eq!(told, expected, "{}", client.name);
        }
    });
}
