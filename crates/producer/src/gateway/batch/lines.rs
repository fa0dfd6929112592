//! The lines of a body, one after the other: a bad one costs only itself.

use crate::gateway::{
    body::{Bodies, Held, least},
    keys::Caller,
    problem::Problem,
};
use crate::jsonl::unmarked;
use axum::body::Body;
use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::{Stream, stream};

/// A line that is not empty.
pub(super) struct Line {
    pub(super) number: u64,
    /// The task as JSON, or why it is none.
    pub(super) task: Result<Bytes, Problem>,
    /// The room it takes.
    pub(super) held: Option<Held>,
}

/// Reads lines.
pub(super) struct Lines {
    body: Body,
    bodies: Bodies,
    /// What has come and is not read yet.
    rest: Bytes,
    number: u64,
    ended: bool,
}

/// A line as far as it has come.
#[derive(Default)]
struct Gathered {
    bytes: BytesMut,
    held: Option<Held>,
    refused: Option<Problem>,
}

impl Lines {
    /// Waits for the first bytes.
    pub(super) async fn begin(body: Body, bodies: Bodies) -> Result<Self, Problem> {
        let mut lines = Self {
            body,
            bodies,
            rest: Bytes::new(),
            number: 0,
            ended: false,
        };
        lines.more().await?;
        Ok(lines)
    }

    /// The lines as they come, each in its caller's turn. A body that stalls or breaks off ends with a line that says so.
    pub(super) fn into_stream(self, caller: Caller) -> impl Stream<Item = Line> {
        stream::unfold((self, caller), |(mut lines, caller)| async move {
            let line = lines.next().await?;
            caller.wait_turn().await;
            Some((line, (lines, caller)))
        })
    }

    async fn next(&mut self) -> Option<Line> {
        loop {
            let task = match self.gather().await {
                Ok(None) => return None,
                Ok(Some(gathered)) => gathered,
                Err(broken) => {
                    self.ended = true;
                    self.number += 1;
                    return Some(self.line(Err(broken), None));
                }
            };
            self.number += 1;
            let Gathered {
                bytes,
                held,
                refused,
            } = task;
            let bytes = bytes.freeze();
            let bytes = bytes.slice_ref(unmarked(self.number, &bytes));
            match refused {
                Some(problem) => return Some(self.line(Err(problem), held)),
                None if bytes.trim_ascii().is_empty() => {}
                None => return Some(self.line(Ok(bytes), held)),
            }
        }
    }

    fn line(&self, task: Result<Bytes, Problem>, held: Option<Held>) -> Line {
        Line {
            number: self.number,
            task,
            held,
        }
    }

    /// All of the next line; nothing after the last.
    async fn gather(&mut self) -> Result<Option<Gathered>, Problem> {
        let mut line = Gathered::default();
        let mut has_begun = false;
        loop {
            if self.rest.is_empty() && !self.more().await? {
                return Ok(has_begun.then_some(line));
            }
            has_begun = true;
            let end = self.rest.iter().position(|&byte| byte == b'\n');
            let part = self.rest.split_to(end.unwrap_or(self.rest.len()));
            line.add(&part, &self.bodies).await;
            if end.is_some() {
                self.rest.advance(1);
                return Ok(Some(line));
            }
        }
    }

    /// Waits for more bytes; `false` at the end.
    async fn more(&mut self) -> Result<bool, Problem> {
        while self.rest.is_empty() && !self.ended {
            match self.bodies.next_part(&mut self.body).await? {
                Some(part) => self.rest = part,
                None => self.ended = true,
            }
        }
        Ok(!self.rest.is_empty())
    }
}

impl Gathered {
    /// Adds a part, or from the first that cannot be held on nothing. The part is copied: it may be
    /// the small rest of something large.
    async fn add(&mut self, part: &[u8], bodies: &Bodies) {
        if self.refused.is_some() || part.is_empty() {
            return;
        }
        let bytes = self.bytes.len() + part.len();
        match bodies.grow(&mut self.held, bytes).await {
            Ok(()) => self.bytes.extend_from_slice(part),
            Err(problem) => {
                *self = Self {
                    refused: Some(problem),
                    held: self.held.take().and_then(least),
                    ..Self::default()
                }
            }
        }
    }
}
