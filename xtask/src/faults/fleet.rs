//! The processes of a row: workers and a producer, each in its own log, ended with the row.

use super::{
    pairs::Pair,
    rows::{CONCURRENCY, Handlers, Row},
    stage::Stage,
};
use crate::process::Result;
use pumasi_testkit::faults::{ledger::Ledger, orders::Orders};
use serde_json::Value;
use std::{
    fs::File,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// The queue of every row.
pub(super) const QUEUE: &str = "faulty";
/// How often workers and the broker prove to each other that they live.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(2);
/// Longest wait for anything that must happen.
pub(super) const LIMIT: Duration = Duration::from_secs(60);
/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(20);

/// Where the programs are.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    pub(super) pumasi: PathBuf,
    pub(super) producer: PathBuf,
    pub(super) worker: PathBuf,
    pub(super) handler: PathBuf,
}

/// A worker of a name that no other has or had.
pub(super) struct Worker {
    pub(super) name: String,
    pub(super) child: Child,
}

/// The processes of a row.
pub(super) struct Fleet<'a> {
    programs: &'a Programs,
    pub(super) row: &'a Row,
    seed: u64,
    url: String,
    first_url: Option<String>,
    pub(super) folder: &'a Path,
    pub(super) ledger: Ledger,
    pub(super) workers: Vec<Worker>,
    pub(super) producer: Option<Child>,
    started: usize,
}

impl<'a> Fleet<'a> {
    /// Starts the workers, and the producer when they listen.
    pub(super) fn start(
        programs: &'a Programs,
        row: &'a Row,
        seed: u64,
        stage: &Stage<'_>,
        folder: &'a Path,
    ) -> Result<Self> {
        let ledger = Ledger::open(&folder.join("ledger")).map_err(|error| error.to_string())?;
        let mut fleet = Self {
            programs,
            row,
            seed,
            url: stage.url.clone(),
            first_url: stage.first_url.clone(),
            folder,
            ledger,
            workers: Vec::new(),
            producer: None,
            started: 0,
        };
        if row.has_password_file {
            fleet.write_password(pumasi_testkit::rabbitmq::PASSWORD)?;
        }
        for _ in 0..row.workers {
            fleet.start_worker()?;
        }
        for worker in 0..row.workers {
            let name = fleet.workers[worker].name.clone();
            until("a worker's start", || {
                fleet.log(&name).contains("worker started")
            })?;
        }
        fleet.start_producer()?;
        until("the first run", || {
            fleet.ledger_text().contains("\"start\"")
        })?;
        Ok(fleet)
    }

    /// Where every process reads the broker's password, in rows that ask for it.
    fn password_file(&self) -> PathBuf {
        self.folder.join("password")
    }

    /// Gives every process another password, for its next connection.
    pub(super) fn write_password(&self, password: &str) -> Result {
        // Nobody is to read half of it.
        let new = self.folder.join("password.new");
        std::fs::write(&new, password)
            .and_then(|()| std::fs::rename(&new, self.password_file()))
            .map_err(|error| error.to_string())
    }

    /// A command of a program that can reach the broker and is killed when this process ends.
    fn command(&self, program: &Path) -> Command {
        let mut command = dying_with_us(program);
        if self.row.has_password_file {
            command.env("PUMASI__BROKER__PASSWORD_FILE", self.password_file());
        }
        command
    }

    pub(super) fn ledger_path(&self) -> PathBuf {
        self.folder.join("ledger")
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// A program that is an example of this package.
    pub(super) fn example(&self, name: &str) -> PathBuf {
        self.programs.producer.with_file_name(name)
    }

    pub(super) fn ledger_text(&self) -> String {
        std::fs::read_to_string(self.ledger_path()).unwrap_or_default()
    }

    /// What a process of this name has logged.
    pub(super) fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.join(name)).unwrap_or_default()
    }

    pub(super) fn start_worker(&mut self) -> Result {
        self.started += 1;
        let name = format!("w{}", self.started);
        let first_url = self.first_url.as_ref().filter(|_| self.started == 1);
        let url = first_url.unwrap_or(&self.url).clone();
        let pair = self.row.pair.worker(self, &name)?;
        let mut command = match (pair, self.row.handlers) {
            (Some(command), _) => command,
            (None, Handlers::Programs) => {
                let mut command = self.pumasi_at(&url, &["worker", "-q", QUEUE, "--name", &name]);
                command
                    .args(["-c", &CONCURRENCY.to_string()])
                    .args(self.row.worker_arguments)
                    .arg("--exec")
                    .arg(&self.programs.handler)
                    .arg(self.ledger_path())
                    .arg(&name)
                    .args(self.row.handler_arguments);
                command
            }
            (None, Handlers::Functions) => {
                let mut command = self.command(&self.programs.worker);
                command
                    .arg(self.ledger_path())
                    .env("PUMASI__BROKER__URL", url)
                    .env("PUMASI__WORKER__QUEUES", QUEUE)
                    .env("PUMASI__WORKER__NAME", &name)
                    .env("PUMASI__WORKER__CONCURRENCY", CONCURRENCY.to_string());
                command
            }
        };
        command
            .env("PUMASI__BROKER__HEARTBEAT", format!("{HEARTBEAT:?}"))
            .env("PUMASI__BROKER__CONNECT_TIMEOUT", "2s")
            .env("PUMASI__WORKER__RETRY__DELAY_BASE", "200ms");
        let child = self.spawn(&mut command, &name)?;
        self.workers.push(Worker { name, child });
        Ok(())
    }

    pub(super) fn start_producer(&mut self) -> Result {
        let orders = Orders {
            url: self.url.clone(),
            queue: QUEUE.to_owned(),
            ledger: self.ledger_path(),
            stop: self.stop_file(),
            count: self.row.tasks,
            burst: self.row.burst,
            pause_ms: self.row.pause_ms,
            work_ms: self.row.work_ms,
            deadline_ms: self.row.deadline_ms,
            seed: self.seed,
            trouble: self.row.trouble,
            bug: self.row.bug,
        };
        let orders = serde_json::to_string(&orders).map_err(|error| error.to_string())?;
        let mut command = match self.row.pair.producer(self, &orders)? {
            Some(command) => command,
            None => {
                let mut command = self.command(&self.programs.producer);
                command.arg(orders);
                command
            }
        };
        let child = self.spawn(&mut command, "producer")?;
        self.producer = Some(child);
        Ok(())
    }

    /// Starts again what has ended by itself, where that is what its kind does.
    pub(super) fn revive(&mut self) -> Result {
        if !self.row.pair.is_mortal() {
            return Ok(());
        }
        let mut place = 0;
        while let Some(worker) = self.workers.get_mut(place) {
            match worker.child.try_wait() {
                Ok(Some(_)) => {
                    self.workers.remove(place);
                    self.start_worker()?;
                }
                _ => place += 1,
            }
        }
        let ended = self
            .producer
            .as_mut()
            .and_then(|child| child.try_wait().ok());
        if ended.flatten().is_some_and(|status| !status.success()) {
            self.start_producer()?;
        }
        Ok(())
    }

    /// Whether its tasks end in dead letters at all.
    pub(super) fn has_dead_letters(&self) -> bool {
        !self.row.pair.is_mortal()
    }

    /// Starts a gateway that waits this long for the broker; its end is the caller's business.
    pub(super) fn start_gateway(&self, listen: SocketAddr, deadline: Duration) -> Result<Child> {
        let mut command = self.pumasi(&["gateway"]);
        command
            .env("PUMASI__GATEWAY__LISTEN", listen.to_string())
            .env("PUMASI__HEALTH__LISTEN", "127.0.0.1:0")
            .env(
                "PUMASI__BROKER__PUBLISH_TIMEOUT",
                format!("{}ms", deadline.as_millis()),
            );
        self.spawn(&mut command, "gateway")
    }

    /// Lets the producer come to its end.
    pub(super) fn finish_producer(&mut self) -> Result {
        File::create(self.stop_file()).map_err(|error| error.to_string())?;
        let Some(producer) = &mut self.producer else {
            return Ok(());
        };
        let status = wait("the producer's end", producer)?;
        if status.success() || self.row.pair.is_mortal() {
            return Ok(());
        }
        Err(format!("the producer failed: {}", self.log("producer")))
    }

    /// Stops the workers in order.
    pub(super) fn finish_workers(&mut self) -> Result {
        for worker in &mut self.workers {
            if matches!(self.row.pair, Pair::Pumasi) {
                signal(&worker.child, rustix::process::Signal::TERM)?;
            } else {
                // Whatever it had to finish is finished, and it may not know how to end.
                let _ = worker.child.kill();
            }
        }
        for worker in &mut self.workers {
            wait("a worker's end", &mut worker.child)?;
        }
        Ok(())
    }

    /// The JSON lines of an operator's command.
    pub(super) fn ask(&self, arguments: &[&str]) -> Result<Vec<Value>> {
        let output = self
            .pumasi(&[&["--json"], arguments].concat())
            .output()
            .map_err(|error| error.to_string())?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("pumasi {}: {said}", arguments.join(" ")));
        }
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(|line| serde_json::from_str(line).map_err(|error| format!("{error}: {line}")))
            .collect()
    }

    fn pumasi(&self, arguments: &[&str]) -> Command {
        self.pumasi_at(&self.url, arguments)
    }

    fn pumasi_at(&self, url: &str, arguments: &[&str]) -> Command {
        let mut command = self.command(&self.programs.pumasi);
        command
            .args(["--broker", url])
            .args(arguments)
            .current_dir(self.folder);
        command
    }

    fn spawn(&self, command: &mut Command, name: &str) -> Result<Child> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder.join(name))
            .map_err(|error| error.to_string())?;
        let other = log.try_clone().map_err(|error| error.to_string())?;
        command
            .current_dir(self.folder)
            .envs(self.row.environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(other)
            .spawn()
            .map_err(|error| format!("cannot start {name}: {error}"))
    }

    fn stop_file(&self) -> PathBuf {
        self.folder.join("stop")
    }
}

impl Drop for Fleet<'_> {
    fn drop(&mut self) {
        let workers = self.workers.iter_mut().map(|worker| &mut worker.child);
        for child in workers.chain(&mut self.producer) {
            // One that has ended needs no end. Its handlers end with it.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A command of a program that is killed when this process ends, however that happens. The tool
/// becomes the program, so that its number is the child's.
pub(super) fn dying_with_us(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// Sends a signal to a process of ours.
pub(super) fn signal(child: &Child, signal: rustix::process::Signal) -> Result {
    rustix::process::kill_process(rustix::process::Pid::from_child(child), signal)
        .map_err(|error| format!("cannot signal {}: {error}", child.id()))
}

/// Waits for the end of a process.
pub(super) fn wait(what: &str, child: &mut Child) -> Result<std::process::ExitStatus> {
    let mut ended = None;
    until(what, || {
        ended = child.try_wait().ok().flatten();
        ended.is_some()
    })?;
    ended.ok_or_else(|| what.to_owned())
}

/// Waits for a condition, with a limit.
pub(super) fn until(what: &str, condition: impl FnMut() -> bool) -> Result {
    until_within(LIMIT, what, condition)
}

/// Waits for a condition, with this limit.
pub(super) fn until_within(
    limit: Duration,
    what: &str,
    mut condition: impl FnMut() -> bool,
) -> Result {
    let end = Instant::now() + limit;
    while !condition() {
        if Instant::now() > end {
            return Err(format!("waited too long for {what}"));
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}
