//! The demo: `pumasi demo` after a build, on the embedded broker or on a private RabbitMQ node.

use crate::process::{Result, cargo};
use pumasi_testkit::rabbitmq::{RabbitMq, Version};
use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
};

fn build() -> Result {
    cargo(&["build", "--quiet", "--package", "pumasi"])
}

fn pumasi() -> Command {
    let folder = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".to_owned());
    Command::new(format!("{folder}/debug/pumasi"))
}

/// The story on the embedded broker.
pub(crate) fn embedded() -> Result {
    build()?;
    let status = pumasi().arg("demo").status();
    let status = status.map_err(|error| format!("cannot start pumasi: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("the demo failed: {status}"))
    }
}

/// The story on RabbitMQ; the broker is killed and started again while the queue is full.
pub(crate) fn rabbitmq() -> Result {
    build()?;
    let failed = |error: std::io::Error| format!("the demo cannot go on: {error}");
    println!("starting a private RabbitMQ node");
    let node = RabbitMq::start(Version::V3_10);
    let mut demo = pumasi()
        .args(["demo", "--pause", "--broker", &node.url()])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let mut input = demo.stdin.take();
    if let Some(errors) = demo.stderr.take() {
        for line in BufReader::new(errors)
            .lines()
            .map_while(std::result::Result::ok)
        {
            eprintln!("{line}");
            if line.contains("press Enter")
                && let Some(mut input) = input.take()
            {
                println!("killing the broker with -9 and starting it again, the queue is full");
                node.sync_directory();
                node.kill9();
                node.restart();
                input.write_all(b"\n").map_err(failed)?;
            }
        }
    }
    let status = demo.wait().map_err(failed)?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("the demo failed: {status}"))
    }
}
