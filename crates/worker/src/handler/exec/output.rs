//! Keeps the end of an output stream, however much comes.

use std::collections::VecDeque;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The last bytes of a stream.
#[derive(Debug, Default)]
pub(super) struct Tail {
    bytes: VecDeque<u8>,
}

impl Tail {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The last `bytes_max` bytes as text, without trailing white space.
    pub(super) fn last_text(&self, bytes_max: usize) -> String {
        let skip = self.bytes.len().saturating_sub(bytes_max);
        let bytes: Vec<u8> = self.bytes.iter().skip(skip).copied().collect();
        String::from_utf8_lossy(&bytes).trim_end().to_owned()
    }

    /// All that was kept.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes.into()
    }
}

/// Reads a stream to its end, shows each piece to `see`, and keeps the last `bytes_max` bytes in
/// `tail`.
///
/// # Cancel safety
/// Dropped before the end, it leaves in `tail` what was read.
pub(super) async fn drain_tail(
    stream: Option<impl AsyncRead + Unpin>,
    bytes_max: usize,
    tail: &mut Tail,
    mut see: impl FnMut(&[u8]),
) {
    let Some(mut stream) = stream else {
        return;
    };
    let mut buffer = vec![0_u8; 8192];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        let piece = buffer.get(..count).unwrap_or_default();
        see(piece);
        tail.bytes.extend(piece);
        let over = tail.bytes.len().saturating_sub(bytes_max);
        tail.bytes.drain(..over);
    }
}
