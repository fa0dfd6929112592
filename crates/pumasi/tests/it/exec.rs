//! Programs as handlers: whatever they do, the worker stays small, and nothing of them is left.

use crate::{
    broker::TestBroker,
    process::{Worker, lines, pumasi, ready, until},
};
use std::path::Path;
use tempfile::TempDir;

/// A worker with a shell script as its handler; the script gets a folder as its first argument.
struct Scripted {
    broker: TestBroker,
    folder: TempDir,
    worker: Worker,
}

impl Scripted {
    fn start(script: &str) -> Self {
        Self::start_with(script, &[])
    }

    /// The same with these settings besides.
    fn start_with(script: &str, environment: &[(&str, &str)]) -> Self {
        let broker = TestBroker::embedded();
        let folder = tempfile::tempdir().unwrap();
        let mut command = pumasi(&broker.url, &["worker", "-q", "exec", "-c", "1"]);
        command
            .env("PUMASI__TELEMETRY__LOG_LEVEL", "info,pumasi_worker=debug")
            // What becomes of one run is what is looked at.
            .env("PUMASI__WORKER__RETRY__ATTEMPTS_MAX", "1")
            .env("PUMASI__WORKER__TIMEOUT_GRACE", "2s")
            .envs(environment.iter().copied())
            .args(["--exec", "sh", "-c", script, "sh"])
            .arg(folder.path());
        let worker = Worker::spawn(command);
        Self {
            broker,
            folder,
            worker,
        }
    }

    fn submit(&self, arguments: &[&str]) {
        lines(
            &self.broker.url,
            &[&["submit", "-q", "exec"], arguments].concat(),
        );
    }

    /// Waits until the worker has said this, and nothing else came of the task.
    fn ends_as(&self, what: &str) {
        until(what, || {
            self.worker.has_logged("task completed") || self.worker.has_logged("dead-lettered")
        });
        assert!(self.worker.has_logged(what), "{:#?}", self.worker.log());
        let dead = u64::from(what != "task completed");
        until("the settlement", || {
            ready(&self.broker.url, "exec.dead") == dead
        });
    }

    /// The process ids that the script has left in a file, once there are this many.
    fn ids(&self, count: usize) -> Vec<u32> {
        let file = self.folder.path().join("ids");
        let mut ids = Vec::new();
        until("the script's process ids", || {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            ids = text.lines().map(|line| line.parse().unwrap()).collect();
            ids.len() == count
        });
        ids
    }
}

/// Whether a process still runs; one that only waits to be reaped does not.
fn runs(id: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn all_end(ids: &[u32]) {
    until("the end of the program and its children", || {
        !ids.iter().any(|id| runs(*id))
    });
}

/// The most memory that a process has had, in KiB.
fn peak_memory(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let words = line.unwrap().split_whitespace().nth(1);
    words.unwrap().parse().unwrap()
}

/// A program with a child and a grandchild, all deaf to TERM.
const FAMILY: &str = r#"trap "" TERM
sh -c 'sleep 1000 & echo $! >>"$1/ids"; echo $$ >>"$1/ids"; wait' sh "$1" &
echo $$ >>"$1/ids"; wait"#;

#[test]
fn a_time_out_ends_the_whole_family() {
    let scripted = Scripted::start(FAMILY);
    scripted.submit(&["--timeout", "2s", "x"]);
    let ids = scripted.ids(3);
    assert!(ids.iter().all(|id| runs(*id)));
    scripted.ends_as("timed out");
    all_end(&ids);
}

#[test]
fn a_killed_worker_takes_its_programs_along() {
    let mut scripted = Scripted::start(FAMILY);
    scripted.submit(&["x"]);
    let ids = scripted.ids(3);
    assert!(ids.iter().all(|id| runs(*id)));
    scripted.worker.kill();
    all_end(&ids);
}

/// Reads its input in a session of its own, which nobody ends, when its worker has gone.
const LATE: &str = r#"exec 3<&0
env -u PUMASI_RUN setsid sh -c 'echo $$ >"$1/ids"; while kill -0 "$2" 2>/dev/null; do sleep 0.02; done
wc -c <&3 >"$1/new"; mv "$1/new" "$1/read"' sh "$1" $PPID & wait"#;

#[test]
fn a_program_whose_worker_dies_reads_the_whole_payload_or_nothing() {
    let mut scripted = Scripted::start(LATE);
    // More than a pipe holds.
    scripted.submit(&[&"x".repeat(100_000)]);
    let reader = scripted.ids(1);
    scripted.worker.kill();
    all_end(&reader);
    let read = std::fs::read_to_string(scripted.folder.path().join("read"));
    assert_eq!(read.unwrap().trim(), "100000");
}

#[test]
fn what_a_program_leaves_behind_is_ended_and_does_not_delay_its_end() {
    // The child keeps the output open.
    let scripted = Scripted::start(r#"sleep 1000 & echo $! >"$1/ids""#);
    scripted.submit(&["x"]);
    scripted.ends_as("task completed");
    all_end(&scripted.ids(1));
}

#[test]
fn the_last_words_are_kept_though_a_child_holds_the_output_open() {
    let scripted = Scripted::start("sleep 1000 & echo the last words >&2; exit 7");
    scripted.submit(&["x"]);
    scripted.ends_as("exit status 7: the last words");
}

#[test]
fn a_flood_of_output_costs_no_memory_and_its_end_is_kept() {
    let flood = "head -c 100000000 /dev/zero; head -c 100000000 /dev/zero >&2; \
                 echo the last words >&2; exit 7";
    let scripted = Scripted::start(flood);
    let before = peak_memory(scripted.worker.id());
    scripted.submit(&["x"]);
    scripted.ends_as("the last words");
    let grown = peak_memory(scripted.worker.id()) - before;
    assert!(grown < 16 * 1024, "{grown} KiB more after 200 MB of output");
    let longest = scripted.worker.log().iter().map(String::len).max();
    assert!(longest.unwrap() < 8192, "a log line of {longest:?} bytes");
}

#[test]
fn a_program_may_ignore_its_input_or_close_it() {
    let payload = "x".repeat(1_000_000);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, format!("{{\"text\":\"{payload}\"}}\n")).unwrap();
    for script in ["true", "exec <&-; sleep 0.2", "head -c 1 >/dev/null"] {
        let scripted = Scripted::start(script);
        scripted.submit(&["--file", path(file.path())]);
        scripted.ends_as("task completed");
    }
}

#[test]
fn a_program_that_is_killed_has_crashed() {
    let scripted = Scripted::start("kill -9 $$");
    scripted.submit(&["x"]);
    scripted.ends_as("ended by signal 9");
    assert!(scripted.worker.has_logged("reason=crashed"));
}

#[test]
fn a_program_without_an_end_does_not_outlive_the_drain() {
    let mut scripted = Scripted::start(FAMILY);
    scripted.submit(&["x"]);
    let ids = scripted.ids(3);
    scripted.worker.terminate();
    until("the drain", || scripted.worker.has_logged("drain started"));
    scripted.worker.terminate();
    assert_eq!(scripted.worker.wait(), Some(0));
    all_end(&ids);
    assert_eq!(ready(&scripted.broker.url, "exec"), 1);
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Says that it was told to stop, tidies up and ends well.
const TIDY: &str = r#"trap 'echo tidied >"$1/tidied"; exit 0' TERM
echo $$ >"$1/ids"; while :; do sleep 0.05; done"#;

#[test]
fn a_program_is_told_that_its_time_is_up_and_may_still_finish() {
    let scripted = Scripted::start(TIDY);
    scripted.submit(&["--timeout", "500ms", "x"]);
    scripted.ends_as("task completed");
    assert!(scripted.folder.path().join("tidied").exists());
}

#[test]
fn a_program_is_told_that_its_task_is_cancelled() {
    let scripted = Scripted::start(TIDY);
    let id = lines(&scripted.broker.url, &["submit", "-q", "exec", "x"]).remove(0);
    let ids = scripted.ids(1);
    let said = lines(&scripted.broker.url, &["task", "cancel", &id]);
    assert!(said[0].contains("cancel"), "{said:?}");
    scripted.ends_as("task completed");
    all_end(&ids);
    assert!(scripted.folder.path().join("tidied").exists());
}

#[test]
fn a_program_asks_when_to_be_tried_again() {
    let script = r#"echo "$PUMASI_ATTEMPT" >>"$1/ids"
echo ::pumasi::retry-after 100ms >&2; echo no route >&2; [ "$PUMASI_ATTEMPT" = 3 ]"#;
    let scripted = Scripted::start_with(script, &[("PUMASI__WORKER__RETRY__DELAY_BASE", "1h")]);
    scripted.submit(&["--attempts", "3", "x"]);
    scripted.ends_as("task completed");
    assert_eq!(scripted.ids(3), [1, 2, 3]);
}
