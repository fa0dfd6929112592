//! Reads tasks from a file, a little ahead of what is published.

use crate::{
    cli::Submit,
    failure::{self, Failure},
};
use pumasi_common::{QueueName, broker::Publication};
use pumasi_producer::{
    Request,
    jsonl::{self, LINE_BYTES_MAX, LineError},
};
use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
};
use tokio::sync::mpsc;

/// How many lines are read ahead of the publish window.
const READ_AHEAD: usize = 256;

/// A line on its way: a task with the bytes it took, or what is wrong with it.
pub(super) type Item = Result<(Publication, u64), LineError>;

/// A file that was opened, or standard input.
pub(in crate::commands::submit) struct Source {
    bytes: Box<dyn Read + Send>,
    /// Its size, where it is known.
    pub(super) size: Option<u64>,
}

impl Source {
    /// Opens a file; `-` is standard input.
    pub(in crate::commands::submit) fn open(path: &Path) -> Result<Self, Failure> {
        if path == Path::new("-") {
            return Ok(Self {
                bytes: Box::new(std::io::stdin()),
                size: None,
            });
        }
        let refuse =
            |error| failure::unreadable(format!("cannot read `{}`", path.display()), error);
        let file = File::open(path).map_err(refuse)?;
        let meta = file.metadata().map_err(refuse)?;
        if meta.is_dir() {
            return Err(refuse(std::io::ErrorKind::IsADirectory.into()));
        }
        Ok(Self {
            bytes: Box::new(file),
            size: meta.is_file().then_some(meta.len()),
        })
    }
}

/// Reads in a thread of its own.
pub(super) fn spawn(source: Source, arguments: &Submit) -> mpsc::Receiver<Item> {
    let source = source.bytes;
    let (send, receive) = mpsc::channel(READ_AHEAD);
    let defaults = Defaults {
        queue: arguments.queue.clone(),
        request: Request {
            kind: arguments.kind.clone(),
            start: arguments.start(),
            priority: arguments.priority,
            expires: arguments.expires,
            timeout: arguments.timeout,
            attempts_max: arguments.attempts,
            headers: arguments.headers.clone(),
            ..Request::default()
        },
    };
    tokio::task::spawn_blocking(move || read(source, &defaults, &send));
    receive
}

/// What the flags say, for lines that do not say it themselves.
struct Defaults {
    queue: QueueName,
    request: Request,
}

fn read(source: impl Read, defaults: &Defaults, send: &mpsc::Sender<Item>) {
    let mut source = BufReader::with_capacity(256 * 1024, source);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let item = match next_line(&mut source, &mut line) {
            Ok(0) => return,
            Ok(bytes) if line.len() > LINE_BYTES_MAX => {
                Err((bytes, format!("it is longer than {LINE_BYTES_MAX} bytes")))
            }
            Ok(_) if line.trim_ascii().is_empty() => continue,
            Ok(bytes) => Ok(bytes),
            Err(error) => Err((0, format!("it cannot be read: {error}"))),
        };
        let (item, over) = match item {
            Ok(bytes) => (
                task(number, &line, defaults).map(|task| (task, bytes)),
                false,
            ),
            Err((bytes, problem)) => (
                Err(LineError {
                    line: number,
                    problem,
                }),
                bytes == 0,
            ),
        };
        if send.blocking_send(item).is_err() || over {
            return;
        }
    }
}

/// Reads to the next line end, but keeps no more than the limit and one byte of it.
fn next_line(source: &mut impl BufRead, line: &mut Vec<u8>) -> std::io::Result<u64> {
    let limit = LINE_BYTES_MAX as u64 + 1;
    let mut bytes = source.by_ref().take(limit).read_until(b'\n', line)? as u64;
    if bytes == limit && line.last() != Some(&b'\n') {
        bytes += source.skip_until(b'\n')? as u64;
    }
    Ok(bytes)
}

fn task(number: u64, line: &[u8], defaults: &Defaults) -> Result<Publication, LineError> {
    let (mut request, queue) = jsonl::read_line(number, line)?;
    let given = &defaults.request;
    request.kind = request.kind.or_else(|| given.kind.clone());
    request.start = request.start.or(given.start);
    request.priority = request.priority.or(given.priority);
    request.expires = request.expires.or(given.expires);
    request.timeout = request.timeout.or(given.timeout);
    request.attempts_max = request.attempts_max.or(given.attempts_max);
    // The line's own come last and win.
    request.headers.splice(0..0, given.headers.iter().cloned());
    request
        .to_queue(queue.as_ref().unwrap_or(&defaults.queue))
        .map_err(|error| LineError {
            line: number,
            problem: error.to_string(),
        })
}
