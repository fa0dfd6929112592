//! A reader's terminal: a shell that is typed into line by line.

use super::{
    compare::{Verdict, compare},
    page::{Act, Typed},
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    collections::HashSet,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant},
};

/// What the shell prints when a command line has ended, with its exit status behind.
const ENDED: &str = "\u{1}ended ";

/// How long a reader waits for anything: a broker starts slowly on a busy machine.
const LIMIT: Duration = Duration::from_secs(150);

/// How often a command that only looks is repeated while it shows something else.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// A shell in a session of its own; all that it started goes with it.
pub(crate) struct Terminal {
    shell: Child,
    input: ChildStdin,
    output: Receiver<String>,
    /// Output that no act has claimed yet.
    came: Vec<String>,
    /// Whether a command line runs in the foreground.
    busy: bool,
    /// The exit status of the last command line.
    status: i32,
    /// Whether the page leaves out what the last command line says from here on.
    elided: bool,
    /// Processes that were there before the command line that runs.
    before: HashSet<i32>,
    name: String,
}

impl Terminal {
    /// Opens a terminal in this folder.
    pub(crate) fn open(name: &str, folder: &Path, environment: &[(String, String)]) -> Self {
        let mut command = Command::new("setsid");
        command
            .args(["bash", "--noprofile", "--norc"])
            .current_dir(folder)
            .env_clear()
            .envs(environment.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Only the shell's own remarks about jobs: those of a person's shell differ.
            .stderr(Stdio::null());
        let mut shell = command.spawn().unwrap();
        let mut input = shell.stdin.take().unwrap();
        let stdout = shell.stdout.take().unwrap();
        let (send, output) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        input.write_all(b"set -m\n").unwrap();
        Self {
            shell,
            input,
            output,
            came: Vec::new(),
            busy: false,
            status: 0,
            elided: false,
            before: HashSet::new(),
            name: name.to_owned(),
        }
    }

    /// Types, and waits until what is shown has come, and for the end of the program where a
    /// command line comes `next`.
    pub(crate) fn act(&mut self, act: &Act, next: Option<&Act>) {
        match &act.typed {
            Typed::Nothing => {}
            Typed::Interrupt => self.interrupt(),
            Typed::Line(line) => {
                self.settle();
                self.type_line(line);
            }
        }
        // After Ctrl-C a reader waits for the prompt: what ends may still take a task.
        let may_run = !matches!(next.map(|act| &act.typed), Some(Typed::Line(_)))
            && !matches!(act.typed, Typed::Interrupt);
        let until = Instant::now() + LIMIT;
        loop {
            let verdict = compare(&act.shown, &self.came);
            if verdict == Verdict::Same && (!self.busy || may_run) {
                break;
            }
            let look = match &act.typed {
                Typed::Line(line) if only_looks(line) => Some(line),
                Typed::Nothing | Typed::Interrupt | Typed::Line(_) => None,
            };
            let in_time = Instant::now() < until;
            assert!(
                in_time && (look.is_some() || verdict != Verdict::Differs),
                "terminal {}, after {:?}: the page shows\n{}\nbut there came\n{}",
                self.name,
                act.typed,
                act.shown.join("\n"),
                self.came.join("\n")
            );
            match look {
                Some(line) if !self.busy => {
                    std::thread::sleep(LOOK_AGAIN);
                    self.came.clear();
                    self.type_line(line);
                    self.wait_for_end();
                }
                Some(_) | None => self.hear(until),
            }
        }
        let fails = self.status != 0 && !self.busy && matches!(act.typed, Typed::Line(_));
        let told = act.shown.iter().any(|line| line.contains("error["));
        assert!(!fails || told, "{:?} ends with {}", act.typed, self.status);
        self.elided = act.shown.last().is_some_and(|line| line == "…");
        self.came.clear();
    }

    /// Waits until the terminal takes a new line; everything it said must have been shown.
    pub(crate) fn settle(&mut self) {
        self.wait_for_end();
        if self.elided {
            self.came.clear();
        }
        assert!(
            self.came.is_empty(),
            "terminal {} says what the page does not show: {}",
            self.name,
            self.came.join("\n")
        );
    }

    fn wait_for_end(&mut self) {
        let until = Instant::now() + LIMIT;
        while self.busy {
            assert!(
                Instant::now() < until,
                "terminal {}: a program still runs; it said\n{}",
                self.name,
                self.came.join("\n")
            );
            self.hear(until);
        }
        while let Ok(line) = self.output.try_recv() {
            self.take(line);
        }
    }

    fn type_line(&mut self, line: &str) {
        self.before = self.children();
        self.busy = true;
        let typed = format!("{{ {line}\n}} 2>&1 </dev/null; printf '\\n{ENDED}%d\\n' $?\n");
        self.input.write_all(typed.as_bytes()).unwrap();
    }

    fn hear(&mut self, until: Instant) {
        let left = until.saturating_duration_since(Instant::now());
        match self.output.recv_timeout(left) {
            Ok(line) => self.take(line),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => panic!("terminal {} has gone", self.name),
        }
    }

    fn take(&mut self, line: String) {
        let is_remark = line.starts_with("bash: line ") && line.contains(" Killed ");
        if is_remark {
            // What a shell says about a job that was killed differs from shell to shell.
        } else if let Some(status) = line.strip_prefix(ENDED) {
            self.busy = false;
            self.status = status.parse().unwrap();
        } else if !line.trim().is_empty() {
            self.came.push(line);
        }
    }

    /// Ctrl-C goes to the program in the foreground, not to those in the background.
    fn interrupt(&self) {
        for child in self.children().difference(&self.before) {
            let child = Pid::from_raw(*child).unwrap();
            kill_process(child, Signal::INT).unwrap();
        }
    }

    fn children(&self) -> HashSet<i32> {
        let id = self.shell.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        let children = children.unwrap_or_default();
        children.split_whitespace().flat_map(str::parse).collect()
    }
}

/// A command that changes nothing may be repeated, as a reader would look again.
fn only_looks(line: &str) -> bool {
    [
        "pumasi queue show ",
        "pumasi queue list",
        "pumasi dead list",
        "cat ",
        "rabbitmqctl -q list_",
    ]
    .iter()
    .any(|look| line.starts_with(look))
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let session = self.shell.id().to_string();
        for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let stat = std::fs::read_to_string(process.path().join("stat")).unwrap_or_default();
            // Behind the name, which may hold anything: state, parent, group, session.
            let fields = stat.rsplit_once(") ").map(|(_, fields)| fields);
            let member = fields.and_then(|fields| fields.split(' ').nth(3)) == Some(&*session);
            let id = process.file_name().to_str().and_then(|id| id.parse().ok());
            if let (true, Some(id)) = (member, id.and_then(Pid::from_raw)) {
                let _ = kill_process(id, Signal::KILL);
            }
        }
        let _ = self.shell.wait();
    }
}
