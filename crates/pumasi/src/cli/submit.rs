//! `pumasi submit`: what can be said about a task.

use super::DEFAULT_QUEUE;
use clap::{Args, ValueEnum};
use pumasi_common::{QueueName, TaskId, TaskKind, field::duration};
use pumasi_producer::start::{self, Start};
use std::{
    num::NonZeroU32,
    path::PathBuf,
    time::{Duration, SystemTime},
};

/// `pumasi submit`.
#[derive(Debug, Args)]
pub(crate) struct Submit {
    /// The payload: words joined by a space, or `-` for standard input
    #[arg(
        value_name = "WORDS",
        required_unless_present = "file",
        conflicts_with = "file"
    )]
    pub(crate) words: Vec<String>,
    /// A file of tasks, `-` for standard input. One JSON object per line: {"payload": any JSON},
    /// {"text": "…"} or {"base64": "…"}, and as needed kind, id, queue, content_type, headers, delay or
    /// at, expires, timeout, priority, attempts. The flags of these names count for lines that do not
    /// say it themselves
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// What to do with a malformed line of the file
    #[arg(long, value_enum, value_name = "ACTION", default_value_t = OnError::Stop, conflicts_with = "words")]
    pub(crate) on_error: OnError,
    /// The queue
    #[arg(short, long, default_value = DEFAULT_QUEUE)]
    pub(crate) queue: QueueName,
    /// The kind: selects the handler (default: none, for the worker's default handler)
    #[arg(short, long)]
    pub(crate) kind: Option<TaskKind>,
    /// The id, 1 to 128 bytes without spaces: makes the submit safe to repeat (default: a new UUIDv7)
    #[arg(long, conflicts_with = "file")]
    pub(crate) id: Option<TaskId>,
    /// Keep it back for this time, like 30s; at most 8.5 years
    #[arg(long, value_name = "TIME", value_parser = duration::parse, conflicts_with = "at")]
    pub(crate) delay: Option<Duration>,
    /// Keep it back until this time, like 2026-12-24T18:00 or, with its offset, 2026-12-24T18:00:00Z
    #[arg(long, value_name = "TIME", value_parser = start::local)]
    pub(crate) at: Option<SystemTime>,
    /// Do not start it any more after this time, like 1h, counted from when it is ready; at most 49 days
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub(crate) expires: Option<Duration>,
    /// Longest run of one attempt, like 30s; the worker's own limit counts where it is shorter
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub(crate) timeout: Option<Duration>,
    /// Priority, 0 to 9 (default: 4). RabbitMQ has none before 4.0 and refuses it, two levels (0 to
    /// 4, 5 to 9) before 4.3
    #[arg(long)]
    pub(crate) priority: Option<u8>,
    /// Most attempts before it is a dead letter, 1 to 1000000
    #[arg(long)]
    pub(crate) attempts: Option<NonZeroU32>,
    /// A header of your own, may be repeated; names in `pumasi-` and `x-` are reserved
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = header)]
    pub(crate) headers: Vec<(String, String)>,
    /// The media type of the payload (default: text/plain)
    #[arg(long, value_name = "TYPE", conflicts_with = "file")]
    pub(crate) content_type: Option<String>,
    /// Wait until the task has ended and write its result, as it is, to standard output; exit status
    /// 1 where it failed. With --file, wait for all of them
    #[arg(long)]
    pub(crate) wait: bool,
    /// Longest wait, counted from the last submit; exit status 75 after it
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration::parse, requires = "wait")]
    pub(crate) wait_timeout: Duration,
    /// Do not declare the queue first: for users without configure permission
    #[arg(long)]
    pub(crate) no_declare: bool,
}

impl Submit {
    /// When the tasks become ready that do not say it themselves.
    pub(crate) fn start(&self) -> Option<Start> {
        let after = self.delay.map(Start::After);
        after.or_else(|| self.at.map(Start::At))
    }
}

fn header(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or_else(|| "expected NAME=VALUE".to_owned())
}

/// What to do with a malformed line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnError {
    /// Submit nothing after it
    Stop,
    /// Report it and go on
    Skip,
}
