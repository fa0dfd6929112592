//! Exec handlers: a program run once per task.
//!
//! Contract: the payload on standard input, whole from the start: in a file in memory, so that a
//! program whose worker dies reads all of it or is ended, and never a part. `PUMASI_TASK_ID`,
//! `PUMASI_TASK_KIND`, `PUMASI_QUEUE`, `PUMASI_ATTEMPT`, `PUMASI_RUN`, `TRACEPARENT` in an otherwise
//! allow-listed environment. Exit 0: done; 65:
//! rejected; anything else: failed. Standard output is the result; lines on standard error may say
//! how far it is or when to try again (`directives`). Told to stop, the program gets TERM, and KILL
//! when its grace is over. No shell is involved; program and arguments come from the
//! worker's configuration, never from a message. The program leads a process group of its own,
//! which is ended as a whole: after the run, on time-out, and when the worker dies (`lifeline`).

mod directives;
pub mod lifeline;
mod output;

use super::{Context, Handler, HandlerError, HandlerResult};
use crate::{decide::RetryAfter, error::WorkerError};
use directives::{Directive, Directives, is_directive};
use output::{Tail, drain_tail};
use pumasi_common::{TaskKind, broker::BoxFuture, outcome::Output};
use rustix::{
    fs::{MemfdFlags, memfd_create},
    process::{Pid, Signal, kill_process_group},
};
use std::{
    fs::File,
    io::{self, Seek, Write},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};
use tokio::process::{Child, Command};

/// Environment variables of the worker that a program may see.
pub const ENVIRONMENT_PASSED: [&str; 7] =
    ["PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "USER"];

/// How much of each output stream is kept, in bytes: the last ones.
pub const OUTPUT_BYTES_MAX: usize = 64 * 1024;

/// The exit status that means: no attempt can succeed (`EX_DATAERR`).
pub const EXIT_REJECTED: i32 = 65;

/// How long a grandchild may hold the output open after the program has ended.
const OUTPUT_GRACE: Duration = Duration::from_millis(500);

/// Runs a program for each task.
#[derive(Debug)]
pub struct Exec {
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(&'static str, String)>,
}

impl Exec {
    /// A handler that runs `command[0]` with the other words as its arguments.
    ///
    /// # Errors
    /// When the program does not exist or is not executable.
    pub fn new(command: &[String]) -> Result<Self, WorkerError> {
        let Some((program, arguments)) = command.split_first() else {
            return Err(WorkerError::Config {
                key: "exec",
                value: "[]".to_owned(),
                expected: "a program and its arguments",
            });
        };
        Ok(Self {
            program: resolve(program)?,
            arguments: arguments.to_vec(),
            environment: ENVIRONMENT_PASSED
                .iter()
                .filter_map(|name| Some((*name, std::env::var(name).ok()?)))
                .collect(),
        })
    }

    fn command(&self, context: &Context) -> io::Result<Command> {
        let task = &context.task;
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env("PUMASI_TASK_ID", task.id.as_str())
            .env("PUMASI_QUEUE", context.queue.as_str())
            .env("PUMASI_ATTEMPT", context.attempt().to_string())
            .stdin(in_memory(&task.payload)?)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        if let Some(kind) = task.kind.as_ref().map(TaskKind::as_str)
            && !kind.contains('\0')
        {
            command.env("PUMASI_TASK_KIND", kind);
        }
        if let Some(trace) = &context.trace {
            command.env("TRACEPARENT", &trace.traceparent);
        }
        Ok(command)
    }

    async fn run(&self, context: Context) -> HandlerResult<Output> {
        let starting = lifeline::starting();
        let mut command = self
            .command(&context)
            .map_err(|error| HandlerError::fail(format!("no memory for the payload: {error}")))?;
        command.env(lifeline::RUN, &starting.name);
        let mut child = command.spawn().map_err(|error| {
            HandlerError::fail(format!("cannot start {}: {error}", self.program.display()))
        })?;
        let group = Group::of(&child, starting);
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (mut output, mut errors) = (Tail::default(), Tail::default());
        let (mut directives, mut retry_after) = (Directives::default(), None);
        let status = {
            let obey = |piece: &[u8]| {
                for directive in directives.read(piece) {
                    match directive {
                        Directive::Progress(text) => context.progress(text),
                        Directive::RetryAfter(delay) => {
                            retry_after = Some(RetryAfter::Exactly(delay));
                        }
                    }
                }
            };
            let stdout = drain_tail(stdout, OUTPUT_BYTES_MAX, &mut output, |_| {});
            let stderr = drain_tail(stderr, OUTPUT_BYTES_MAX, &mut errors, obey);
            let streams = async { tokio::join!(stdout, stderr) };
            tokio::pin!(streams);
            let mut streaming = true;
            let mut told = false;
            let status = loop {
                tokio::select! {
                    status = child.wait() => break status,
                    _ = &mut streams, if streaming => streaming = false,
                    // From here on it has its grace; then this future is dropped, and the group
                    // is ended.
                    () = context.cancellation.cancelled(), if !told => {
                        told = true;
                        group.tell();
                    }
                }
            };
            if streaming {
                // What a child of it holds open has no end; what was read until now counts.
                let _ = tokio::time::timeout(OUTPUT_GRACE, &mut streams).await;
            }
            status
        };
        drop(group);
        report(status?, output, &errors, retry_after)
    }
}

impl Handler for Exec {
    fn handle(&self, context: Context) -> BoxFuture<'_, HandlerResult<Output>> {
        Box::pin(self.run(context))
    }
}

fn report(
    status: ExitStatus,
    stdout: Tail,
    stderr: &Tail,
    retry_after: Option<RetryAfter>,
) -> HandlerResult<Output> {
    use std::os::unix::process::ExitStatusExt;
    let shown = |what: String| {
        let tail = if stderr.is_empty() { &stdout } else { stderr };
        let text = tail.last_text(1024);
        let lines: Vec<&str> = text.lines().filter(|line| !is_directive(line)).collect();
        if lines.is_empty() {
            what
        } else {
            format!("{what}: {}", lines.join("\n"))
        }
    };
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(result(stdout)),
        (Some(EXIT_REJECTED), _) => Err(HandlerError::reject(shown("exit status 65".to_owned()))),
        (Some(code), _) => Err(HandlerError::Fail {
            error: shown(format!("exit status {code}")),
            retry_after,
        }),
        (None, signal) => Err(HandlerError::Crash {
            error: shown(format!("ended by signal {}", signal.unwrap_or_default())),
        }),
    }
}

/// A file in memory that holds this, to be read from its begin. It takes the payload's size once
/// more while the program has it open.
fn in_memory(payload: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create("payload", MemfdFlags::CLOEXEC)?);
    file.write_all(payload)?;
    file.rewind()?;
    Ok(file)
}

/// What the program wrote to standard output.
fn result(stdout: Tail) -> Output {
    match String::from_utf8(stdout.into_bytes()) {
        Ok(text) if text.is_empty() => Output::default(),
        Ok(text) => text.into(),
        Err(error) => error.into_bytes().into(),
    }
}

/// The program's process group; ended when dropped.
#[derive(Debug)]
struct Group {
    leader: Option<Pid>,
    _registered: Option<lifeline::Registered>,
}

impl Group {
    fn of(child: &Child, starting: lifeline::Starting) -> Self {
        let leader = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        Self {
            leader,
            _registered: leader.and_then(|leader| starting.register(leader)),
        }
    }

    /// Tells it to end.
    fn tell(&self) {
        if let Some(leader) = self.leader {
            // No such process: it has ended already.
            let _ = kill_process_group(leader, Signal::TERM);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.leader {
            // No such process: nothing was left behind.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

fn resolve(program: &str) -> Result<PathBuf, WorkerError> {
    let missing = |problem: &str| WorkerError::HandlerMissing {
        program: program.to_owned(),
        problem: problem.to_owned(),
    };
    if program.contains('/') {
        let path = Path::new(program);
        return if !path.exists() {
            Err(missing("it does not exist"))
        } else if is_executable(path) {
            std::path::absolute(path).map_err(|_| missing("its folder cannot be read"))
        } else {
            Err(missing("it is not executable"))
        };
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders)
        .map(|folder| folder.join(program))
        .find(|path| is_executable(path))
        .ok_or_else(|| missing("it is not on the PATH"))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
