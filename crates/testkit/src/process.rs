//! Services as real processes: started, listened to, told to stop. Ended with the test.

use rustix::process::{Pid, Signal, kill_process};
use std::{
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How long a test waits for anything.
pub const LIMIT: Duration = Duration::from_secs(60);
/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(10);

/// Waits for a condition, with a limit.
///
/// # Panics
/// When the limit passes; the text says what was waited for.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < end, "waited too long for {what}");
        std::thread::sleep(POLL);
    }
}

/// A service process and all that it has said. Killed when dropped.
#[derive(Debug)]
pub struct Service {
    child: Child,
    said: Arc<Mutex<Vec<String>>>,
}

impl Service {
    /// Starts a command and listens to both of its outputs.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the service starts");
        let said = Arc::default();
        listen(child.stdout.take().expect("piped"), &said);
        listen(child.stderr.take().expect("piped"), &said);
        Self { child, said }
    }

    /// The number of the process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Every line so far.
    #[must_use]
    pub fn said(&self) -> Vec<String> {
        locked(&self.said).clone()
    }

    /// Waits for a line that holds this text and gives it.
    ///
    /// # Panics
    /// When it does not come; the text holds what came instead.
    #[must_use]
    pub fn line_with(&self, text: &str) -> String {
        let end = Instant::now() + LIMIT;
        loop {
            let found = locked(&self.said)
                .iter()
                .find(|line| line.contains(text))
                .cloned();
            if let Some(line) = found {
                return line;
            }
            assert!(
                Instant::now() < end,
                "waited too long for `{text}`: {:?}",
                self.said()
            );
            std::thread::sleep(POLL);
        }
    }

    /// The address in the first line with this text, as `address=127.0.0.1:1234`.
    ///
    /// # Panics
    /// When no such line comes.
    #[must_use]
    pub fn address(&self, text: &str) -> SocketAddr {
        let line = self.line_with(text);
        let (_, rest) = line.split_once("address=").expect("an address");
        let word = rest.split(' ').next().unwrap_or_default();
        word.parse().expect("an address and a port")
    }

    /// Sends SIGTERM.
    ///
    /// # Panics
    /// When it has gone.
    pub fn terminate(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("it lives");
    }

    /// Waits for its end and gives its exit status; `None` when a signal ended it.
    ///
    /// # Panics
    /// When it does not end; the text holds what it said.
    pub fn wait(&mut self) -> Option<i32> {
        let end = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child of ours") {
                return status.code();
            }
            assert!(Instant::now() < end, "it does not end: {:?}", self.said());
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program of another package of this workspace, beside one of ours. Built where it is missing.
///
/// # Panics
/// When it cannot be built.
#[must_use]
pub fn program(name: &str, beside: &str) -> PathBuf {
    let folder = Path::new(beside).parent().expect("a folder");
    let program = folder.join(name);
    if !program.exists() {
        // Cargo names the folder of its profile `dev` otherwise.
        let profile = match folder.file_name().and_then(|name| name.to_str()) {
            Some("debug") | None => "dev",
            Some(profile) => profile,
        };
        let built = Command::new("cargo")
            .args(["build", "--quiet", "--profile", profile, "--package", name])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status();
        assert!(
            built.is_ok_and(|status| status.success()),
            "{name} is not built"
        );
    }
    program
}

fn listen(output: impl Read + Send + 'static, said: &Arc<Mutex<Vec<String>>>) {
    let said = Arc::clone(said);
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            locked(&said).push(line);
        }
    });
}

fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
