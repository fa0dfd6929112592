//! Serves HTTP/1.1 within limits: time for a request's head, connections at once, time to end.
//!
//! See [`serve`]. The routes limit what is theirs: the size of a body and the time it may take.

mod stall;

use crate::shutdown::Shutdown;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use stall::Stall;
use std::{io, net::SocketAddr, num::NonZeroU16, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The most of a request that is read ahead, and so the largest head, in bytes.
const READ_AHEAD_BYTES: usize = 64 * 1024;

/// How long to wait after the system gave no connection, as when it has no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(250);

/// Most connections that the system holds until they are accepted; it may have a lower bound itself.
/// The usual 128 are full in an instant when many clients come at once, and what comes then is reset
/// without an answer.
const BACKLOG: u32 = 4096;

/// What a server allows its clients.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most connections at once; others wait in the system's queue.
    pub connections_max: NonZeroU16,
    /// Longest wait for the head of a request, and so the longest idle life of a connection; also
    /// for a client to read on where an answer waits for it.
    pub head_timeout: Duration,
    /// Longest wait for requests under way when the server stops.
    pub drain_timeout: Duration,
}

/// Listens at this address, with room for many clients that come at once.
///
/// # Errors
/// Those of the system, as when another program has the address.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // An address whose last connections are still remembered can be taken again.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves until the intake stops, then finishes the requests under way: within the limit, or until
/// `stop` aborts. What is left then is cut off.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, stop: Shutdown) {
    let server = Server {
        router,
        head_timeout: limits.head_timeout,
        graceful: GracefulShutdown::new(),
        connections: TaskTracker::new(),
        cut: CancellationToken::new(),
    };
    let places = Arc::new(Semaphore::new(usize::from(limits.connections_max.get())));
    let accepting = async {
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            match listener.accept().await {
                Ok((stream, _)) => server.converse(stream, place),
                Err(error) => {
                    tracing::debug!(%error, "no connection accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    stop.intake.run_until_cancelled(accepting).await;
    drop(listener);
    server.finish(limits.drain_timeout, &stop.abort).await;
}

struct Server {
    router: Router,
    head_timeout: Duration,
    graceful: GracefulShutdown,
    connections: TaskTracker,
    cut: CancellationToken,
}

impl Server {
    /// Serves one connection in a task of its own, which holds the place meanwhile.
    fn converse(&self, stream: TcpStream, place: OwnedSemaphorePermit) {
        // Answers are small and complete: waiting for more to send only delays them.
        let _ = stream.set_nodelay(true);
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.head_timeout)
            .max_buf_size(READ_AHEAD_BYTES)
            .serve_connection(
                TokioIo::new(Stall::new(stream, self.head_timeout)),
                TowerToHyperService::new(self.router.clone()),
            );
        let connection = self.graceful.watch(connection);
        let cut = self.cut.clone();
        self.connections.spawn(async move {
            // How a connection ends is its client's business.
            let _ = cut.run_until_cancelled(connection).await;
            drop(place);
        });
    }

    async fn finish(self, grace: Duration, abort: &CancellationToken) {
        self.connections.close();
        tokio::select! {
            () = self.graceful.shutdown() => {}
            () = tokio::time::sleep(grace) => {
                tracing::warn!(connections = self.connections.len(), "drain deadline passed");
            }
            () = abort.cancelled() => {}
        }
        self.cut.cancel();
        self.connections.wait().await;
    }
}
