//! `pumasi submit --file`, as a person starts it.

use super::place::QUEUE;
use pumasi_testkit::bench::{Measured, Order, usage::Usage};
use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Where the command is.
pub const PROGRAM: &str = "PUMASI_BENCH_PROGRAM";
/// How often the command's memory is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Submits a file of the order's tasks.
pub fn submit(order: &Order) -> Measured {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tasks.jsonl");
    write(&file, order);
    let mut command = pumasi(order);
    command
        .args(["submit", "--queue", QUEUE, "--file"])
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let before = Usage::of_ended_children();
    let begun = Instant::now();
    let mut child = command.spawn().expect("pumasi starts");
    let last = watch(&mut child);
    let seconds = begun.elapsed().as_secs_f64();
    Usage {
        cpu_seconds: Usage::of_ended_children() - before,
        ..last
    }
    .measured(order.count, seconds)
}

/// The command that a person installs, on the order's broker.
pub fn pumasi(order: &Order) -> Command {
    let program = std::env::var_os(PROGRAM).expect("started by: cargo xtask bench");
    let mut command = Command::new(program);
    command
        .env("PUMASI__BROKER__PUBLISH_WINDOW", order.window.to_string())
        .args(["--broker", &order.at]);
    command
}

fn write(path: &Path, order: &Order) {
    let text = String::from_utf8(order.payload()).unwrap();
    let mut file = BufWriter::new(File::create(path).unwrap());
    for _ in 0..order.count {
        writeln!(file, "{{\"text\":\"{text}\"}}").unwrap();
    }
    file.flush().unwrap();
}

/// What the child had cost when it was last seen; its end is a success.
fn watch(child: &mut Child) -> Usage {
    let mut last = Usage::default();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "pumasi submit: {status}");
            return last;
        }
        // What has ended, and is not waited for yet, holds no memory any more.
        if let Some(usage) = Usage::of(child.id()).filter(|usage| usage.rss_kib > 0) {
            last = usage;
        }
        std::thread::sleep(LOOK);
    }
}
