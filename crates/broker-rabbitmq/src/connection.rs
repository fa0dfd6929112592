//! How RabbitMQ is reached: a connection over the host list, made anew when it is lost.
//!
//! A [`Link`] holds at most one connection. Whoever needs it asks; one that was lost is replaced
//! then. Backing off between the tries is the asker's business, with [`Backoff`].

mod frames;
mod greeting;
mod listen;
mod reach;
mod short_strings;
mod unfinished;

pub(crate) use greeting::Server;
pub(crate) use reach::watch_over;
pub(crate) use unfinished::{Unfinished, close_in_background};

use crate::error;
use futures_util::StreamExt;
use lapin::{
    Connection, ConnectionProperties, Event,
    tcp::OwnedTLSConfig,
    uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo},
};
use pumasi_common::{
    ConnectionSettings, ErrorCode,
    broker::{Health, OpenError},
    connection::{AmqpAddress, BrokerAddress, Host, password},
};
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::watch,
    task::AbortHandle,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

/// The largest frame we take; RabbitMQ's own default.
const FRAME_BYTES_MAX: u32 = 131_072;
/// First wait after a failed try.
const BACKOFF_BASE: Duration = Duration::from_millis(200);
/// Longest wait between two tries: work is to flow within 5 s of a broker being there again.
const BACKOFF_CAP: Duration = Duration::from_secs(2);
/// How often a call that waits for its answer looks whether its connection is still there.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long a node that is left may take to say goodbye.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Shortest time between two log lines about the same failure.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// One connection of a role, `publish` or `consume`.
#[derive(Debug)]
pub(crate) struct Link {
    settings: ConnectionSettings,
    address: AmqpAddress,
    role: &'static str,
    next_host: AtomicUsize,
    slot: tokio::sync::Mutex<Option<Live>>,
    health: watch::Sender<Health>,
    server: Mutex<Server>,
    /// How many connections there were.
    generation: AtomicU64,
    /// How many deliveries and confirms came.
    signs: AtomicU64,
    /// How often a node was left for another one.
    left: AtomicU64,
}

#[derive(Debug)]
struct Live {
    connection: Arc<Connection>,
    events: AbortHandle,
    /// Ends when the node is left for another one.
    stay: CancellationToken,
}

impl Drop for Live {
    fn drop(&mut self) {
        self.events.abort();
    }
}

impl Link {
    pub(crate) fn new(
        settings: &ConnectionSettings,
        address: &AmqpAddress,
        role: &'static str,
    ) -> Self {
        Self {
            settings: settings.clone(),
            address: address.clone(),
            role,
            next_host: AtomicUsize::new(0),
            slot: tokio::sync::Mutex::new(None),
            health: watch::Sender::new(Health::Down("not connected yet".to_owned())),
            server: Mutex::default(),
            generation: AtomicU64::new(0),
            signs: AtomicU64::new(0),
            left: AtomicU64::new(0),
        }
    }

    /// The connection; a lost one is replaced with one pass over the hosts.
    pub(crate) async fn connection(&self) -> Result<Arc<Connection>, OpenError> {
        let mut slot = self.slot.lock().await;
        if let Some(live) = slot.as_ref()
            && live.connection.status().connected()
        {
            return Ok(live.connection.clone());
        }
        *slot = None;
        match self.connect().await {
            Ok(connection) => {
                let connection = Arc::new(connection);
                self.generation.fetch_add(1, Ordering::Relaxed);
                self.health.send_replace(Health::Up);
                let events = tokio::spawn(listen_to(connection.clone(), self.health.clone()));
                *slot = Some(Live {
                    connection: connection.clone(),
                    events: events.abort_handle(),
                    stay: CancellationToken::new(),
                });
                Ok(connection)
            }
            Err(error) => {
                self.health
                    .send_replace(Health::Down(error.problem.clone()));
                Err(error)
            }
        }
    }

    /// The number of the newest connection: what was learned on an earlier one may not hold.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// Notes that the node works: it has delivered or confirmed something.
    pub(crate) fn gave_a_sign(&self) {
        self.signs.fetch_add(1, Ordering::Relaxed);
    }

    /// How often a node was left for another one: what was made before is of no use.
    pub(crate) fn left(&self) -> u64 {
        self.left.load(Ordering::Relaxed)
    }

    fn signs(&self) -> u64 {
        self.signs.load(Ordering::Relaxed)
    }

    /// The connection, where there is one.
    async fn live(&self) -> Option<Arc<Connection>> {
        let slot = self.slot.lock().await;
        slot.as_ref().map(|live| live.connection.clone())
    }

    /// What is cancelled when this connection's node is left for another one.
    pub(crate) async fn stay(&self, connection: &Arc<Connection>) -> CancellationToken {
        let slot = self.slot.lock().await;
        let live = slot.as_ref();
        live.filter(|live| Arc::ptr_eq(&live.connection, connection))
            .map(|live| live.stay.clone())
            .unwrap_or_default()
    }

    /// Gives up a connection; the next one is to the next host.
    async fn leave(&self, connection: &Arc<Connection>) {
        let mut slot = self.slot.lock().await;
        let Some(live) = slot.take_if(|live| Arc::ptr_eq(&live.connection, connection)) else {
            return;
        };
        self.next_host.fetch_add(1, Ordering::Relaxed);
        self.left.fetch_add(1, Ordering::Relaxed);
        let problem = "its node does not decide with the others".to_owned();
        self.health.send_replace(Health::Down(problem));
        drop(slot);
        live.stay.cancel();
        // Such a node takes its time, if it answers at all.
        let _ = timeout(CLOSE_TIMEOUT, live.connection.close(200, "left".into())).await;
    }

    /// Whether it can be worked with now.
    pub(crate) fn health(&self) -> Health {
        self.health.borrow().clone()
    }

    /// Tells of every change of its health.
    pub(crate) fn watch(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    /// Which broker the newest connection leads to.
    pub(crate) fn server(&self) -> Server {
        self.server
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Closes the connection within the close deadline.
    pub(crate) async fn close(&self) {
        let Some(live) = self.slot.lock().await.take() else {
            return;
        };
        // A peer that does not answer is left to its heartbeat.
        let _ = timeout(
            self.settings.close_timeout,
            live.connection.close(200, "closed".into()),
        )
        .await;
        self.health.send_replace(Health::Down("closed".to_owned()));
    }

    async fn connect(&self) -> Result<Connection, OpenError> {
        let mut last = None;
        for _ in 0..self.address.hosts.len().max(1) {
            let turn = self.next_host.load(Ordering::Relaxed);
            let Some(host) = self
                .address
                .hosts
                .get(turn % self.address.hosts.len().max(1))
            else {
                break;
            };
            match self.connect_to(host).await {
                Ok(connection) => return Ok(connection),
                Err(error) => {
                    self.next_host
                        .store(turn.wrapping_add(1), Ordering::Relaxed);
                    last = Some(error);
                }
            }
        }
        Err(last.unwrap_or_else(|| {
            self.error(ErrorCode::BrokerUnreachable, "no host is given".to_owned())
        }))
    }

    async fn connect_to(&self, host: &Host) -> Result<Connection, OpenError> {
        let from_file = match &self.settings.password_file {
            None => None,
            Some(path) => Some(
                read(path, "password file")
                    .await
                    .map_err(|problem| self.error(ErrorCode::ConfigUnreadable, problem))?,
            ),
        };
        let tls = OwnedTLSConfig {
            identity: None,
            cert_chain: match &self.settings.ca_file {
                None => None,
                Some(path) => Some(
                    read(path, "CA file")
                        .await
                        .map_err(|problem| self.error(ErrorCode::ConfigUnreadable, problem))?,
                ),
            },
        };
        let uri = self.uri(host, from_file.as_deref());
        let name = self
            .settings
            .name
            .clone()
            .unwrap_or_else(|| format!("pumasi {}", std::process::id()));
        let properties = ConnectionProperties::default()
            .with_connection_name(format!("{name} ({})", self.role).into_bytes().into());
        let connecting = Box::pin(listen::connect(uri, properties, tls));
        match timeout(self.settings.connect_timeout, connecting).await {
            Ok(Ok((connection, server))) => {
                *self.server.lock().unwrap_or_else(PoisonError::into_inner) = server;
                Ok(connection)
            }
            Ok(Err(error)) => Err(self.explain(host, error)),
            Err(_) => Err(self.error(
                ErrorCode::BrokerUnreachable,
                format!(
                    "{host} did not answer within {:?}",
                    self.settings.connect_timeout
                ),
            )),
        }
    }

    /// Built by hand: lapin's parser loses IPv6 hosts and knows no host lists.
    fn uri(&self, host: &Host, from_file: Option<&str>) -> AMQPUri {
        let secret = password(from_file, &self.address.password);
        AMQPUri {
            scheme: if self.address.tls {
                AMQPScheme::AMQPS
            } else {
                AMQPScheme::AMQP
            },
            authority: AMQPAuthority {
                userinfo: AMQPUserInfo {
                    username: self.address.user.clone(),
                    password: secret.expose().to_owned(),
                },
                host: host.name.clone(),
                port: host.port,
            },
            vhost: self.address.vhost.clone(),
            query: AMQPQueryString {
                frame_max: Some(FRAME_BYTES_MAX),
                heartbeat: Some(asked_of_the_broker(self.settings.heartbeat)),
                ..AMQPQueryString::default()
            },
        }
    }

    fn explain(&self, host: &Host, error: lapin::Error) -> OpenError {
        let vhost = &self.address.vhost;
        let (code, problem, help) = match error::reply(&error) {
            Some((error::NOT_ALLOWED, text)) if text.contains("not found") => (
                ErrorCode::VhostMissing,
                format!("the virtual host `{vhost}` does not exist"),
                Some("create it with `rabbitmqctl add_vhost`, or correct the URL"),
            ),
            Some((error::NOT_ALLOWED, text)) => (
                ErrorCode::AccessRefused,
                text,
                Some("grant the user permissions on the virtual host"),
            ),
            Some((error::ACCESS_REFUSED, _)) => (
                ErrorCode::AccessRefused,
                format!("the login of user `{}` was refused", self.address.user),
                Some("check the user and the password"),
            ),
            Some((_, text)) => (
                ErrorCode::BrokerUnreachable,
                format!("{host}: {text}"),
                None,
            ),
            None => (
                ErrorCode::BrokerUnreachable,
                format!("{host}: {error}"),
                Some("check that the broker runs and that the address is right"),
            ),
        };
        OpenError {
            help: help.map(str::to_owned),
            source: error::cause(error),
            ..self.error(code, problem)
        }
    }

    fn error(&self, code: ErrorCode, problem: String) -> OpenError {
        OpenError {
            address: BrokerAddress::Amqp(self.address.clone()).to_string(),
            problem,
            code,
            help: None,
            source: None,
        }
    }
}

/// The only listener of a connection's events: lapin's listeners compete for them.
async fn listen_to(connection: Arc<Connection>, health: watch::Sender<Health>) {
    let mut events = Box::pin(connection.events_listener());
    while let Some(event) = events.next().await {
        match event {
            Event::ConnectionBlocked(reason) => {
                health.send_replace(Health::Blocked(reason));
            }
            Event::ConnectionUnblocked | Event::Connected => {
                health.send_replace(Health::Up);
            }
            Event::Error(error) if !connection.status().connected() => {
                health.send_replace(Health::Down(error.to_string()));
            }
            // Flow on one channel; an error of one channel; what lapin may add.
            Event::SendFlow(_) | Event::Error(_) | _ => {}
        }
    }
}

/// RabbitMQ gives up a silent peer after two to three of its heartbeats. So it is asked for four
/// fifths of ours, in whole seconds, and is within two and a half of these.
fn asked_of_the_broker(heartbeat: Duration) -> u16 {
    let seconds = (heartbeat.as_secs() * 4 / 5).clamp(1, 60);
    u16::try_from(seconds).unwrap_or(1)
}

async fn read(path: &std::path::Path, what: &str) -> Result<String, String> {
    tokio::fs::read_to_string(path)
        .await
        .map_err(|error| format!("the {what} {} cannot be read: {error}", path.display()))
}

/// What lapin answers, or an error when the connection is lost meanwhile: a call that meets the end
/// of its connection may stay without an answer for ever.
pub(crate) async fn answered<T>(
    connection: &Connection,
    call: impl Future<Output = lapin::Result<T>>,
) -> lapin::Result<T> {
    tokio::select! {
        biased;
        answer = call => answer,
        error = lost(connection) => Err(error),
    }
}

/// Waits for the end of a connection, and then for the answer that it should have given.
async fn lost(connection: &Connection) -> lapin::Error {
    while connection.status().connected() {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    tokio::time::sleep(LOOK_EVERY).await;
    lapin::ErrorKind::InvalidConnectionState(lapin::ConnectionState::Error).into()
}

/// Counts the failures of something that is tried for ever, and says when to tell of them.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    pub(crate) count: u32,
    told: Option<Instant>,
}

impl Failures {
    /// Counts one more; whether it is to be told: the first one, then one per 10 s.
    pub(crate) fn is_to_be_told(&mut self) -> bool {
        self.count = self.count.saturating_add(1);
        let due = self.told.is_none_or(|at| at.elapsed() >= TELL_EVERY);
        if due {
            self.told = Some(Instant::now());
        }
        due
    }
}

/// Waits between tries: doubling from 200 ms to 2 s, each shortened by up to half at random.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    tries: u32,
}

impl Backoff {
    /// Waits before the next try.
    pub(crate) async fn wait(&mut self) {
        let full = BACKOFF_BASE
            .saturating_mul(1 << self.tries.min(10))
            .min(BACKOFF_CAP);
        self.tries = self.tries.saturating_add(1);
        tokio::time::sleep(full - full.mul_f64(0.5 * jitter())).await;
    }
}

/// A number in 0..1 that differs between processes and calls.
fn jitter() -> f64 {
    use std::hash::{BuildHasher, Hasher};
    let hash = std::hash::RandomState::new().build_hasher().finish();
    f64::from(u32::try_from(hash >> 32).unwrap_or(0)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_broker_notices_within_two_and_a_half_heartbeats() {
        for ours in 2..=60 {
            let asked = asked_of_the_broker(Duration::from_secs(ours));
            assert!(3 * u64::from(asked) * 2 <= 5 * ours, "{ours} s: {asked} s");
        }
        assert_eq!(asked_of_the_broker(Duration::from_secs(1)), 1);
        assert_eq!(asked_of_the_broker(Duration::from_secs(10)), 8);
    }
}
