//! A TCP proxy that does what networks do: cut, swallow, delay, refuse, and come back.
//!
//! It runs on a thread of its own, so that tests with and without a runtime can use it. A fault
//! is in force when its call returns, but for [`Proxy::finish`] and [`Proxy::trap`], which take
//! hold of what is carried next.

mod frames;
mod lane;
mod orders;
#[cfg(test)]
mod tests;
mod trap;

pub use orders::{Latency, Pace};
pub use trap::{ACK, Spot, Trap};

use lane::{Lane, Stop};
use orders::Orders;
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    sync::watch,
    task::JoinHandle,
};
use trap::Traps;

/// How long a fault may take to be in force.
const LIMIT: Duration = Duration::from_secs(60);

/// How a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Both sides read the end of the stream, as after an orderly close.
    Finish,
    /// Both sides get a reset, as after a crash or from a firewall.
    Reset,
}

/// One direction of every connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From who connected.
    ToServer,
    /// To who connected.
    ToClient,
}

impl Way {
    /// Both directions.
    pub const BOTH: [Self; 2] = [Self::ToServer, Self::ToClient];

    fn index(self) -> usize {
        match self {
            Self::ToServer => 0,
            Self::ToClient => 1,
        }
    }
}

/// Forwards every connection to one port of this machine, until told otherwise.
#[derive(Debug)]
pub struct Proxy {
    runtime: Option<Runtime>,
    port: u16,
    target: SocketAddr,
    orders: watch::Sender<Orders>,
    traps: Arc<Traps>,
    listener: Mutex<Option<JoinHandle<()>>>,
    taken: Arc<AtomicUsize>,
}

impl Proxy {
    /// Starts a proxy to `port` on a free port of its own.
    ///
    /// # Panics
    /// When there is no free port or no thread.
    #[must_use]
    pub fn to(port: u16) -> Self {
        let proxy = Self {
            runtime: Some(
                tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(1)
                    .enable_all()
                    .build()
                    .expect("a thread for the proxy"),
            ),
            port: crate::rabbitmq::free_port(),
            target: (Ipv4Addr::LOCALHOST, port).into(),
            orders: watch::Sender::default(),
            traps: Arc::default(),
            listener: Mutex::new(None),
            taken: Arc::default(),
        };
        proxy.listen();
        proxy
    }

    /// The port that it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many connections it has taken since its start.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// How many bytes it has passed on since its start.
    #[must_use]
    pub fn carried(&self, way: Way) -> u64 {
        self.traps.carried(way)
    }

    /// How many traps have sprung since its start.
    #[must_use]
    pub fn sprung(&self) -> usize {
        self.traps.sprung()
    }

    /// Cuts every open connection. New ones are taken and forwarded.
    ///
    /// # Panics
    /// When the connections do not end.
    pub fn cut(&self, how: Cut) {
        self.orders.send_replace(Orders {
            end: Some(how),
            ..Orders::default()
        });
        // Each connection holds receivers, and so does the listener while there is one.
        let kept = usize::from(self.is_listening());
        until(|| self.orders.receiver_count() <= kept);
        self.orders.send_replace(Orders::default());
    }

    /// Keeps connections open and takes new ones, and lets nothing through: a black hole.
    pub fn swallow(&self) {
        for way in Way::BOTH {
            self.pace(way, Pace::Swallow);
        }
    }

    /// How fast everything goes in this direction, in open connections and new ones.
    pub fn pace(&self, way: Way, pace: Pace) {
        self.orders
            .send_modify(|orders| orders.paces[way.index()] = pace);
    }

    /// Ends one direction of every open connection: who listens there reads the end of the stream,
    /// what is still said there is lost, and the other direction goes on.
    pub fn finish(&self, way: Way) {
        self.orders
            .send_modify(|orders| orders.finished[way.index()] += 1);
    }

    /// Cuts the connection that is the first to reach this spot, and no other. One trap at a time:
    /// a new one takes the place of one that has not sprung.
    pub fn trap(&self, trap: Trap) {
        self.traps.set(Some(trap));
    }

    /// Cuts every open connection and refuses new ones.
    ///
    /// # Panics
    /// When the port does not close.
    pub fn refuse(&self) {
        if let Some(listener) = self.slot().take() {
            listener.abort();
            until(|| listener.is_finished());
        }
        self.cut(Cut::Reset);
    }

    /// Forwards again, what was swallowed too, and takes a trap away that has not sprung.
    ///
    /// # Panics
    /// When the port was taken meanwhile.
    pub fn heal(&self) {
        self.traps.set(None);
        self.orders
            .send_modify(|orders| orders.paces = Orders::default().paces);
        if !self.is_listening() {
            self.listen();
        }
    }

    fn listen(&self) {
        let runtime = self.runtime.as_ref().expect("the proxy runs");
        let port = self.port;
        let (bound, is_bound) = std::sync::mpsc::channel();
        let (target, orders) = (self.target, self.orders.subscribe());
        let (taken, traps) = (Arc::clone(&self.taken), Arc::clone(&self.traps));
        let listener = runtime.spawn(async move {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
            let listener = listener.expect("the proxy's port is free");
            let _ = bound.send(());
            while let Ok((client, _)) = listener.accept().await {
                taken.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(carry(client, target, orders.clone(), Arc::clone(&traps)));
            }
        });
        *self.slot() = Some(listener);
        is_bound.recv_timeout(LIMIT).expect("the proxy listens");
    }

    fn is_listening(&self) -> bool {
        self.slot().is_some()
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<JoinHandle<()>>> {
        self.listener.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Carries one connection to its end.
async fn carry(
    mut client: TcpStream,
    target: SocketAddr,
    mut orders: watch::Receiver<Orders>,
    traps: Arc<Traps>,
) {
    // An absent target is a connection that ends at once.
    let Ok(mut server) = TcpStream::connect(target).await else {
        return;
    };
    // A frame that waits for company would come later than it was sent.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let how = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let lane = |way, ends| Lane::new(way, ends, orders.clone(), Arc::clone(&traps));
        let there = lane(Way::ToServer, (from_client, to_server));
        let back = lane(Way::ToClient, (from_server, to_client));
        tokio::select! {
            biased;
            how = ordered(&mut orders) => how,
            ended = async { tokio::try_join!(there.run(), back.run()) } => match ended {
                Err(Stop::Cut(how)) => Some(how),
                Err(Stop::Gone) | Ok(_) => None,
            },
        }
    };
    if how == Some(Cut::Reset) {
        for stream in [&client, &server] {
            // A stream that is gone already needs no reset.
            let _ = stream.set_zero_linger();
        }
    }
}

/// How the connection is to end, when that is ordered; `None` when the proxy ends.
async fn ordered(orders: &mut watch::Receiver<Orders>) -> Option<Cut> {
    let ends = orders.wait_for(|orders| orders.end.is_some()).await;
    ends.ok().and_then(|orders| orders.end)
}

fn until(condition: impl Fn() -> bool) {
    let end = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < end, "the fault is not in force");
        std::thread::sleep(Duration::from_millis(1));
    }
}
