//! A TCP proxy that does what networks do: cut, swallow, refuse, and come back.
//!
//! It runs on a thread of its own, so that tests with and without a runtime can use it. A fault
//! is in force when its call returns.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    sync::watch,
    task::JoinHandle,
};

/// How long a fault may take to be in force.
const LIMIT: Duration = Duration::from_secs(10);

/// How a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Both sides read the end of the stream, as after an orderly close.
    Finish,
    /// Both sides get a reset, as after a crash or from a firewall.
    Reset,
}

/// What the open connections are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Forward,
    Swallow,
    End(Cut),
}

/// Forwards every connection to one port of this machine, until told otherwise.
#[derive(Debug)]
pub struct Proxy {
    runtime: Option<Runtime>,
    port: u16,
    target: SocketAddr,
    orders: watch::Sender<Order>,
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
            orders: watch::Sender::new(Order::Forward),
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

    /// Cuts every open connection. New ones are taken and forwarded.
    ///
    /// # Panics
    /// When the connections do not end.
    pub fn cut(&self, how: Cut) {
        self.orders.send_replace(Order::End(how));
        // Each connection holds a receiver, and so does the listener while there is one.
        let kept = usize::from(self.is_listening());
        until(|| self.orders.receiver_count() <= kept);
        self.orders.send_replace(Order::Forward);
    }

    /// Keeps connections open and takes new ones, and lets nothing through: a black hole.
    pub fn swallow(&self) {
        self.orders.send_replace(Order::Swallow);
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

    /// Forwards again, what was swallowed too.
    ///
    /// # Panics
    /// When the port was taken meanwhile.
    pub fn heal(&self) {
        self.orders.send_replace(Order::Forward);
        if !self.is_listening() {
            self.listen();
        }
    }

    fn listen(&self) {
        let runtime = self.runtime.as_ref().expect("the proxy runs");
        let port = self.port;
        let (bound, is_bound) = std::sync::mpsc::channel();
        let (target, orders) = (self.target, self.orders.subscribe());
        let taken = Arc::clone(&self.taken);
        let listener = runtime.spawn(async move {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
            let listener = listener.expect("the proxy's port is free");
            let _ = bound.send(());
            while let Ok((client, _)) = listener.accept().await {
                taken.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(carry(client, target, orders.clone()));
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
async fn carry(mut client: TcpStream, target: SocketAddr, mut orders: watch::Receiver<Order>) {
    // An absent target is a connection that ends at once.
    let Ok(mut server) = TcpStream::connect(target).await else {
        return;
    };
    let how = {
        let both_ways = copy_bidirectional(&mut client, &mut server);
        tokio::pin!(both_ways);
        loop {
            let order = *orders.borrow_and_update();
            if let Order::End(how) = order {
                break how;
            }
            tokio::select! {
                biased;
                changed = orders.changed() => if changed.is_err() { return },
                _ = &mut both_ways, if order == Order::Forward => return,
            }
        }
    };
    if how == Cut::Reset {
        for stream in [&client, &server] {
            // A stream that is gone already needs no reset.
            let _ = stream.set_zero_linger();
        }
    }
}

fn until(condition: impl Fn() -> bool) {
    let end = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < end, "the fault is not in force");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{ErrorKind, Read, Write},
        net::{TcpListener as Listener, TcpStream as Stream},
    };

    /// A server that gives back what it gets, and a proxy before it.
    fn echo() -> Proxy {
        let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                std::thread::spawn(move || {
                    let mut back = stream.try_clone().unwrap();
                    std::io::copy(&mut stream, &mut back)
                });
            }
        });
        Proxy::to(port)
    }

    fn connect(proxy: &Proxy) -> Stream {
        let stream = Stream::connect((Ipv4Addr::LOCALHOST, proxy.port())).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream
    }

    /// Says a byte and hears it again.
    fn talk(stream: &mut Stream) {
        stream.write_all(b"a").unwrap();
        stream.read_exact(&mut [0]).unwrap();
    }

    #[test]
    fn a_cut_is_an_end_or_a_reset_and_new_connections_are_forwarded() {
        let proxy = echo();
        let mut first = connect(&proxy);
        talk(&mut first);
        assert_eq!(proxy.taken(), 1);
        proxy.cut(Cut::Finish);
        assert_eq!(first.read(&mut [0]).unwrap(), 0);
        let mut second = connect(&proxy);
        talk(&mut second);
        proxy.cut(Cut::Reset);
        assert_eq!(
            second.read(&mut [0]).unwrap_err().kind(),
            ErrorKind::ConnectionReset
        );
        talk(&mut connect(&proxy));
    }

    #[test]
    fn what_was_swallowed_comes_through_when_it_heals() {
        let proxy = echo();
        let mut stream = connect(&proxy);
        talk(&mut stream);
        proxy.swallow();
        stream.write_all(b"b").unwrap();
        stream
            .set_read_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        assert!(stream.read_exact(&mut [0]).is_err());
        proxy.heal();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let mut heard = [0];
        stream.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"b");
    }

    #[test]
    fn a_refused_connection_is_refused_until_it_heals() {
        let proxy = echo();
        let mut before = connect(&proxy);
        talk(&mut before);
        proxy.refuse();
        assert!(before.read_exact(&mut [0]).is_err());
        assert_eq!(
            Stream::connect((Ipv4Addr::LOCALHOST, proxy.port()))
                .unwrap_err()
                .kind(),
            ErrorKind::ConnectionRefused
        );
        proxy.heal();
        talk(&mut connect(&proxy));
    }
}
