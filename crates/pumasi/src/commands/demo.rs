//! `pumasi demo`: the whole story with real, separate processes.
//!
//! A producer process submits, worker processes compete, one of them is killed with -9 in
//! mid-task, another finishes its task; a table says who did what.

mod worker;

use crate::{
    cli::{Demo, Global},
    failure::{self, Failure},
    say::{note, print, print_json},
};
use pumasi_common::TaskId;
use std::{
    collections::{HashMap, HashSet},
    io::{BufRead, BufReader, Write},
    process::{Child, Command, ExitCode, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    time::{Duration, Instant},
};

pub(super) use worker::run as run_worker;

/// The queue of the demo.
pub(crate) const QUEUE: &str = "pumasi.demo";

/// How long the story may take.
const LIMIT: Duration = Duration::from_secs(60);

pub(super) async fn run(global: Global, arguments: Demo) -> Result<ExitCode, Failure> {
    tokio::task::spawn_blocking(move || tell_story(&global, &arguments))
        .await
        .map_err(|error| failure::internal("the demo ended abruptly", error))?
}

fn tell_story(global: &Global, arguments: &Demo) -> Result<ExitCode, Failure> {
    let io = |error: std::io::Error| failure::internal("the demo cannot go on", error);
    let folder = std::env::temp_dir().join(format!("pumasi-demo-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(io)?;
    let broker = global
        .broker
        .clone()
        .unwrap_or_else(|| format!("sqlite:{}", folder.join("demo.db").display()));
    let story = Story {
        broker,
        tasks: arguments.tasks,
        workers: arguments.workers,
    };
    note(if global.broker.is_some() {
        "broker: the one that was given".to_owned()
    } else {
        format!("broker: embedded, {}", folder.join("demo.db").display())
    });
    let accepted = story.submit(&folder).map_err(io)?;
    note(format_args!("producer: {} tasks accepted", accepted.len()));
    if arguments.pause {
        note("the queue is full; press Enter to start the workers");
        std::io::stdin()
            .lock()
            .read_line(&mut String::new())
            .map_err(io)?;
    }
    let ledger = story.work(&accepted).map_err(io)?;
    // A leftover folder in the temporary files is no reason to fail.
    let _ = std::fs::remove_dir_all(&folder);
    Ok(ledger.tell(&accepted, global.json))
}

struct Story {
    broker: String,
    tasks: u32,
    workers: u32,
}

/// What a worker process says.
enum Event {
    Started(usize, TaskId),
    Done(usize, TaskId),
}

#[derive(Default)]
struct Ledger {
    started: HashMap<usize, u32>,
    done: HashMap<usize, u32>,
    done_by: HashMap<TaskId, Vec<usize>>,
    victim: Option<(usize, TaskId)>,
}

impl Story {
    fn command(&self) -> std::io::Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["--broker", &self.broker])
            .env("PUMASI__TELEMETRY__LOG_LEVEL", "error");
        Ok(command)
    }

    /// Runs `pumasi submit --file` and gives the accepted ids.
    fn submit(&self, folder: &std::path::Path) -> std::io::Result<HashSet<TaskId>> {
        let path = folder.join("tasks.jsonl");
        let mut file = std::io::BufWriter::new(std::fs::File::create(&path)?);
        for number in 1..=self.tasks {
            writeln!(file, "{{\"payload\": {number}}}")?;
        }
        file.flush()?;
        let mut command = self.command()?;
        command
            .args(["submit", "--queue", QUEUE, "--file"])
            .arg(&path);
        let output = command.output()?;
        String::from_utf8_lossy(&output.stderr)
            .lines()
            .for_each(note);
        Ok(String::from_utf8_lossy(&output.stdout)
            .lines()
            .filter_map(|line| TaskId::new(line).ok())
            .collect())
    }

    /// Starts the workers, kills the first of them in mid-task, waits until all is done.
    fn work(&self, accepted: &HashSet<TaskId>) -> std::io::Result<Ledger> {
        let (send, events) = channel();
        let mut workers = Vec::new();
        for number in 0..usize::try_from(self.workers).unwrap_or(2) {
            workers.push(self.start_worker(number, send.clone())?);
        }
        drop(send);
        note(format_args!("workers: {} processes compete", workers.len()));
        let ledger = follow(&events, &mut workers, accepted);
        for worker in &mut workers {
            let _ = worker.kill();
            let _ = worker.wait();
        }
        Ok(ledger)
    }

    fn start_worker(&self, number: usize, events: Sender<Event>) -> std::io::Result<Child> {
        let mut command = self.command()?;
        command
            .arg("demo-worker")
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut child = command.spawn()?;
        if let Some(stdout) = child.stdout.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    let event = match line.split_once(' ') {
                        Some(("start", id)) => {
                            TaskId::new(id).ok().map(|id| Event::Started(number, id))
                        }
                        Some(("done", id)) => {
                            TaskId::new(id).ok().map(|id| Event::Done(number, id))
                        }
                        _ => None,
                    };
                    if event.is_some_and(|event| events.send(event).is_err()) {
                        return;
                    }
                }
            });
        }
        Ok(child)
    }
}

fn follow(events: &Receiver<Event>, workers: &mut [Child], accepted: &HashSet<TaskId>) -> Ledger {
    let end = Instant::now() + LIMIT;
    let mut ledger = Ledger::default();
    while !accepted.iter().all(|id| ledger.done_by.contains_key(id)) {
        let left = end.saturating_duration_since(Instant::now());
        match events.recv_timeout(left) {
            Ok(Event::Started(worker, id)) => {
                *ledger.started.entry(worker).or_default() += 1;
                let busy = ledger.done.get(&worker).is_some_and(|done| *done >= 2);
                if ledger.victim.is_none() && busy {
                    if let Some(child) = workers.get_mut(worker) {
                        let _ = child.kill();
                    }
                    note(format_args!(
                        "worker {} killed with -9 in mid-task {id}",
                        worker + 1
                    ));
                    ledger.victim = Some((worker, id));
                }
            }
            Ok(Event::Done(worker, id)) => {
                *ledger.done.entry(worker).or_default() += 1;
                ledger.done_by.entry(id).or_default().push(worker);
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    ledger
}

impl Ledger {
    fn tell(&self, accepted: &HashSet<TaskId>, json: bool) -> ExitCode {
        let submitted = accepted.len();
        let is_done = |id: &&TaskId| self.done_by.contains_key(*id);
        let done = accepted.iter().filter(is_done).count();
        let lost = submitted - done;
        let mut workers: Vec<usize> = self.started.keys().copied().collect();
        workers.sort_unstable();
        if json {
            let workers: Vec<_> = workers.into_iter().map(|it| self.as_json(it)).collect();
            print_json(&serde_json::json!({
                "submitted": submitted,
                "done": done,
                "lost": lost,
                "workers": workers,
            }));
        } else {
            print(self.table(&workers));
            print(format_args!(
                "submitted {submitted}, done {done}, lost {lost}"
            ));
        }
        let told = self.victim.is_some() && lost == 0 && !accepted.is_empty();
        if told {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }

    fn count(counts: &HashMap<usize, u32>, worker: usize) -> u32 {
        counts.get(&worker).copied().unwrap_or_default()
    }

    fn as_json(&self, worker: usize) -> serde_json::Value {
        serde_json::json!({
            "worker": worker + 1,
            "started": Self::count(&self.started, worker),
            "done": Self::count(&self.done, worker),
            "killed": self.victim.as_ref().is_some_and(|(victim, _)| *victim == worker),
        })
    }

    fn table(&self, workers: &[usize]) -> comfy_table::Table {
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        table.set_header(["WORKER", "STARTED", "DONE", ""]);
        for worker in workers {
            let story = match &self.victim {
                Some((victim, id)) if victim == worker => {
                    let by = self.done_by.get(id).and_then(|by| by.first());
                    let by =
                        by.map_or_else(|| "nobody".to_owned(), |by| format!("worker {}", by + 1));
                    format!("killed in mid-task; its task was finished by {by}")
                }
                _ => String::new(),
            };
            table.add_row([
                (worker + 1).to_string(),
                Self::count(&self.started, *worker).to_string(),
                Self::count(&self.done, *worker).to_string(),
                story,
            ]);
        }
        table
    }
}
