//! Listens to what a broker sends, below lapin and above TLS.
//!
//! The broker's greeting is read here, because lapin keeps nothing of it; and texts that would make
//! lapin give up the connection are mended. See [`Frames`] for what is done.

use super::{frames::Frames, greeting::Server};
use async_rs::{Runtime, TokioRuntime, traits::Reactor, util::RuntimeParts};
use futures_util::{
    Stream,
    io::{AsyncRead, AsyncWrite},
};
use lapin::{
    AsyncTcpStream, Connection, ConnectionProperties, ErrorKind,
    tcp::{AMQPUriTcpExt, OwnedTLSConfig},
    uri::AMQPUri,
};
use std::{
    io::{self, IoSlice, Read, Write},
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd},
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// Connects and logs in; gives the connection and which broker it is.
pub(super) async fn connect(
    uri: AMQPUri,
    properties: ConnectionProperties,
    tls: OwnedTLSConfig,
) -> lapin::Result<(Connection, Server)> {
    let greeting = Arc::new(OnceLock::new());
    let ended = CancellationToken::new();
    let net = Net {
        tokio: TokioRuntime::tokio_current(),
        greeting: greeting.clone(),
        ended: ended.clone(),
    };
    let runtime = Runtime::new(RuntimeParts::new(net.tokio.clone(), net.clone()));
    let open = async move |uri: AMQPUri, _| {
        let stream = uri
            .connect_with_config_async(tls.as_ref(), &net.tokio)
            .await?;
        Ok(AsyncTcpStream::Plain(net.listen(stream)))
    };
    let connection = tokio::select! {
        biased;
        connection = Connection::connector(uri, runtime, open, properties) => connection?,
        error = without_an_answer(&ended) => return Err(error),
    };
    Ok((connection, greeting.get().cloned().unwrap_or_default()))
}

/// Waits for the end of the stream, and then for lapin to tell of it: a greeting that is cut off
/// may stay without an answer for ever.
async fn without_an_answer(ended: &CancellationToken) -> lapin::Error {
    ended.cancelled().await;
    tokio::time::sleep(super::LOOK_EVERY).await;
    ErrorKind::IOError(Arc::new(io::ErrorKind::ConnectionAborted.into())).into()
}

/// A stream of Tokio's, with TLS or without.
type Tokios = AsyncTcpStream<<TokioRuntime as Reactor>::TcpStream>;

/// Tokio's sockets and timers, with streams that listen to the greeting.
#[derive(Clone, Debug)]
struct Net {
    tokio: TokioRuntime,
    greeting: Arc<OnceLock<Server>>,
    /// Told when a stream has ended.
    ended: CancellationToken,
}

impl Net {
    fn listen(&self, stream: Tokios) -> Listening {
        Listening {
            stream,
            frames: Frames::new(self.greeting.clone()),
            whole: (Vec::new(), 0),
            ended: self.ended.clone(),
        }
    }
}

impl Reactor for Net {
    type TcpStream = Listening;
    type Sleep = <TokioRuntime as Reactor>::Sleep;

    fn register<H: Read + Write + AsFd + AsRawFd + Send + 'static>(
        &self,
        socket: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        self.tokio.register(socket)
    }

    fn sleep(&self, time: Duration) -> Self::Sleep {
        self.tokio.sleep(time)
    }

    fn interval(&self, time: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.tokio.interval(time)
    }

    fn tcp_connect_addr(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<Listening>> + Send + 'static {
        let net = self.clone();
        let connecting = self.tokio.tcp_connect_addr(address);
        async move { Ok(net.listen(AsyncTcpStream::Plain(connecting.await?))) }
    }
}

/// A stream whose frames are looked at before they are handed on.
struct Listening {
    stream: Tokios,
    frames: Frames,
    /// A frame that came in parts and is whole now, and how much of it was handed on.
    whole: (Vec<u8>, usize),
    /// Told at the end of the stream.
    ended: CancellationToken,
}

impl Listening {
    /// Hands on what is left of a frame that came in parts.
    fn hand_on(&mut self, buffer: &mut [u8]) -> usize {
        let (frame, done) = &mut self.whole;
        let rest = frame.get(*done..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        *done += count;
        count
    }

    /// Reads more of the frame that is held; `false` at the end of the stream.
    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        while let Some(wanted) = self.frames.wanted() {
            let have = self.frames.held.len();
            self.frames.held.resize(have + wanted, 0);
            let space = self.frames.held.get_mut(have..).unwrap_or_default();
            let read = Pin::new(&mut self.stream).poll_read(cx, space);
            let count = if let Poll::Ready(Ok(count)) = read {
                count
            } else {
                0
            };
            self.frames.held.truncate(have + count);
            if ready!(read)? == 0 {
                return Poll::Ready(Ok(false));
            }
        }
        self.whole = (std::mem::take(&mut self.frames.held), 0);
        Poll::Ready(Ok(true))
    }

    /// Reads what may be handed on; nothing at the end of the stream.
    fn poll_frames(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            let count = self.hand_on(buffer);
            if count > 0 {
                return Poll::Ready(Ok(count));
            }
            if !self.frames.held.is_empty() {
                if ready!(self.poll_held(cx))? {
                    continue;
                }
                return Poll::Ready(Ok(0));
            }
            let count = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
            let Some(bytes) = buffer.get_mut(..count).filter(|bytes| !bytes.is_empty()) else {
                return Poll::Ready(Ok(0));
            };
            let count = self.frames.pass(bytes);
            if count > 0 {
                return Poll::Ready(Ok(count));
            }
        }
    }
}

impl AsyncRead for Listening {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if buffer.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let read = self.poll_frames(cx, buffer);
        if matches!(read, Poll::Ready(Ok(0) | Err(_))) {
            self.ended.cancel();
        }
        read
    }
}

impl AsyncWrite for Listening {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}
