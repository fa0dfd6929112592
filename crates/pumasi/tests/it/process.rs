//! Running `pumasi` and following what it says.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, channel},
    },
    time::{Duration, Instant},
};

/// How long a test waits for anything.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A command on this broker.
pub(crate) fn pumasi(url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pumasi"));
    command
        .args(["--broker", url])
        .args(arguments)
        .current_dir(std::env::temp_dir());
    command
}

/// Runs a command to its end.
pub(crate) fn run(url: &str, arguments: &[&str]) -> Output {
    pumasi(url, arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Runs a command that must end well and gives its output lines.
pub(crate) fn lines(url: &str, arguments: &[&str]) -> Vec<String> {
    let output = run(url, arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{arguments:?}: {}: {errors}",
        output.status
    );
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

/// Submits each line of words as a JSON-lines file through standard input; gives the ids.
pub(crate) fn submit_lines(url: &str, queue: &str, input: &str) -> Vec<String> {
    let mut child = pumasi(url, &["submit", "-q", queue, "--file", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

/// A worker process whose output lines can be waited for. Killed when dropped.
pub(crate) struct Worker {
    child: Child,
    lines: Receiver<String>,
    logged: Arc<Mutex<Vec<String>>>,
    /// Every line so far.
    pub(crate) said: Vec<String>,
}

impl Worker {
    /// Starts a worker; `arguments` follow `worker`.
    pub(crate) fn start(url: &str, arguments: &[&str]) -> Self {
        let mut command = pumasi(url, &["worker"]);
        command.args(arguments);
        Self::spawn(command)
    }

    /// Starts a worker from a prepared command and waits until it says that it works.
    pub(crate) fn spawn(mut command: Command) -> Self {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (send, lines) = channel();
        let stdout = child.stdout.take().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        let logged = Arc::new(Mutex::new(Vec::new()));
        let errors = BufReader::new(child.stderr.take().unwrap());
        let log = logged.clone();
        let follower = std::thread::spawn(move || {
            for line in errors.lines().map_while(Result::ok) {
                log.lock().unwrap().push(line);
            }
        });
        let worker = Self {
            child,
            lines,
            logged,
            said: Vec::new(),
        };
        until("a worker's start", || {
            let ended = follower.is_finished();
            let started = worker.has_logged("worker started");
            assert!(started || !ended, "the worker ended: {:?}", worker.log());
            started
        });
        worker
    }

    /// What it has written to standard error so far.
    pub(crate) fn log(&self) -> Vec<String> {
        self.logged.lock().unwrap().clone()
    }

    /// Whether a line on standard error contains a text.
    pub(crate) fn has_logged(&self, text: &str) -> bool {
        let logged = self.logged.lock().unwrap();
        logged.iter().any(|line| line.contains(text))
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Takes what it has said by now.
    pub(crate) fn listen(&mut self) -> &[String] {
        self.said.extend(self.lines.try_iter());
        &self.said
    }

    /// Waits until it has said this many lines.
    pub(crate) fn wait_for_lines(&mut self, count: usize) -> &[String] {
        until("a worker's output", || self.listen().len() >= count);
        &self.said
    }

    /// Kills it with -9.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    }

    /// Waits for its end and gives its exit status.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        let mut status = None;
        until("the worker's end", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.and_then(|status| status.code())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for a condition, with a limit.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < end, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The ready and in-flight counts that `pumasi queue show` tells.
pub(crate) fn ready(url: &str, queue: &str) -> u64 {
    let line = lines(url, &["--json", "queue", "show", queue]).remove(0);
    let status: serde_json::Value = serde_json::from_str(&line).unwrap();
    status["ready"].as_u64().unwrap()
}
