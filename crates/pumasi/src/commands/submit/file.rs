//! Tasks from a file: read ahead a little, published in a window, told as they are confirmed.

use super::{Session, tell};
use crate::{
    cli::{OnError, Submit},
    failure::{self, Failure},
    say::{complain, note, note_json},
};
use futures_util::{StreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};
use pumasi_common::{PublishOutcome, QueueName, broker::Publication};
use pumasi_producer::{
    Client, Request,
    jsonl::{self, LINE_BYTES_MAX, LineError},
};
use std::{
    cell::RefCell,
    fs::File,
    io::{BufRead, BufReader, IsTerminal, Read},
    num::NonZeroUsize,
    path::Path,
    pin::pin,
    process::ExitCode,
    time::Instant,
};
use tokio::sync::mpsc;

/// How many lines are read ahead of the publish window.
const READ_AHEAD: usize = 256;

/// How many refusals are spelled out; the summary counts the others.
const REFUSALS_SHOWN: u64 = 20;

/// What came of a file.
#[derive(Default)]
struct Tally {
    accepted: u64,
    refused: u64,
    unknown: u64,
    malformed: u64,
    status: u8,
}

/// A line on its way: a task with the bytes it took, or what is wrong with it.
type Item = Result<(Publication, u64), LineError>;

/// A file that was opened, or standard input.
pub(super) struct Source {
    bytes: Box<dyn Read + Send>,
    size: Option<u64>,
}

impl Source {
    /// Opens a file; `-` is standard input.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
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

pub(super) async fn submit(
    session: &Session,
    client: &Client,
    source: Source,
    arguments: &Submit,
) -> ExitCode {
    let json = session.global.json;
    let window = usize::from(session.settings.broker.publish_window);
    let bar = progress(source.size);
    let begun = Instant::now();
    let mut lines = spawn_reader(source.bytes, arguments);
    // Told where it happens: lines that are no tasks never reach the outcomes.
    let tally = RefCell::new(Tally::default());
    let stop = arguments.on_error == OnError::Stop;
    let tasks = stream::poll_fn(|cx| lines.poll_recv(cx))
        .take_while(|item| {
            if let Err(error) = item {
                tally.borrow_mut().refuse_line(error, &bar);
            }
            std::future::ready(!(stop && item.is_err()))
        })
        .filter_map(|item| {
            std::future::ready(item.ok().map(|(publication, bytes)| {
                bar.inc(bytes);
                publication
            }))
        });
    let window = NonZeroUsize::new(window).unwrap_or(NonZeroUsize::MIN);
    let mut outcomes = pin!(client.submit_many(tasks, window));
    while let Some(outcome) = outcomes.next().await {
        tally.borrow_mut().count(&outcome, json, &bar);
    }
    bar.finish_and_clear();
    let tally = tally.borrow();
    tally.tell(begun, json);
    ExitCode::from(tally.status)
}

impl Tally {
    fn count(&mut self, outcome: &PublishOutcome, json: bool, bar: &ProgressBar) {
        // The bar is not shown where the ids go to a terminal, so nothing has to make way.
        let code = tell(outcome, json);
        let problem = match outcome {
            PublishOutcome::Accepted(_) => {
                self.accepted += 1;
                return;
            }
            PublishOutcome::Refused(_, refusal) => {
                self.refused += 1;
                refusal.to_string()
            }
            PublishOutcome::Unknown(_, uncertainty) => {
                self.unknown += 1;
                uncertainty.to_string()
            }
        };
        self.status = self
            .status
            .max(code.map_or(70, pumasi_common::ErrorCode::exit_status));
        // With --json the outcome's own line has said it.
        if !json && self.refused + self.unknown <= REFUSALS_SHOWN {
            bar.suspend(|| note(format_args!("not accepted: {}: {problem}", outcome.id())));
        }
    }

    fn refuse_line(&mut self, error: &LineError, bar: &ProgressBar) {
        self.malformed += 1;
        self.status = self.status.max(65);
        if self.malformed <= REFUSALS_SHOWN {
            bar.suspend(|| complain(error));
        }
    }

    fn tell(&self, begun: Instant, json: bool) {
        let seconds = begun.elapsed().as_secs_f64().max(0.001);
        let Self {
            accepted,
            refused,
            unknown,
            malformed,
            ..
        } = self;
        if json {
            return note_json(&serde_json::json!({
                "accepted": accepted,
                "refused": refused,
                "unknown": unknown,
                "malformed": malformed,
                "seconds": seconds,
            }));
        }
        #[expect(clippy::cast_precision_loss, reason = "a rate for a person's eyes")]
        let rate = *accepted as f64 / seconds;
        note(format_args!(
            "accepted {accepted}, refused {refused}, unknown {unknown}, malformed lines {malformed} in {seconds:.1} s ({rate:.0}/s)"
        ));
    }
}

fn progress(size: Option<u64>) -> ProgressBar {
    match size {
        Some(size) if std::io::stderr().is_terminal() && !std::io::stdout().is_terminal() => {
            let bar = ProgressBar::new(size);
            if let Ok(style) =
                ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {elapsed} eta {eta}")
            {
                bar.set_style(style);
            }
            bar
        }
        _ => ProgressBar::hidden(),
    }
}

fn spawn_reader(source: Box<dyn Read + Send>, arguments: &Submit) -> mpsc::Receiver<Item> {
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
    // Some editors begin a file with this mark.
    let line = match line.strip_prefix(b"\xef\xbb\xbf") {
        Some(rest) if number == 1 => rest,
        _ => line,
    };
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
