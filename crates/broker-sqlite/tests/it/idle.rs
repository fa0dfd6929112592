//! A process that waits costs nothing, whatever it waits for.

use crate::support::{accepted, consume, open, queue, to_queue};
use pumasi_common::{Broker, Task};
use rustix::time::{ClockId, clock_gettime};
use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};
use tempfile::tempdir;

const STORE: &str = "PUMASI_TEST_IDLE_STORE";
/// Long enough for several beats.
const WATCHED: Duration = Duration::from_millis(1500);
/// Of one processor: a tenth of what looking every millisecond takes, ten times what a beat does.
const PART_MAX: f64 = 0.02;

/// A process of its own, so that nothing else counts.
#[tokio::test]
async fn idle_process() {
    let Some(path) = std::env::var_os(STORE) else {
        return;
    };
    let broker = open(Path::new(&path)).await;
    let _consumer = consume(&broker, &queue(), 10).await;
    let _listener = broker.control(vec![queue()]).await.unwrap();
    let hour = to_queue(Task::new("x")).after(Duration::from_secs(3600));
    accepted(&broker, hour).await;
    // One beat, which sees what was written.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (begun, before) = (Instant::now(), cpu());
    tokio::time::sleep(WATCHED).await;
    let part = (cpu() - before).as_secs_f64() / begun.elapsed().as_secs_f64();
    println!("\nPART {part}");
}

/// What this process has used.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let nanos = u32::try_from(time.tv_nsec).unwrap();
    Duration::new(u64::try_from(time.tv_sec).unwrap(), nanos)
}

#[test]
fn a_worker_that_waits_for_a_task_of_an_hour_and_for_operators_costs_nothing() {
    let dir = tempdir().unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "idle::idle_process", "--nocapture"])
        .env(STORE, dir.path().join("s.db"))
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let part: f64 = said
        .lines()
        .find_map(|line| line.strip_prefix("PART "))
        .unwrap_or_else(|| panic!("{said}"))
        .parse()
        .unwrap();
    println!("idle: {:.2} % of a processor", part * 100.0);
    assert!(part < PART_MAX, "{part}");
}
