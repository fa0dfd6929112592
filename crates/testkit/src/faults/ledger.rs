//! Ledgers: append-only files that survive whoever writes them.
//!
//! One event is one line, written by one call to a file opened for appending, so that the lines of
//! many processes do not mix and a killed one leaves whole lines. Kills do not empty the page
//! cache, so nothing is synced. Times are of `CLOCK_BOOTTIME`, which all processes of a host share.

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Read, Write},
    path::Path,
    time::Duration,
};

/// Longest line, in bytes: what a local file system appends as a whole.
pub const LINE_MAX: usize = 4096;

/// What somebody did, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Since the host's start, in nanoseconds.
    pub at: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What a ledger holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A submit is about to be called.
    Invoke {
        /// The task.
        id: String,
    },
    /// A submit returned: the broker has it.
    Accepted {
        /// The task.
        id: String,
    },
    /// A submit returned: the broker does not have it and will not.
    Refused {
        /// The task.
        id: String,
        /// The code of the refusal.
        reason: String,
    },
    /// A submit returned: the broker may have it.
    Unknown {
        /// The task.
        id: String,
    },
    /// A handler began.
    Start {
        /// The task.
        id: String,
        /// The attempt that it was told.
        attempt: u32,
        /// The worker that started it.
        worker: String,
        /// This run, like no other.
        run: String,
    },
    /// A handler did what the task is for.
    Effect {
        /// The task.
        id: String,
        /// The run.
        run: String,
    },
    /// Who has done the task was written down, in place of an earlier record of it.
    Record {
        /// The task.
        id: String,
        /// The run.
        run: String,
    },
    /// A handler is about to return.
    End {
        /// The task.
        id: String,
        /// The run.
        run: String,
        /// What it will say.
        outcome: Outcome,
    },
    /// What the broker says that a worker holds.
    Held {
        /// The worker's channel.
        worker: String,
        /// Deliveries without an acknowledgement.
        deliveries: u64,
        /// Most that it may hold.
        most: u64,
    },
    /// A fault is about to be made.
    Inject {
        /// Its number.
        fault: u32,
        /// What it is.
        name: String,
        /// What it does to runs.
        nature: Nature,
        /// Whom it hits.
        target: Target,
    },
    /// Evidence that a fault took hold.
    Bit {
        /// Its number.
        fault: u32,
        /// What was seen.
        proof: String,
    },
    /// What was broken is whole again.
    Healed {
        /// The fault's number.
        fault: u32,
    },
}

impl Event {
    /// The task that it is about.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        match self {
            Self::Invoke { id }
            | Self::Accepted { id }
            | Self::Refused { id, .. }
            | Self::Unknown { id }
            | Self::Start { id, .. }
            | Self::Effect { id, .. }
            | Self::Record { id, .. }
            | Self::End { id, .. } => Some(id),
            Self::Held { .. } | Self::Inject { .. } | Self::Bit { .. } | Self::Healed { .. } => {
                None
            }
        }
    }
}

/// What a handler says at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Done.
    Done,
    /// To be tried again.
    Failed,
    /// Never to be tried again.
    Rejected,
}

/// What a fault does to the runs of whom it hits, which says what it may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Nature {
    /// They end at once: the processes are killed.
    Kills,
    /// They come to their end, and no other begins: no task runs again for this.
    Drains,
    /// They go on while their tasks may be given to others: what is between worker and broker is
    /// gone, or the worker stands still.
    Severs,
    /// They go on undisturbed; only submits are hit.
    Blocks,
    /// They go on, and what their queue held is gone on purpose.
    Deletes,
}

/// Whom a fault hits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// One worker.
    Worker(String),
    /// The producer.
    Producer,
    /// Everyone.
    All,
}

/// A ledger opened for writing.
#[derive(Debug)]
pub struct Ledger {
    file: File,
}

impl Ledger {
    /// Opens a ledger, or begins it.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self { file })
    }

    /// Writes an event with the present time.
    ///
    /// # Errors
    /// When the line is too long or cannot be written as a whole.
    pub fn write(&self, event: Event) -> io::Result<()> {
        self.write_line(&Line { at: now(), event })
    }

    /// Writes what happened at a time that is known from elsewhere.
    ///
    /// # Errors
    /// As [`Ledger::write`].
    pub fn write_line(&self, line: &Line) -> io::Result<()> {
        let mut line = serde_json::to_vec(line)?;
        line.push(b'\n');
        if line.len() > LINE_MAX {
            return Err(io::Error::new(ErrorKind::InvalidInput, "line too long"));
        }
        // One call: `write_all` would go on with a rest that others may come before.
        match (&self.file).write(&line)? {
            all if all == line.len() => Ok(()),
            _ => Err(ErrorKind::WriteZero.into()),
        }
    }
}

/// Reads a ledger while others write it, each line once, in the order of the file.
#[derive(Debug)]
pub struct Follower {
    file: File,
    /// The begin of a line whose end is not there yet.
    rest: String,
}

impl Follower {
    /// Follows a ledger from its begin.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let (file, rest) = (File::open(path)?, String::new());
        Ok(Self { file, rest })
    }

    /// Follows a ledger from its present end.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn at_end(path: &Path) -> io::Result<Self> {
        let mut follower = Self::open(path)?;
        follower.file.read_to_string(&mut follower.rest)?;
        // Somebody may be writing the last line just now.
        let whole = follower.rest.rfind('\n').map_or(0, |end| end + 1);
        follower.rest.drain(..whole);
        Ok(follower)
    }

    /// What was written since the last call.
    ///
    /// # Errors
    /// When it cannot be read or a line is not an event; the text has the line.
    pub fn read_new(&mut self) -> io::Result<Vec<Line>> {
        self.file.read_to_string(&mut self.rest)?;
        let whole = self.rest.rfind('\n').map_or(0, |end| end + 1);
        let rest = self.rest.split_off(whole);
        let lines = std::mem::replace(&mut self.rest, rest);
        lines.lines().map(parse).collect()
    }
}

fn parse(line: &str) -> io::Result<Line> {
    let problem = |error| format!("not a line of a ledger: {error}: {line}");
    serde_json::from_str(line)
        .map_err(|error| io::Error::new(ErrorKind::InvalidData, problem(error)))
}

/// The events of a ledger in the order of their times.
///
/// # Errors
/// When it cannot be read or a line is not whole; the text names the line.
pub fn read(path: &Path) -> io::Result<Vec<Line>> {
    parse_all(&std::fs::read_to_string(path)?)
}

/// As [`read`], while others write: a line whose end is not there yet is left out.
///
/// # Errors
/// When it cannot be read or a line is not whole; the text names the line.
pub fn read_so_far(path: &Path) -> io::Result<Vec<Line>> {
    let mut text = std::fs::read_to_string(path)?;
    text.truncate(text.rfind('\n').map_or(0, |end| end + 1));
    parse_all(&text)
}

fn parse_all(text: &str) -> io::Result<Vec<Line>> {
    let numbered = |(number, line)| {
        parse(line).map_err(|error| {
            let problem = format!("line {}: {error}", number + 1);
            io::Error::new(ErrorKind::InvalidData, problem)
        })
    };
    let lines = text.lines().enumerate().map(numbered);
    let mut lines: Vec<Line> = lines.collect::<io::Result<_>>()?;
    lines.sort_by_key(|line| line.at);
    Ok(lines)
}

/// The time since the host's start, in nanoseconds.
#[must_use]
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    let part = |number: i64| u64::try_from(number).unwrap_or(0);
    let time = Duration::from_secs(part(time.tv_sec)) + Duration::from_nanos(part(time.tv_nsec));
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_many_writers_are_whole_and_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger");
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let path = &path;
                scope.spawn(move || {
                    let ledger = Ledger::open(path).unwrap();
                    for number in 0..200 {
                        let id = format!("{writer}-{number}-{}", "x".repeat(number));
                        ledger.write(Event::Invoke { id }).unwrap();
                    }
                });
            }
        });
        let lines = read(&path).unwrap();
        assert_eq!(lines.len(), 800);
        assert!(lines.is_sorted_by_key(|line| line.at));
    }

    #[test]
    fn a_line_that_is_being_written_may_be_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger");
        let ledger = Ledger::open(&path).unwrap();
        ledger.write(Event::Invoke { id: "a".to_owned() }).unwrap();
        (&ledger.file).write_all(b"{\"at\":5").unwrap();
        assert_eq!(read_so_far(&path).unwrap().len(), 1);
        (&ledger.file).write_all(b"}\n").unwrap();
        let problem = read_so_far(&path).unwrap_err().to_string();
        assert!(problem.starts_with("line 2:"), "{problem}");
    }

    #[test]
    fn a_follower_reads_each_line_once_and_waits_for_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger");
        let ledger = Ledger::open(&path).unwrap();
        let invoke = |id: &str| ledger.write(Event::Invoke { id: id.to_owned() });
        invoke("a").unwrap();
        let mut late = Follower::at_end(&path).unwrap();
        let mut all = Follower::open(&path).unwrap();
        let ids = |follower: &mut Follower| -> Vec<String> {
            let lines = follower.read_new().unwrap().into_iter();
            lines
                .filter_map(|line| Some(line.event.id()?.to_owned()))
                .collect()
        };
        assert_eq!(ids(&mut all), ["a"]);
        (&ledger.file).write_all(b"{\"at\":1,\"event\":").unwrap();
        assert!(ids(&mut all).is_empty());
        let mut in_a_line = Follower::at_end(&path).unwrap();
        (&ledger.file)
            .write_all(b"\"invoke\",\"id\":\"b\"}\n")
            .unwrap();
        assert_eq!(ids(&mut all), ["b"]);
        assert_eq!(ids(&mut late), ["b"]);
        assert_eq!(ids(&mut in_a_line), ["b"]);
        (&ledger.file).write_all(b"nonsense\n").unwrap();
        assert!(all.read_new().is_err());
    }

    #[test]
    fn a_line_that_is_too_long_or_torn_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger");
        let ledger = Ledger::open(&path).unwrap();
        let id = "x".repeat(LINE_MAX);
        assert!(ledger.write(Event::Invoke { id }).is_err());
        ledger.write(Event::Invoke { id: "a".to_owned() }).unwrap();
        assert_eq!(read(&path).unwrap().len(), 1);
        (&ledger.file).write_all(b"{\"at\":1,\"event\":").unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("line 2"), "{error}");
    }
}
