//! The pages of the error codes show what is really printed.

use crate::pages::compare::{Verdict, compare};
use pumasi_testkit::rabbitmq::{RabbitMq, Version};
use std::process::{Command, Stdio};

/// A code and a shell line that ends with it, on the embedded broker.
const EMBEDDED: [(&str, &str); 15] = [
    ("PU1001", "PUMASI__BROKER__HEARTBEET=5s pumasi config check"),
    ("PU1002", "pumasi --config nowhere.toml config check"),
    ("PU1003", "pumasi submit -q ../x x"),
    ("PU2001", "pumasi --broker amqp://127.0.0.1:1 submit x"),
    ("PU3001", "pumasi queue show nowhere"),
    (
        "PU3002",
        "pumasi queue declare limited --length-max 2; pumasi submit -q limited x",
    ),
    ("PU3003", "pumasi queue declare scratch --kind transient"),
    ("PU4001", "pumasi submit --header pumasi-attempt=9 x"),
    (
        "PU4002",
        "PUMASI__BROKER__PAYLOAD_BYTES_MAX=10B pumasi submit a longer payload",
    ),
    ("PU4003", "pumasi submit --no-declare -q nowhere x"),
    (
        "PU4004",
        "pumasi queue declare limited --length-max 1; \
         for n in 1 2; do pumasi submit --no-declare -q limited $n; done",
    ),
    (
        "PU4007",
        r#"printf '{"payload":1}\n{"payload":\n' | pumasi submit --file -"#,
    ),
    ("PU5003", "pumasi worker --exec /no/such/program"),
    ("PU6001", "pumasi --broker sqlite:/proc/x/y.db queue list"),
    (
        "PU6003",
        "printf %0100d 0 >bad.db; pumasi --broker sqlite:bad.db queue list",
    ),
];

/// The same on RabbitMQ; `URL` stands for a node without user and virtual host.
const RABBITMQ: [(&str, &str); 2] = [
    (
        "PU2002",
        "pumasi --broker amqp://guest:wrong@URL queue list",
    ),
    (
        "PU2003",
        "pumasi --broker amqp://guest:guest@URL/nowhere queue list",
    ),
];

/// What the line prints to standard error, and its exit status.
fn printed(line: &str) -> (Vec<String>, Option<i32>) {
    let folder = tempfile::tempdir().unwrap();
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_pumasi"));
    let path = format!("{}:/usr/bin:/bin", program.parent().unwrap().display());
    let output = Command::new("bash")
        .args(["-c", line])
        .current_dir(folder.path())
        .env_clear()
        .env("PATH", path)
        .env("HOME", folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    (
        errors.lines().map(str::to_owned).collect(),
        output.status.code(),
    )
}

/// Whether the page shows what the line prints; both where it does not.
fn check(code: &str, line: &str, address: &str) -> Result<(), String> {
    let explained = Command::new(env!("CARGO_BIN_EXE_pumasi"))
        .args(["explain", code])
        .output()
        .unwrap();
    let page = String::from_utf8(explained.stdout).unwrap();
    let page = page.replace("127.0.0.1:5672", address);
    let shown = page.lines().skip_while(|line| *line != "```text").skip(1);
    let shown: Vec<String> = shown
        .take_while(|line| *line != "```")
        .map(str::to_owned)
        .collect();
    let (came, status) = printed(&line.replace("URL", address));
    let status = status.unwrap();
    if compare(&shown, &came) == Verdict::Same && page.contains(&format!("Exit status {status}.")) {
        return Ok(());
    }
    Err(format!("{code}: {shown:#?}\n{came:#?} {status}"))
}

#[test]
fn the_text_on_an_errors_page_is_the_one_that_is_printed() {
    let embedded = EMBEDDED.map(|(code, line)| check(code, line, ""));
    let mut checks = Vec::from(embedded);
    match Version::V3_10.available() {
        Ok(()) => {
            let node = RabbitMq::shared(Version::V3_10);
            let address = format!("127.0.0.1:{}", node.port());
            checks.extend(RABBITMQ.map(|(code, line)| check(code, line, &address)));
        }
        Err(missing) => eprintln!("left out: {missing}"),
    }
    let wrong: Vec<String> = checks.into_iter().filter_map(Result::err).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
