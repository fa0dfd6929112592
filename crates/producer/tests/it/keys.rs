//! Keys: who may ask for what, how often, and how keys change while the gateway serves.

use crate::support::Producer;
use pumasi_testkit::{
    http::{Answer, request},
    process::until,
};
use sha2::{Digest as _, Sha256};
use std::path::PathBuf;
use tempfile::TempDir;

const POST: &str = "POST /v1/queues/tasks/tasks";

/// A file of keys, and a producer that follows it.
struct Guarded {
    producer: Producer,
    file: PathBuf,
    _folder: TempDir,
}

fn entry(key: &str, more: &str) -> String {
    let digest = Sha256::digest(key);
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("[[keys]]\nname = \"of-{key}\"\nsha256 = \"{digest}\"\n{more}\n")
}

impl Guarded {
    fn start(keys: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys.toml");
        std::fs::write(&file, keys).unwrap();
        let setting = ("PUMASI__GATEWAY__KEYS_FILE", file.to_str().unwrap());
        Self {
            producer: Producer::embedded(&[setting]),
            file,
            _folder: folder,
        }
    }

    fn ask(&self, line: &str, key: &str) -> Answer {
        let headers = format!("Authorization: Bearer {key}\r\n");
        request(self.producer.gateway, line, &headers, "x")
    }
}

fn title(answer: &Answer) -> String {
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );
    answer.json()["title"].as_str().unwrap().to_owned()
}

#[test]
fn only_a_known_key_opens() {
    let guarded =
        Guarded::start(&(entry("one", "queues = [\"*\"]") + &entry("two", "queues = [\"*\"]")));
    for key in ["one", "two", "  two "] {
        assert_eq!(guarded.ask(POST, key).status, 202, "{key}");
    }
    let bare = |headers: &str| request(guarded.producer.gateway, POST, headers, "x");
    assert_eq!(bare("authorization: bearer one\r\n").status, 202);
    for (headers, challenge) in [
        ("", "bearer realm=\"pumasi\""),
        (
            "Authorization: Basic b25lOg==\r\n",
            "bearer realm=\"pumasi\"",
        ),
        ("Authorization: Bearer \r\n", "bearer realm=\"pumasi\""),
        (
            "Authorization: Bearer one\r\nAuthorization: Bearer two\r\n",
            "bearer realm=\"pumasi\"",
        ),
        (
            "Authorization: Bearer hunter2\r\n",
            "bearer realm=\"pumasi\", error=\"invalid_token\"",
        ),
    ] {
        let answer = bare(headers);
        assert_eq!(answer.status, 401, "{headers}: {answer:?}");
        assert_eq!(answer.header("www-authenticate"), Some(challenge));
        assert!(title(&answer).contains("key"));
        assert!(!answer.body.contains("hunter2"));
    }
    for line in [
        "GET /v1/tasks/a",
        "POST /v1/tasks",
        "POST /v1/topics/orders",
        "POST /v1/tasks/batch",
    ] {
        assert_eq!(guarded.ask(line, "hunter2").status, 401, "{line}");
    }
    assert_eq!(guarded.ask("GET /v1/tasks/a", "one").status, 501);
    assert_eq!(guarded.producer.ready("tasks"), 4);
    let said = guarded.producer.service.said().join("\n");
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn a_key_opens_what_it_names() {
    let guarded = Guarded::start(
        &(entry(
            "queue",
            "queues = [\"tasks\", \"sm*\"]\nkinds = [\"image.*\"]",
        ) + &entry("topic", "topics = [\"orders\"]")),
    );
    for (line, key, problem) in [
        (
            "POST /v1/queues/tasks/tasks?kind=image.resize",
            "queue",
            None,
        ),
        (
            "POST /v1/queues/small/tasks?kind=image.resize",
            "queue",
            None,
        ),
        (
            "POST /v1/queues/other/tasks?kind=image.resize",
            "queue",
            Some("submit to queue `other`"),
        ),
        (
            "POST /v1/queues/tasks/tasks?kind=mail",
            "queue",
            Some("kind `mail`"),
        ),
        (POST, "queue", Some("without a kind")),
        (
            "POST /v1/topics/orders?kind=image.resize",
            "queue",
            Some("publish to topic `orders`"),
        ),
        ("POST /v1/topics/orders", "topic", None),
        (POST, "topic", Some("submit to queue `tasks`")),
    ] {
        let answer = guarded.ask(line, key);
        match problem {
            None => assert_eq!(answer.status, 202, "{line}: {answer:?}"),
            Some(problem) => {
                assert_eq!(answer.status, 403, "{line}: {answer:?}");
                assert!(title(&answer).contains(problem), "{answer:?}");
            }
        }
    }
}

#[test]
fn a_key_opens_what_it_names_in_json_too() {
    let guarded = Guarded::start(&entry(
        "queue",
        "queues = [\"tasks\"]\nkinds = [\"image.*\"]",
    ));
    let json = |line: &str, kind: &str, body: &str| {
        let headers = format!("Authorization: Bearer queue\r\nContent-Type: {kind}\r\n");
        request(guarded.producer.gateway, line, &headers, body)
    };
    let good = "{\"queue\":\"tasks\",\"kind\":\"image.a\",\"payload\":1}";
    let bad = good.replace("tasks", "other");
    for (body, status) in [(good, 202), (&bad, 403)] {
        let answer = json("POST /v1/tasks", "application/json", body);
        assert_eq!(answer.status, status, "{answer:?}");
    }
    let answer = json(
        "POST /v1/tasks/batch",
        "application/jsonl",
        &format!("{good}\n{bad}\n"),
    );
    assert!(
        answer.body.contains("\"line\":1,\"outcome\":\"accepted\""),
        "{answer:?}"
    );
    assert!(
        answer
            .body
            .contains("\"line\":2,\"outcome\":\"refused\",\"status\":403"),
        "{answer:?}"
    );
    assert_eq!(guarded.producer.ready("other"), 0);
}

#[test]
fn a_key_beyond_its_rate_is_told_when_to_come_again() {
    let guarded = Guarded::start(
        &(entry("slow", "queues = [\"*\"]\nrate = 1\nburst = 2")
            + &entry("free", "queues = [\"*\"]")),
    );
    let refused = (0..20)
        .map(|_| guarded.ask(POST, "slow"))
        .find(|answer| answer.status != 202)
        .unwrap();
    assert_eq!(refused.status, 429, "{refused:?}");
    assert!(title(&refused).contains("`of-slow`"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(
        guarded.ask(POST, "free").status,
        202,
        "another key is its own"
    );
    until("a turn", || guarded.ask(POST, "slow").status == 202);
    // The lines of a batch wait for theirs.
    let headers = "Authorization: Bearer slow\r\nContent-Type: application/x-ndjson\r\n";
    let lines = "{\"queue\":\"other\",\"payload\":1}\n".repeat(3);
    let answer = request(
        guarded.producer.gateway,
        "POST /v1/tasks/batch",
        headers,
        lines,
    );
    assert_eq!(answer.body.matches("accepted").count(), 3, "{answer:?}");
}

#[test]
fn keys_change_without_a_restart_and_a_broken_file_changes_none() {
    let guarded = Guarded::start(&entry("old", "queues = [\"*\"]"));
    let status = |key: &str| guarded.ask(POST, key).status;
    assert_eq!((status("old"), status("new")), (202, 401));
    std::fs::write(&guarded.file, entry("new", "queues = [\"*\"]")).unwrap();
    until("the new key", || status("new") == 202);
    assert_eq!(status("old"), 401);
    std::fs::write(&guarded.file, "[[keys]]\nname = \"hunter2").unwrap();
    let line = guarded
        .producer
        .service
        .line_with("keys file cannot be used");
    assert!(
        line.contains("line 2") && !line.contains("hunter2"),
        "{line}"
    );
    assert_eq!((status("old"), status("new")), (401, 202));
    std::fs::remove_file(&guarded.file).unwrap();
    let _ = guarded
        .producer
        .service
        .line_with("cannot read the keys file");
    assert_eq!(status("new"), 202);
    std::fs::write(&guarded.file, entry("old", "queues = [\"*\"]")).unwrap();
    until("the old key", || status("old") == 202);
    assert_eq!(status("new"), 401);
}

#[test]
fn without_a_file_that_can_be_used_it_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.toml");
    let ends = |texts: &[&str]| {
        let output = crate::support::command()
            .env(
                "PUMASI__BROKER__URL",
                format!("sqlite:{}", folder.path().join("q.db").display()),
            )
            .env("PUMASI__GATEWAY__LISTEN", "127.0.0.1:0")
            .env("PUMASI__GATEWAY__KEYS_FILE", &file)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{errors}");
        for text in texts {
            assert!(errors.contains(text), "expected {text:?} in: {errors}");
        }
    };
    ends(&["error[PU1002]", "keys.toml", "help:"]);
    std::fs::write(&file, entry("one", "queue = [\"*\"]")).unwrap();
    ends(&["error[PU1001]", "keys.toml", "unknown field `queue`"]);
}
