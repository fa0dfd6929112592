//! Private RabbitMQ nodes on free loopback ports, ended with the process that started them.
//!
//! Version 3.10 is the one installed on the host; 4.3 lives in a root directory of its own and
//! runs under `chroot`. Each node has its own Erlang port mapper, cookie, data and log directory.
//! A small shell stands between us and the node: its standard input is our end of a pipe, so the
//! node goes when this process goes, however it goes.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a fixture that cannot start fails its test"
)]

pub mod cluster;
mod cost;
mod launch;
mod tls;

use crate::disk::Disk;
use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    ops::Range,
    path::{Path, PathBuf},
    process::Child,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

/// Where RabbitMQ 4.3 is unpacked; `PUMASI_RABBITMQ4_ROOT` overrides it.
const ROOT_4: &str = "/var/cache/pumasi-testkit/rabbitmq-4";
/// The server script inside either root; never the wrapper, which changes the user.
const SERVER: &str = "usr/lib/rabbitmq/bin/rabbitmq-server";
/// Longest start of a node.
const START_TIMEOUT: Duration = Duration::from_secs(90);
/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(50);
/// Where ports are looked for: above the defaults of RabbitMQ, and below those that Linux gives to
/// whoever connects, which would be taken while a node restarts.
const PORTS: Range<u16> = 26_000..32_700;
/// The password of users that are made here.
pub const PASSWORD: &str = "hunter2";
/// Virtual hosts made with one call of the command line tool, which takes seconds to start.
const VHOSTS_AT_ONCE: usize = 12;

/// Which RabbitMQ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// The host's 3.10.
    V3_10,
    /// 4.3 from its own root directory.
    V4_3,
}

impl Version {
    /// Both versions, oldest first.
    pub const ALL: [Self; 2] = [Self::V3_10, Self::V4_3];

    /// Whether this version is here; says why not otherwise.
    ///
    /// # Errors
    /// A clause for a person.
    ///
    /// # Panics
    /// When it is absent and `PUMASI_REQUIRE_RABBITMQ4` is set.
    pub fn available(self) -> Result<(), String> {
        let server = self.root().join(SERVER);
        if server.exists() {
            return Ok(());
        }
        let problem = format!("{self:?} is not here: {} does not exist", server.display());
        assert!(
            self != Self::V4_3 || std::env::var_os("PUMASI_REQUIRE_RABBITMQ4").is_none(),
            "{problem}"
        );
        Err(problem)
    }

    fn root(self) -> PathBuf {
        match self {
            Self::V3_10 => PathBuf::from("/"),
            Self::V4_3 => std::env::var_os("PUMASI_RABBITMQ4_ROOT")
                .map_or_else(|| PathBuf::from(ROOT_4), PathBuf::from),
        }
    }
}

/// Where a node listens with TLS.
#[derive(Debug)]
pub struct TlsListener {
    /// Its port on `localhost`; the certificate is for this name only.
    pub port: u16,
    /// The authority that signed the certificate, in PEM.
    pub ca_file: PathBuf,
}

/// What a node has besides AMQP.
enum Extra {
    None,
    Management(u16),
    Tls(u16),
    /// It is one of a cluster: lines of its configuration.
    Member(String),
}

/// A running private node.
#[derive(Debug)]
pub struct RabbitMq {
    version: Version,
    port: u16,
    dist_port: u16,
    epmd_port: u16,
    /// The node's directory, as seen inside its root.
    inside: PathBuf,
    /// Where its data is, as seen inside its root.
    data: PathBuf,
    keeper: Mutex<Option<Child>>,
    vhosts: Mutex<Vec<String>>,
    /// What its data is on, where that is a disk of its own.
    disk: Option<Disk>,
    /// Last, so that it is removed after the node has gone.
    directory: tempfile::TempDir,
}

impl RabbitMq {
    /// Starts a node and waits until it takes connections.
    ///
    /// # Panics
    /// When it does not start within its limit; the text holds the end of its log.
    #[must_use]
    pub fn start(version: Version) -> Self {
        Self::start_with(version, &Extra::None)
    }

    /// As [`RabbitMq::start`], with the management API; gives its address, too.
    ///
    /// # Panics
    /// As [`RabbitMq::start`].
    #[must_use]
    pub fn start_with_management(version: Version) -> (Self, String) {
        let port = free_port();
        let node = Self::start_with(version, &Extra::Management(port));
        (node, format!("http://127.0.0.1:{port}"))
    }

    /// As [`RabbitMq::start`], listening with TLS, too.
    ///
    /// # Panics
    /// As [`RabbitMq::start`].
    #[must_use]
    pub fn start_with_tls(version: Version) -> (Self, TlsListener) {
        let port = free_port();
        let node = Self::start_with(version, &Extra::Tls(port));
        // It opens after the plain one, which the start waits for.
        let until = Instant::now() + START_TIMEOUT;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            assert!(Instant::now() < until, "no TLS:\n{}", node.log_tail());
            std::thread::sleep(POLL);
        }
        let ca_file = node.directory.path().join(tls::CA_FILE);
        (node, TlsListener { port, ca_file })
    }

    /// As [`RabbitMq::start`], with its data on a disk of this size that can lose power.
    ///
    /// # Panics
    /// As [`RabbitMq::start`], and where there are no such disks.
    #[must_use]
    pub fn start_on_disk(version: Version, mebibytes: u64) -> Self {
        let mut node = Self::prepare_on(free_port(), version, &Extra::None);
        let root = version.root();
        let disk = Disk::new_in(&root.join("tmp"), mebibytes);
        node.data = inside(&root, &disk.path().join("data"));
        node.disk = Some(disk);
        node.launch();
        node
    }

    fn start_with(version: Version, extra: &Extra) -> Self {
        let node = Self::prepare_on(free_port(), version, extra);
        node.launch();
        node
    }

    /// A node with its files, not started.
    fn prepare_on(port: u16, version: Version, extra: &Extra) -> Self {
        let root = version.root();
        let directory = tempfile::Builder::new()
            .prefix("pumasi-rmq-")
            .tempdir_in(root.join("tmp"))
            .expect("a directory for the node");
        let inside = inside(&root, directory.path());
        let node = Self {
            version,
            port,
            dist_port: free_port(),
            epmd_port: free_port(),
            data: inside.join("data"),
            disk: None,
            inside,
            keeper: Mutex::new(None),
            vhosts: Mutex::new(Vec::new()),
            directory,
        };
        node.write_files(extra);
        node
    }

    /// The node of this version that all tests of this process share; for tests that do not
    /// kill it. Ends with the process.
    #[must_use]
    pub fn shared(version: Version) -> &'static Self {
        static NODES: [OnceLock<RabbitMq>; 2] = [OnceLock::new(), OnceLock::new()];
        let [old, new] = &NODES;
        match version {
            Version::V3_10 => old,
            Version::V4_3 => new,
        }
        .get_or_init(|| Self::start(version))
    }

    /// Which version it is.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Its AMQP port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of its default virtual host.
    #[must_use]
    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}", self.port)
    }

    /// The URL of a virtual host.
    #[must_use]
    pub fn url_of(&self, vhost: &str) -> String {
        format!("{}/{vhost}", self.url())
    }

    /// Makes a fresh virtual host that `guest` may use and returns its name.
    ///
    /// # Panics
    /// When the node does not make it.
    pub fn new_vhost(&self) -> String {
        let mut pool = self.vhosts.lock().unwrap_or_else(PoisonError::into_inner);
        if pool.is_empty() {
            let names: Vec<String> = (0..VHOSTS_AT_ONCE)
                .map(|_| format!("t{}", uuid::Uuid::new_v4().simple()))
                .collect();
            let list = names
                .iter()
                .map(|name| format!("<<\"{name}\">>"))
                .collect::<Vec<_>>()
                .join(",");
            self.ctl(&[
                "eval",
                &format!(
                    "[begin rabbit_vhost:add(V, <<\"test\">>), \
                     rabbit_auth_backend_internal:set_permissions(\
                     <<\"guest\">>, V, <<\".*\">>, <<\".*\">>, <<\".*\">>, <<\"test\">>) end \
                     || V <- [{list}]]."
                ),
            ]);
            *pool = names;
        }
        pool.pop().expect("the pool was just filled")
    }

    /// The URL of a fresh virtual host.
    pub fn new_vhost_url(&self) -> String {
        self.url_of(&self.new_vhost())
    }

    /// Makes a user with these permissions (regular expressions: configure, write, read) on the
    /// virtual host of a URL, and returns the URL for that user. The password is [`PASSWORD`].
    ///
    /// # Panics
    /// When the node does not make it.
    #[must_use]
    pub fn new_user_url(&self, url: &str, permissions: [&str; 3]) -> String {
        let vhost = url.rsplit('/').next().unwrap_or_default();
        let user = self.new_user(vhost, permissions);
        format!("amqp://{user}:{PASSWORD}@127.0.0.1:{}/{vhost}", self.port)
    }

    /// As [`RabbitMq::new_user_url`], on a virtual host; returns the user's name.
    ///
    /// # Panics
    /// As [`RabbitMq::new_user_url`].
    #[must_use]
    pub fn new_user(&self, vhost: &str, permissions: [&str; 3]) -> String {
        let user = format!("u{}", uuid::Uuid::new_v4().simple());
        let [configure, write, read] = permissions;
        self.ctl(&[
            "eval",
            &format!(
                "rabbit_auth_backend_internal:add_user(\
                 <<\"{user}\">>, <<\"{PASSWORD}\">>, <<\"test\">>), \
                 rabbit_auth_backend_internal:set_permissions(<<\"{user}\">>, <<\"{vhost}\">>, \
                 <<\"{configure}\">>, <<\"{write}\">>, <<\"{read}\">>, <<\"test\">>)."
            ),
        ]);
        user
    }

    /// Runs `rabbitmqctl` against this node and returns what it printed.
    ///
    /// # Panics
    /// When it fails.
    pub fn ctl(&self, args: &[&str]) -> String {
        let output = self
            .command("/usr/lib/rabbitmq/bin/rabbitmqctl")
            .arg("--quiet")
            .args(args)
            .output()
            .expect("rabbitmqctl starts");
        assert!(
            output.status.success(),
            "rabbitmqctl {args:?}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Makes the node write down now which queues, exchanges and bindings it has.
    ///
    /// It does so by itself within seconds. A 3.10 node that is killed before that comes back with
    /// the tasks of a new quorum queue and without a leader for it, or without a new binding.
    ///
    /// # Panics
    /// When the node does not answer.
    pub fn sync_directory(&self) {
        self.ctl(&[
            "eval",
            "[dets:sync(T) || T <- dets:all()], catch mnesia:sync_log().",
        ]);
    }

    /// Kills the node at once, as a power cut would.
    pub fn kill9(&self) {
        let keeper = self
            .keeper
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(mut keeper) = keeper {
            if let Some(group) = i32::try_from(keeper.id())
                .ok()
                .and_then(rustix::process::Pid::from_raw)
            {
                // A group that is gone already is what we want.
                let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            }
            let _ = keeper.wait();
        }
        // Members of the group outlive its leader by a moment; the port must be free again.
        let until = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(self.address()).is_ok() && Instant::now() < until {
            std::thread::sleep(POLL);
        }
    }

    /// The disk that its data is on, where that is one of its own.
    #[must_use]
    pub fn disk(&self) -> Option<&Disk> {
        self.disk.as_ref()
    }

    /// Has the node stand still: all of its processes are stopped when this returns.
    ///
    /// # Panics
    /// When it has gone, or one of them cannot be stopped.
    pub fn freeze(&self) {
        let keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        let keeper = keeper.as_ref().expect("a node that runs");
        let group = rustix::process::Pid::from_child(keeper);
        rustix::process::kill_process_group(group, rustix::process::Signal::STOP)
            .expect("a group of ours");
        let until = Instant::now() + Duration::from_secs(10);
        while launch::is_running(group) {
            assert!(Instant::now() < until, "it does not stand still");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Stops the broker inside the node; the node itself lives on.
    ///
    /// # Panics
    /// When it does not stop.
    pub fn stop_app(&self) {
        self.ctl(&["stop_app"]);
    }

    /// Starts the broker inside the node again and waits until it takes connections.
    ///
    /// # Panics
    /// When it does not start within its limit.
    pub fn start_app(&self) {
        self.ctl(&["start_app"]);
        self.wait_until_ready();
    }

    /// Starts the node again, with its data, and waits until it takes connections.
    ///
    /// # Panics
    /// When it does not start within its limit.
    pub fn restart(&self) {
        self.kill9();
        self.launch();
    }

    /// The last lines of the node's log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let mut text = String::new();
        let logs = std::fs::read_dir(self.directory.path().join("log"));
        for entry in logs.into_iter().flatten().flatten() {
            if let Ok(log) = std::fs::read_to_string(entry.path()) {
                let lines: Vec<&str> = log.lines().rev().take(40).collect();
                for line in lines.iter().rev() {
                    text.push_str(line);
                    text.push('\n');
                }
            }
        }
        text
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }
}

impl Drop for RabbitMq {
    fn drop(&mut self) {
        self.kill9();
    }
}

/// A path as seen inside a root.
fn inside(root: &Path, path: &Path) -> PathBuf {
    match path.strip_prefix(root) {
        Ok(relative) => Path::new("/").join(relative),
        Err(_) => path.to_owned(),
    }
}

/// A loopback port that was free a moment ago, and is given once only.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let count = PORTS.end - PORTS.start;
    // Processes begin at different places.
    let begin = std::process::id().wrapping_mul(97);
    for _ in 0..count {
        let turn = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = PORTS.start + u16::try_from(turn % u32::from(count)).unwrap_or(0);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no port from {} to {} is free", PORTS.start, PORTS.end);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_starts_is_killed_and_starts_again_with_its_virtual_hosts() {
        for version in Version::ALL {
            if let Err(reason) = version.available() {
                println!("skipped: {reason}");
                continue;
            }
            let node = RabbitMq::start(version);
            let vhost = node.new_vhost();
            node.kill9();
            node.restart();
            assert!(node.ctl(&["list_vhosts"]).contains(&vhost));
        }
    }
}
