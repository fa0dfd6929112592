//! A million tasks from a file: constant memory, every id confirmed and printed once.
//!
//! The submitter is the program under test as it was built, so an unoptimized one takes its time.
//! On RabbitMQ the broker takes its share of the machine, too, and other tests compare how long
//! things take: `cargo xtask test` runs these two after all others
//! (`cargo test -p pumasi --test it -- --ignored`).

use crate::{broker::TestBroker, process};
use pumasi_testkit::rabbitmq::{RabbitMq, Version};
use std::{
    fs::File,
    io::{BufRead, BufReader, BufWriter, Read, Write},
    path::Path,
    process::{Child, Command, Stdio},
};

const TASKS: usize = 1_000_000;
/// Most memory that the submitter may ever have had in use.
const PEAK_BYTES_MAX: u64 = 100 * 1024 * 1024;
/// The peak is looked at each time that this many ids were read.
const LOOK_EVERY: usize = 1_000;

#[test]
fn a_million_tasks_from_a_file_on_the_embedded_broker() {
    let broker = TestBroker::embedded();
    submit_a_million(&broker.url);
}

#[test]
#[ignore = "takes minutes and the whole machine; cargo xtask test runs it last"]
fn a_million_tasks_from_a_file_on_rabbitmq_3_10() {
    on_a_node_of_its_own(Version::V3_10);
}

#[test]
#[ignore = "takes minutes and the whole machine; cargo xtask test runs it last"]
fn a_million_tasks_from_a_file_on_rabbitmq_4_3() {
    on_a_node_of_its_own(Version::V4_3);
}

fn on_a_node_of_its_own(version: Version) {
    if let Err(missing) = version.available() {
        println!("left out: {missing}");
        return;
    }
    let node = RabbitMq::start(version);
    submit_a_million(&node.new_vhost_url());
}

fn submit_a_million(url: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tasks.jsonl");
    write_tasks(&path);
    let path = path.to_str().unwrap();
    let submit = process::pumasi(url, &["submit", "-q", "million", "--file", path]);
    // Tests that run meanwhile compare how long things take.
    let mut submitter = Command::new("nice")
        .arg(submit.get_program())
        .args(submit.get_args())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut ids, peak) = read_ids(&mut submitter);
    let mut summary = String::new();
    let mut errors = submitter.stderr.take().unwrap();
    errors.read_to_string(&mut summary).unwrap();
    assert!(submitter.wait().unwrap().success(), "{summary}");
    println!("peak {} MiB; {summary}", peak / 1024 / 1024);

    let printed = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((printed, ids.len()), (TASKS, TASKS));
    let told = format!("accepted {TASKS}, refused 0, unknown 0, malformed lines 0");
    assert!(summary.contains(&told), "{summary}");
    assert_eq!(process::ready(url, "million"), TASKS as u64);
    assert!(
        peak < PEAK_BYTES_MAX,
        "{peak} bytes at the peak: memory grows with the file"
    );
}

fn write_tasks(path: &Path) {
    let mut file = BufWriter::new(File::create(path).unwrap());
    for n in 0..TASKS {
        writeln!(file, "{{\"payload\":{{\"n\":{n}}}}}").unwrap();
    }
    file.flush().unwrap();
}

/// Reads one id per line until the end, and how much memory the process ever had in use.
///
/// The process cannot end before its last ids were read, and what it had in use at most only
/// grows; so the last look misses at most what the last ids needed.
fn read_ids(submitter: &mut Child) -> (Vec<u128>, u64) {
    let mut output = BufReader::new(submitter.stdout.take().unwrap());
    let mut ids = Vec::with_capacity(TASKS);
    let mut peak = 0;
    let mut line = String::new();
    while output.read_line(&mut line).unwrap() > 0 {
        ids.push(uuid(line.trim_end()));
        line.clear();
        if ids.len() % LOOK_EVERY == 0 {
            peak = peak_bytes(submitter.id()).unwrap_or(peak);
        }
    }
    assert!(peak > 0, "its memory could never be looked at");
    (ids, peak)
}

fn uuid(text: &str) -> u128 {
    assert_eq!(text.len(), 36, "not an id: {text}");
    u128::from_str_radix(&text.replace('-', ""), 16).unwrap()
}

/// The peak resident set of a living process.
fn peak_bytes(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes * 1024)
}
