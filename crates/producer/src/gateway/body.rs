//! Reads request bodies within limits: bytes of one, bytes of all, time.

use super::{config::GatewayConfig, problem::Problem};
use axum::{
    body::{Body, HttpBody as _},
    http::StatusCode,
};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use pumasi_common::ErrorCode;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// Room is counted in pieces of this many bytes; the smallest body takes one.
const PIECE_BYTES: usize = 1024;

/// Room that a body takes; free again when dropped.
pub(super) type Held = OwnedSemaphorePermit;

/// The least of what is held: enough for the outcome of a line.
pub(super) fn least(mut held: Held) -> Option<Held> {
    held.split(1)
}

/// Reads bodies.
#[derive(Clone, Debug)]
pub(super) struct Bodies {
    room: Arc<Semaphore>,
    bytes_max: usize,
    timeout: Duration,
}

impl Bodies {
    pub(super) fn new(config: &GatewayConfig) -> Self {
        let pieces = config.bodies_bytes_max / PIECE_BYTES;
        Self {
            room: Arc::new(Semaphore::new(pieces.min(Semaphore::MAX_PERMITS))),
            bytes_max: config.body_bytes_max,
            timeout: config.request_timeout,
        }
    }

    /// The whole body, or what to answer instead.
    pub(super) async fn read(&self, body: Body) -> Result<(Bytes, Held), Problem> {
        let declared = body.size_hint().lower();
        if usize::try_from(declared).map_or(true, |bytes| bytes > self.bytes_max) {
            return Err(self.too_large("body"));
        }
        timeout(self.timeout, self.collect(body))
            .await
            .unwrap_or_else(|_| Err(self.too_slow()))
    }

    async fn collect(&self, mut body: Body) -> Result<(Bytes, Held), Problem> {
        let mut held = self.take(1)?;
        let mut pieces_held = 1;
        let mut first = Bytes::new();
        let mut rest = BytesMut::new();
        while let Some(data) = part_of(&mut body).await? {
            let bytes = first.len() + rest.len() + data.len();
            if bytes > self.bytes_max {
                return Err(self.too_large("body"));
            }
            let pieces = bytes.div_ceil(PIECE_BYTES);
            if pieces > pieces_held {
                held.merge(self.take(pieces - pieces_held)?);
                pieces_held = pieces;
            }
            if first.is_empty() {
                first = data;
            } else {
                rest.extend_from_slice(&data);
            }
        }
        // Most bodies come in one piece and are not copied.
        if !rest.is_empty() {
            let mut whole = BytesMut::with_capacity(first.len() + rest.len());
            whole.extend_from_slice(&first);
            whole.extend_from_slice(&rest);
            first = whole.freeze();
        }
        Ok((first, held))
    }

    /// The next part of a body, or nothing at its end.
    pub(super) async fn next_part(&self, body: &mut Body) -> Result<Option<Bytes>, Problem> {
        timeout(self.timeout, part_of(body))
            .await
            .unwrap_or_else(|_| Err(self.too_slow()))
    }

    /// Makes what is held enough for a line of this many bytes, as soon as there is room.
    pub(super) async fn grow(&self, held: &mut Option<Held>, bytes: usize) -> Result<(), Problem> {
        if bytes > self.bytes_max {
            return Err(self.too_large("line"));
        }
        let pieces = bytes.div_ceil(PIECE_BYTES);
        let has = held.as_ref().map_or(0, Held::num_permits);
        if pieces > has {
            let more = self.wait(pieces - has).await?;
            match held {
                Some(held) => held.merge(more),
                None => *held = Some(more),
            }
        }
        Ok(())
    }

    async fn wait(&self, pieces: usize) -> Result<Held, Problem> {
        let pieces = u32::try_from(pieces).map_err(|_| no_room())?;
        let room = Arc::clone(&self.room).acquire_many_owned(pieces);
        match timeout(self.timeout, room).await {
            Ok(Ok(held)) => Ok(held),
            Ok(Err(_)) | Err(_) => Err(no_room()),
        }
    }

    fn take(&self, pieces: usize) -> Result<Held, Problem> {
        u32::try_from(pieces)
            .ok()
            .and_then(|pieces| Arc::clone(&self.room).try_acquire_many_owned(pieces).ok())
            .ok_or_else(no_room)
    }

    fn too_large(&self, what: &str) -> Problem {
        let title = format!("the {what} is over the limit of {} bytes", self.bytes_max);
        Problem::request(StatusCode::PAYLOAD_TOO_LARGE, title).coded(ErrorCode::TaskTooLarge)
    }

    fn too_slow(&self) -> Problem {
        let title = format!("the body did not arrive within {:?}", self.timeout);
        Problem::request(StatusCode::REQUEST_TIMEOUT, title)
    }
}

/// The next data of a body; what else may come with it is of no use here.
async fn part_of(body: &mut Body) -> Result<Option<Bytes>, Problem> {
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(|_| broken())?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

fn no_room() -> Problem {
    Problem::request(
        StatusCode::SERVICE_UNAVAILABLE,
        "no room for another body now".to_owned(),
    )
}

fn broken() -> Problem {
    Problem::argument(
        StatusCode::BAD_REQUEST,
        "the body cannot be read to its end".to_owned(),
    )
}
