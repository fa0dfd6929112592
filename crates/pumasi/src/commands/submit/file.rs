//! Tasks from a file: read ahead a little, published in a window, told as they are confirmed.

use super::{note, tell};
use crate::{
    cli::{OnError, Submit},
    failure::{self, Failure},
};
use futures_util::{StreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};
use pumasi_common::{PublishOutcome, QueueName, TaskKind, broker::Publication};
use pumasi_producer::{
    Client,
    jsonl::{self, LINE_BYTES_MAX, LineError},
};
use std::{
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

pub(super) async fn submit(
    client: &Client,
    arguments: &Submit,
    json: bool,
    window: usize,
) -> Result<ExitCode, Failure> {
    let path = arguments.file.as_deref().unwrap_or(Path::new("-"));
    let bar = progress(path);
    let begun = Instant::now();
    let mut lines = spawn_reader(path, arguments)?;
    let mut tally = Tally::default();
    let (bad, mut bad_lines) = mpsc::unbounded_channel();
    let stop = arguments.on_error == OnError::Stop;
    let tasks = stream::poll_fn(|cx| lines.poll_recv(cx))
        .take_while(|item| {
            let go_on = !(stop && item.is_err());
            if let Err(error) = item {
                let _ = bad.send(error.clone());
            }
            std::future::ready(go_on)
        })
        .filter_map(|item| {
            let bar = &bar;
            std::future::ready(item.ok().map(|(publication, bytes)| {
                bar.inc(bytes);
                publication
            }))
        });
    let window = NonZeroUsize::new(window).unwrap_or(NonZeroUsize::MIN);
    let mut outcomes = pin!(client.submit_many(tasks, window));
    while let Some(outcome) = outcomes.next().await {
        tally.count(&outcome, json, &bar);
        while let Ok(error) = bad_lines.try_recv() {
            tally.refuse_line(&error, &bar);
        }
    }
    while let Ok(error) = bad_lines.try_recv() {
        tally.refuse_line(&error, &bar);
    }
    bar.finish_and_clear();
    tally.tell(begun);
    Ok(ExitCode::from(tally.status))
}

impl Tally {
    fn count(&mut self, outcome: &PublishOutcome, json: bool, bar: &ProgressBar) {
        let code = if bar.is_hidden() {
            tell(outcome, json)
        } else {
            bar.suspend(|| tell(outcome, json))
        };
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
        if self.refused + self.unknown <= REFUSALS_SHOWN {
            bar.suspend(|| note(format_args!("not accepted: {}: {problem}", outcome.id())));
        }
    }

    fn refuse_line(&mut self, error: &LineError, bar: &ProgressBar) {
        self.malformed += 1;
        self.status = self.status.max(65);
        if self.malformed <= REFUSALS_SHOWN {
            bar.suspend(|| note(format_args!("{error}")));
        }
    }

    fn tell(&self, begun: Instant) {
        let seconds = begun.elapsed().as_secs_f64().max(0.001);
        let Self {
            accepted,
            refused,
            unknown,
            malformed,
            ..
        } = self;
        #[expect(clippy::cast_precision_loss, reason = "a rate for a person's eyes")]
        let rate = *accepted as f64 / seconds;
        note(format_args!(
            "accepted {accepted}, refused {refused}, unknown {unknown}, malformed lines {malformed} in {seconds:.1} s ({rate:.0}/s)"
        ));
    }
}

fn progress(path: &Path) -> ProgressBar {
    let size = path.metadata().map(|meta| meta.len());
    match size {
        Ok(size) if std::io::stderr().is_terminal() => {
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

fn spawn_reader(path: &Path, arguments: &Submit) -> Result<mpsc::Receiver<Item>, Failure> {
    let source: Box<dyn Read + Send> = if path == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        let file = File::open(path);
        Box::new(file.map_err(|error| {
            failure::unreadable(format!("cannot read `{}`", path.display()), error)
        })?)
    };
    let (send, receive) = mpsc::channel(READ_AHEAD);
    let queue = arguments.queue.clone();
    let kind = arguments.kind.clone();
    tokio::task::spawn_blocking(move || read(source, &queue, kind.as_ref(), &send));
    Ok(receive)
}

fn read(source: impl Read, queue: &QueueName, kind: Option<&TaskKind>, send: &mpsc::Sender<Item>) {
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
                task(number, &line, queue, kind).map(|task| (task, bytes)),
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

fn task(
    number: u64,
    line: &[u8],
    queue: &QueueName,
    kind: Option<&TaskKind>,
) -> Result<Publication, LineError> {
    let (mut request, own_queue) = jsonl::read_line(number, line)?;
    if request.kind.is_none() {
        request.kind = kind.cloned();
    }
    request
        .to_queue(own_queue.as_ref().unwrap_or(queue))
        .map_err(|error| LineError {
            line: number,
            problem: error.to_string(),
        })
}
