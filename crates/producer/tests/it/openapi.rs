//! The `OpenAPI` document: the one that was read and approved, and one that is true.

use crate::support::Producer;
use pumasi_testkit::{golden::golden, http::request};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};

/// Where `cargo xtask test` puts clients; `PUMASI_CLIENTS` overrides it.
const CLIENTS: &str = "/var/cache/pumasi-testkit/clients";

fn document() -> Value {
    serde_json::from_str(&pumasi_producer::gateway::document()).unwrap()
}

#[test]
fn the_document_is_the_one_that_was_read_and_approved_and_it_is_served_without_a_key() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys.toml");
    let digest = "0".repeat(64);
    let entry = format!("[[keys]]\nname = \"a\"\nsha256 = \"{digest}\"\nqueues = [\"*\"]\n");
    std::fs::write(&keys, entry).unwrap();
    let setting = ("PUMASI__GATEWAY__KEYS_FILE", keys.to_str().unwrap());
    let producer = Producer::embedded(&[setting]);
    let answer = request(producer.gateway, "GET /v1/openapi.json", "", "");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/openapi.json");
    golden(&file, &answer.body);
}

/// The keys that the program names when it is given one that does not exist.
fn keys_expected(problem: &str) -> BTreeSet<String> {
    let (_, expected) = problem.split_once("expected one of ").unwrap();
    let names = expected.split('`').skip(1).step_by(2);
    names.map(str::to_owned).collect()
}

#[test]
fn the_document_has_every_key_that_is_read_and_no_other() {
    let producer = Producer::embedded(&[]);
    let line = "POST /v1/queues/tasks/tasks?no_such_key=1";
    let answer = request(producer.gateway, line, "", "x");
    let read = keys_expected(answer.json()["title"].as_str().unwrap());
    let document = document();
    let parameters = &document["paths"]["/v1/queues/{queue}/tasks"]["post"]["parameters"];
    let named = parameters.as_array().unwrap().iter();
    let named = named.filter(|parameter| parameter["in"] == "query");
    let named: BTreeSet<String> = named
        .map(|parameter| parameter["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(named, read);
    let json = "Content-Type: application/json\r\n";
    let answer = request(
        producer.gateway,
        "POST /v1/tasks",
        json,
        "{\"no_such_key\":1}",
    );
    // The title is cut off: every key of the document is one that is read.
    let properties = document["components"]["schemas"]["Task"]["properties"].as_object();
    for key in properties.unwrap().keys() {
        let task = format!("{{\"{key}\":[]}}");
        let told = request(producer.gateway, "POST /v1/tasks", json, task).json();
        let title = told["title"].as_str().unwrap();
        assert!(!title.contains("unknown field"), "{title}");
    }
    assert_eq!(answer.status, 422);
}

/// The program, where it is installed. It is named where it is not, and missed where
/// `PUMASI_REQUIRE_CLIENTS` is set.
fn schemathesis() -> Option<PathBuf> {
    let folder = std::env::var_os("PUMASI_CLIENTS").map_or_else(|| CLIENTS.into(), PathBuf::from);
    let program = folder.join("schemathesis/bin/st");
    if program.exists() {
        return Some(program);
    }
    let problem = format!(
        "schemathesis is not here: {} does not exist",
        program.display()
    );
    assert!(
        std::env::var_os("PUMASI_REQUIRE_CLIENTS").is_none(),
        "{problem}; `cargo xtask test` sets it up"
    );
    eprintln!("left out: {problem}");
    None
}

#[test]
fn the_gateway_answers_as_its_document_says_whatever_it_is_asked() {
    let Some(program) = schemathesis() else {
        return;
    };
    let producer = Producer::embedded(&[("PUMASI__GATEWAY__REQUEST_TIMEOUT", "5s")]);
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    // It leaves files where it works.
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(program)
        .current_dir(folder.path())
        .env("PYTHONPATH", &own)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("SCHEMATHESIS_HOOKS", "schemathesis_lines")
        .arg("--config-file")
        .arg(own.join("schemathesis.toml"))
        .arg("run")
        .arg(format!("http://{}/v1/openapi.json", producer.gateway))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}\n{errors}");
    // All but the document itself.
    let operations = document()["paths"].as_object().unwrap().len() - 1;
    assert!(told.contains(&format!("Tested: {operations}")), "{told}");
}
