//! Ends the programs of a worker that was killed.
//!
//! A small process of our own program, started beside the worker and holding one end of a pipe.
//! The worker writes `+PGID` when a program starts and `-PGID` when it ended. When the worker
//! dies, however it dies, the kernel closes the pipe, and the process ends every group that is
//! left. The parent-death signal of Linux would reach the leader of a group only, and would need
//! code between fork and exec.

use rustix::process::{Pid, Signal, kill_process_group};
use std::{
    collections::HashSet,
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    process::{ChildStdin, Command, ExitCode, Stdio},
    sync::{Mutex, OnceLock},
};

/// The first argument that makes our program a lifeline.
const ARGUMENT: &str = "__lifeline";

static PIPE: OnceLock<Mutex<ChildStdin>> = OnceLock::new();

/// Starts the lifeline. To be called once, by a program that calls [`run_if_asked`] first thing.
///
/// # Errors
/// When our own program cannot be started again.
pub fn start() -> std::io::Result<()> {
    if PIPE.get().is_some() {
        return Ok(());
    }
    let mut child = Command::new(std::env::current_exe()?)
        .arg(ARGUMENT)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Out of the terminal's reach: Ctrl-C must end the worker first.
        .process_group(0)
        .spawn()?;
    if let Some(pipe) = child.stdin.take() {
        let _ = PIPE.set(Mutex::new(pipe));
    }
    Ok(())
}

/// Becomes the lifeline when the program was started as one. Call it first thing in `main`.
#[must_use]
pub fn run_if_asked() -> Option<ExitCode> {
    let mut arguments = std::env::args_os();
    if arguments.nth(1).is_none_or(|argument| argument != ARGUMENT) {
        return None;
    }
    let mut groups = HashSet::new();
    for line in BufReader::new(std::io::stdin())
        .lines()
        .map_while(Result::ok)
    {
        match line.split_at_checked(1) {
            Some(("+", id)) => groups.insert(id.to_owned()),
            Some(("-", id)) => groups.remove(id),
            _ => false,
        };
    }
    for id in groups {
        if let Some(group) = id.parse().ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
    Some(ExitCode::SUCCESS)
}

/// A process group that is ended when the worker dies, until this is dropped.
#[derive(Debug)]
pub(super) struct Registered(Pid);

pub(super) fn register(group: Pid) -> Option<Registered> {
    tell('+', group).then_some(Registered(group))
}

impl Drop for Registered {
    fn drop(&mut self) {
        tell('-', self.0);
    }
}

fn tell(sign: char, group: Pid) -> bool {
    let Some(pipe) = PIPE.get() else { return false };
    let Ok(mut pipe) = pipe.lock() else {
        return false;
    };
    pipe.write_all(format!("{sign}{}\n", group.as_raw_nonzero()).as_bytes())
        .is_ok()
}
