//! Listens to a broker's greeting on its way to lapin, which reads it and keeps nothing of it.
//!
//! The first frame is copied while it passes, below lapin and above TLS. Everything after it
//! passes untouched.

use super::greeting::Server;
use async_rs::{Runtime, TokioRuntime, traits::Reactor, util::RuntimeParts};
use futures_util::{
    Stream,
    io::{AsyncRead, AsyncWrite},
};
use lapin::{
    AsyncTcpStream, Connection, ConnectionProperties,
    tcp::{AMQPUriTcpExt, OwnedTLSConfig},
    uri::AMQPUri,
};
use std::{
    io::{self, IoSlice, IoSliceMut, Read, Write},
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd},
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

/// Longest greeting that is waited for; RabbitMQ's has about 500 bytes.
const GREETING_BYTES_MAX: usize = 64 * 1024;

/// Connects and logs in; gives the connection and which broker it is.
pub(super) async fn connect(
    uri: AMQPUri,
    properties: ConnectionProperties,
    tls: OwnedTLSConfig,
) -> lapin::Result<(Connection, Server)> {
    let greeting = Arc::new(OnceLock::new());
    let net = Net {
        tokio: TokioRuntime::tokio_current(),
        greeting: greeting.clone(),
    };
    let runtime = Runtime::new(RuntimeParts::new(net.tokio.clone(), net.clone()));
    let open = async move |uri: AMQPUri, _| {
        let stream = uri
            .connect_with_config_async(tls.as_ref(), &net.tokio)
            .await?;
        Ok(AsyncTcpStream::Plain(net.listen(stream)))
    };
    let connection = Connection::connector(uri, runtime, open, properties).await?;
    Ok((connection, greeting.get().cloned().unwrap_or_default()))
}

/// A stream of Tokio's, with TLS or without.
type Tokios = AsyncTcpStream<<TokioRuntime as Reactor>::TcpStream>;

/// Tokio's sockets and timers, with streams that listen to the greeting.
#[derive(Clone, Debug)]
struct Net {
    tokio: TokioRuntime,
    greeting: Arc<OnceLock<Server>>,
}

impl Net {
    fn listen(&self, stream: Tokios) -> Listening {
        Listening {
            stream,
            heard: Some((Vec::new(), self.greeting.clone())),
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

/// A stream whose first frame is copied.
struct Listening {
    stream: Tokios,
    /// The bytes so far and where the greeting is put; `None` once it has passed.
    heard: Option<(Vec<u8>, Arc<OnceLock<Server>>)>,
}

impl Listening {
    fn hear(&mut self, bytes: &[u8]) {
        let Some((heard, greeting)) = &mut self.heard else {
            return;
        };
        heard.extend_from_slice(bytes);
        if let Some(server) = Server::read(heard) {
            // Nobody else sets it.
            let _ = greeting.set(server);
            self.heard = None;
        } else if heard.len() > GREETING_BYTES_MAX {
            self.heard = None;
        }
    }
}

impl AsyncRead for Listening {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        self.hear(buffer.get(..count).unwrap_or_default());
        Poll::Ready(Ok(count))
    }

    fn poll_read_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.heard.is_none() {
            return Pin::new(&mut self.stream).poll_read_vectored(cx, buffers);
        }
        match buffers.iter_mut().find(|buffer| !buffer.is_empty()) {
            Some(buffer) => self.poll_read(cx, buffer),
            None => Poll::Ready(Ok(0)),
        }
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
