//! Ends the programs of a worker that was killed.
//!
//! A small process of our own program, started beside the worker and holding one end of a pipe.
//! When the worker dies, however it dies, the kernel closes the pipe, and the process ends every
//! process group that is left. The parent-death signal of Linux would reach the leader of a group
//! only, and would need code between fork and exec.
//!
//! A program runs before the worker knows its number, and the worker may be killed in between. So
//! it first writes the name of the run that it is about to start, and gives the program that name
//! as a variable. A run that has a name and no number yet is looked for by its variable.
//!
//! What the worker writes, a line each: `?NAME` before a program starts, `+PGID NAME` when it has
//! started, `!NAME` when it has not, `-PGID` when it has ended.

use rustix::process::{Pid, Signal, kill_process_group};
use std::{
    collections::HashSet,
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{ChildStdin, Command, ExitCode, Stdio},
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    thread::sleep,
    time::{Duration, Instant, SystemTime},
};

/// The first argument that makes our program a lifeline.
const ARGUMENT: &str = "__lifeline";
/// The variable that names a run, like no other.
pub(super) const RUN: &str = "PUMASI_RUN";
/// How long a program may take from its fork to its own environment, once its worker has died.
const START_MAX: Duration = Duration::from_secs(1);
/// How often it is looked for.
const POLL: Duration = Duration::from_millis(10);

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
    let mut programs = Programs::default();
    for line in BufReader::new(std::io::stdin())
        .lines()
        .map_while(Result::ok)
    {
        programs.note(&line);
    }
    programs.end(Path::new("/proc"));
    Some(ExitCode::SUCCESS)
}

/// What the worker has told of its programs.
#[derive(Debug, Default)]
struct Programs {
    groups: HashSet<String>,
    /// The names of runs that are about to start, or have just started.
    starting: HashSet<String>,
}

impl Programs {
    fn note(&mut self, line: &str) {
        let Some((sign, rest)) = line.split_at_checked(1) else {
            return;
        };
        match (sign, rest.split_once(' ')) {
            ("?", None) => drop(self.starting.insert(rest.to_owned())),
            ("!", None) => drop(self.starting.remove(rest)),
            ("+", Some((group, name))) => {
                self.starting.remove(name);
                self.groups.insert(group.to_owned());
            }
            ("-", None) => drop(self.groups.remove(rest)),
            _ => {}
        }
    }

    /// Ends every group that is left.
    fn end(mut self, processes: &Path) {
        for group in self.groups {
            if let Some(group) = group.parse().ok().and_then(Pid::from_raw) {
                let _ = kill_process_group(group, Signal::KILL);
            }
        }
        let limit = Instant::now() + START_MAX;
        while !self.starting.is_empty() && Instant::now() < limit {
            let mut found = HashSet::new();
            for (group, name) in runs(processes) {
                if self.starting.contains(&name) {
                    let _ = kill_process_group(group, Signal::KILL);
                    found.insert(name);
                }
            }
            self.starting.retain(|name| !found.contains(name));
            sleep(POLL);
        }
    }
}

/// The groups of all processes that have the name of a run, with that name. Programs hand it on to
/// their children, which may be all that is left of a run.
fn runs(processes: &Path) -> Vec<(Pid, String)> {
    let prefix = format!("{RUN}=");
    let processes = std::fs::read_dir(processes).into_iter().flatten().flatten();
    let named = processes.filter_map(|process| {
        let pid = process.file_name().to_str()?.parse().ok()?;
        let pid = Pid::from_raw(pid)?;
        let environment = std::fs::read(process.path().join("environ")).ok()?;
        let mut variables = environment.split(|byte| *byte == 0);
        let name = variables.find_map(|it| it.strip_prefix(prefix.as_bytes()))?;
        let group = rustix::process::getpgid(Some(pid)).ok()?;
        Some((group, String::from_utf8_lossy(name).into_owned()))
    });
    named.collect()
}

/// A program that is about to be started, until this is dropped.
#[derive(Debug)]
pub(super) struct Starting {
    /// The name of its run.
    pub(super) name: String,
}

/// Notes that a program is about to be started, which is to find its name in [`RUN`].
pub(super) fn starting() -> Starting {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let name = format!(
        "{}-{}-{}",
        std::process::id(),
        since.unwrap_or_default().as_nanos(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    );
    tell(format_args!("?{name}"));
    Starting { name }
}

impl Starting {
    /// Notes that it leads this group by now.
    pub(super) fn register(mut self, group: Pid) -> Option<Registered> {
        let name = std::mem::take(&mut self.name);
        tell(format_args!("+{} {name}", group.as_raw_nonzero())).then_some(Registered(group))
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        if !self.name.is_empty() {
            tell(format_args!("!{}", self.name));
        }
    }
}

/// A process group that is ended when the worker dies, until this is dropped.
#[derive(Debug)]
pub(super) struct Registered(Pid);

impl Drop for Registered {
    fn drop(&mut self) {
        tell(format_args!("-{}", self.0.as_raw_nonzero()));
    }
}

fn tell(line: std::fmt::Arguments<'_>) -> bool {
    let Some(pipe) = PIPE.get() else { return false };
    let Ok(mut pipe) = pipe.lock() else {
        return false;
    };
    pipe.write_all(format!("{line}\n").as_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Child;

    /// A program with a child that sleeps.
    fn sleeper(name: &str, script: &str) -> Child {
        let mut child = Command::new("/bin/sh")
            .args(["-c", script])
            .env(RUN, name)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        let mut ready = String::new();
        let said = child.stdout.take().unwrap();
        BufReader::new(said).read_line(&mut ready).unwrap();
        child
    }

    #[test]
    fn a_program_whose_number_was_never_told_is_ended_with_its_children() {
        let waits = "sleep 20 & echo; wait";
        let leaves_a_child = "sleep 20 >/dev/null & echo";
        for (number, script) in [waits, leaves_a_child].into_iter().enumerate() {
            let name = format!("test-{}-{number}", std::process::id());
            let (mut named, mut other) = (sleeper(&name, script), sleeper("another", waits));
            let mut programs = Programs::default();
            programs.note(&format!("?{name}"));
            programs.end(Path::new("/proc"));
            let group = Pid::from_child(&named);
            named.wait().unwrap();
            // The group is empty when its last member, the child, has been ended, too.
            let limit = Instant::now() + Duration::from_secs(10);
            while rustix::process::test_kill_process_group(group).is_ok() {
                assert!(Instant::now() < limit, "its child lives on: {script}");
                sleep(POLL);
            }
            assert_eq!(other.try_wait().unwrap(), None);
            kill_process_group(Pid::from_child(&other), Signal::KILL).unwrap();
            other.wait().unwrap();
        }
    }

    #[test]
    fn what_has_started_is_known_by_its_number_and_what_has_not_is_forgotten() {
        let mut programs = Programs::default();
        for line in ["?a", "?b", "?c", "+7 a", "!b", "+8 c", "-8", "nonsense", ""] {
            programs.note(line);
        }
        assert_eq!(programs.groups, HashSet::from(["7".to_owned()]));
        assert!(programs.starting.is_empty(), "{:?}", programs.starting);
    }
}
