//! What a program says to the worker besides its result: lines on standard error that begin with
//! `::pumasi::`.
//!
//! Shape: `::pumasi::progress 3 of 10 resized`, `::pumasi::retry-after 30s`. Anything else is
//! output like any other.

use pumasi_common::field::duration;
use std::time::Duration;

/// How a line for the worker begins.
const PREFIX: &[u8] = b"::pumasi::";
/// A longer line is none of ours, in bytes.
const LINE_BYTES_MAX: usize = 1024;

/// What a program says to the worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Directive {
    /// How far it is.
    Progress(String),
    /// When it wants to be tried again, should it fail.
    RetryAfter(Duration),
}

impl Directive {
    fn parse(line: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(line.strip_prefix(PREFIX)?).ok()?;
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        match word {
            "progress" => Some(Self::Progress(rest.trim().to_owned())),
            "retry-after" => duration::parse(rest).ok().map(Self::RetryAfter),
            _ => None,
        }
    }
}

/// Whether a line of output is meant for the worker.
pub(super) fn is_directive(line: &str) -> bool {
    Directive::parse(line.as_bytes()).is_some()
}

/// Finds directives in a stream that comes in pieces.
#[derive(Debug, Default)]
pub(super) struct Directives {
    line: Vec<u8>,
}

impl Directives {
    /// Takes the next piece; gives what its finished lines say.
    pub(super) fn read(&mut self, piece: &[u8]) -> Vec<Directive> {
        let mut found = Vec::new();
        let mut lines = piece.split(|byte| *byte == b'\n').peekable();
        while let Some(part) = lines.next() {
            let room = (LINE_BYTES_MAX + 1).saturating_sub(self.line.len());
            self.line.extend(part.iter().take(room));
            if lines.peek().is_some() {
                if self.line.len() <= LINE_BYTES_MAX {
                    found.extend(Directive::parse(&self.line));
                }
                self.line.clear();
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pieces: &[&str]) -> Vec<Directive> {
        let mut directives = Directives::default();
        let all = pieces.iter().map(|piece| directives.read(piece.as_bytes()));
        all.flatten().collect()
    }

    #[test]
    fn a_line_is_read_however_it_is_cut_into_pieces() {
        let text = "warning: slow\n::pumasi::progress 3 of 10\n::pumasi::retry-after 30s\n";
        let expected = [
            Directive::Progress("3 of 10".to_owned()),
            Directive::RetryAfter(Duration::from_secs(30)),
        ];
        assert_eq!(read(&[text]), expected);
        for at in 0..text.len() {
            let (one, two) = text.split_at(at);
            assert_eq!(read(&[one, two]), expected, "cut at {at}");
        }
    }

    #[test]
    fn what_is_not_meant_for_the_worker_is_left_alone() {
        let long = format!("::pumasi::progress {}\n", "x".repeat(LINE_BYTES_MAX));
        for text in [
            "progress 3\n",
            " ::pumasi::progress 3\n",
            "::pumasi::explode\n",
            "::pumasi::retry-after soon\n",
            "::pumasi::progress unfinished",
            &long,
        ] {
            assert_eq!(read(&[text]), [], "{text}");
        }
        let after = format!("{long}::pumasi::progress 1\n");
        assert_eq!(read(&[&after]), [Directive::Progress("1".to_owned())]);
    }
}
