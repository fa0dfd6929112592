//! Frames as they come from the broker: the greeting is read, texts are mended, and everything
//! else goes on untouched. Pure; works in place, and copies only what is split between two reads.

use super::{
    greeting::Server,
    short_strings::{mend_delivery, mend_properties},
};
use std::sync::{Arc, OnceLock};

/// Type, channel and size before the payload of a frame; one byte ends it.
const HEADER_BYTES: usize = 7;
/// Largest frame that is looked at; a larger one goes on as it is.
const FRAME_BYTES_MAX: usize = 1024 * 1024;
const METHOD: u8 = 1;
const CONTENT_HEADER: u8 = 2;

/// What is left to do with the bytes of one connection.
pub(super) struct Frames {
    /// Bytes of a payload that still go on as they are.
    passing: usize,
    /// The part of a frame that has come; it goes on when it is whole.
    pub(super) held: Vec<u8>,
    greeting: Arc<OnceLock<Server>>,
}

impl Frames {
    pub(super) fn new(greeting: Arc<OnceLock<Server>>) -> Self {
        Self {
            passing: 0,
            held: Vec::new(),
            greeting,
        }
    }

    /// Looks at bytes in place and says how many may go on; what follows them is held. Only to be
    /// called while nothing is held.
    pub(super) fn pass(&mut self, bytes: &mut [u8]) -> usize {
        let mut at = self.passing.min(bytes.len());
        self.passing -= at;
        while let Some(rest) = bytes.get_mut(at..).filter(|rest| !rest.is_empty()) {
            let have = rest.len();
            match self.look(rest) {
                Look::Whole(size) => at += size,
                Look::Passes(size) => {
                    at += size.min(have);
                    self.passing = size - size.min(have);
                }
                Look::Wants(_) => {
                    self.held.extend_from_slice(rest);
                    break;
                }
            }
        }
        at
    }

    /// How many more bytes what is held waits for; `None` when it may go on.
    pub(super) fn wanted(&mut self) -> Option<usize> {
        let mut held = std::mem::take(&mut self.held);
        let have = held.len();
        let look = self.look(&mut held);
        self.held = held;
        match look {
            Look::Wants(more) => Some(more),
            Look::Whole(_) => None,
            Look::Passes(size) => {
                self.passing = size.saturating_sub(have);
                None
            }
        }
    }

    /// Looks at the frame that begins here.
    fn look(&self, bytes: &mut [u8]) -> Look {
        let Some(&[kind, _, _, a, b, c, d]) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Look::Wants(HEADER_BYTES - bytes.len());
        };
        let payload = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        let size = payload.saturating_add(HEADER_BYTES + 1);
        if size > FRAME_BYTES_MAX || !matches!(kind, METHOD | CONTENT_HEADER) {
            return Look::Passes(size);
        }
        let have = bytes.len();
        let Some(frame) = bytes.get_mut(..size) else {
            return Look::Wants(size - have);
        };
        if kind == METHOD
            && self.greeting.get().is_none()
            && let Some(server) = Server::read(frame)
        {
            // Nobody else sets it.
            let _ = self.greeting.set(server);
        }
        let mend = if kind == METHOD {
            mend_delivery
        } else {
            mend_properties
        };
        if let Some(payload) = frame.get_mut(HEADER_BYTES..size - 1) {
            // What it does not know is lapin's to refuse.
            let _ = mend(payload);
        }
        Look::Whole(size)
    }
}

/// What comes of looking at a frame.
enum Look {
    /// It was all there, of this size.
    Whole(usize),
    /// It goes on unseen, this many bytes from its first on.
    Passes(usize),
    /// This many bytes must come before it can be looked at.
    Wants(usize),
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind, 0, 1];
        bytes.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
        bytes.extend(payload);
        bytes.push(0xce);
        bytes
    }

    /// Feeds pieces as a stream would and gives all that goes on.
    fn feed<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
        let mut frames = Frames::new(Arc::default());
        let mut out = Vec::new();
        for piece in pieces {
            let mut rest = piece;
            while !rest.is_empty() {
                if frames.held.is_empty() {
                    let mut bytes = rest.to_vec();
                    let size = frames.pass(&mut bytes);
                    out.extend(&bytes[..size]);
                    break;
                }
                let wanted = frames.wanted().unwrap().min(rest.len());
                frames.held.extend(&rest[..wanted]);
                rest = &rest[wanted..];
                if frames.wanted().is_none() {
                    out.append(&mut frames.held);
                }
            }
        }
        out
    }

    proptest! {
        #[test]
        fn frames_come_out_whole_and_mended_however_they_are_split(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 1..20),
            cuts in prop::collection::vec(1_usize..40, 1..100),
        ) {
            let content_type = |text: &[u8]| {
                let mut payload = vec![0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x80, 0];
                payload.push(u8::try_from(text.len()).unwrap());
                payload.extend(text);
                frame(CONTENT_HEADER, &payload)
            };
            let (mut sent, mut expected) = (Vec::new(), Vec::new());
            for body in &bodies {
                for (bytes, text) in [(&mut sent, &b"t\xff"[..]), (&mut expected, b"t?")] {
                    bytes.extend(frame(METHOD, b"\0\x3c\0\x50\xff"));
                    bytes.extend(content_type(text));
                    bytes.extend(frame(3, body));
                    bytes.extend(frame(8, b""));
                }
            }
            let mut pieces = Vec::new();
            let mut rest = &sent[..];
            for cut in cuts {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            pieces.push(rest);
            prop_assert_eq!(feed(pieces), expected);
        }

        #[test]
        fn nothing_is_lost_or_added_whatever_comes(bytes: Vec<u8>) {
            prop_assert!(feed([&bytes[..]]).len() <= bytes.len());
        }
    }
}
