//! How a node is laid out on disk and set off.

use super::{Extra, POLL, RabbitMq, SERVER, START_TIMEOUT, Version, tls};
use std::{
    io::{Read, Write},
    net::TcpStream,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::{Command, Stdio},
    sync::PoisonError,
    time::{Duration, Instant},
};

/// Runs the port mapper and the node until the pipe closes, then clears up after both.
const KEEPER: &str = r#"
dir=$1; epmd_port=$2; shift 2
/usr/bin/env epmd -port "$epmd_port" -address 127.0.0.1 </dev/null &
"$@" </dev/null &
cat >/dev/null
rm -rf -- "$dir" 2>/dev/null
kill -9 -$$
"#;

/// What docs/guides/retries.md advises: how soon a task that was kept back is handed on again when
/// its queue refused it or went away meanwhile. The default is three minutes.
const ADVANCED: &str = "[{rabbit, [{dead_letter_worker_publisher_confirm_timeout, 10000}]}].\n";
/// What the nodes of a cluster know each other by; they listen on loopback only.
const COOKIE: &str = "PUMASITESTKIT";

impl RabbitMq {
    /// Its Erlang name. An address is a long name and needs no resolver, which the second root
    /// lacks.
    pub(super) fn name(&self) -> String {
        format!("pm{}@127.0.0.1", self.port)
    }

    pub(super) fn write_files(&self, extra: &Extra) {
        let directory = self.directory.path();
        std::fs::create_dir(directory.join("log")).expect("a log directory");
        let mut config = format!(
            "listeners.tcp.1 = 127.0.0.1:{}\n\
             vm_memory_high_watermark.absolute = 1GiB\n\
             disk_free_limit.absolute = 50MB\n\
             log.file.level = info\n",
            self.port
        );
        if self.version == Version::V4_3 {
            // Its root has no /proc to ask for the memory in use, and then there is no alarm.
            config += "vm_memory_calculation_strategy = allocated\n";
        }
        let mut plugins = "[].\n";
        match extra {
            Extra::None => {}
            Extra::Management(port) => {
                config += &format!(
                    "management.tcp.ip = 127.0.0.1\n\
                     management.tcp.port = {port}\n"
                );
                plugins = "[rabbitmq_management].\n";
            }
            Extra::Member(lines) => {
                config += lines;
                write_cookie(&directory.join(".erlang.cookie"));
            }
            Extra::Tls(port) => config += &tls::prepare(directory, &self.inside, *port),
        }
        std::fs::write(directory.join("rabbitmq.conf"), config).expect("a configuration");
        std::fs::write(directory.join("advanced.config"), ADVANCED).expect("a configuration");
        std::fs::write(directory.join("enabled_plugins"), plugins).expect("a plugins file");
    }

    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = match self.version {
            Version::V3_10 => Command::new("env"),
            Version::V4_3 => {
                let mut command = Command::new("chroot");
                command.arg(self.version.root()).arg("env");
                command
            }
        };
        // A node that dies writes a dump where it was started.
        command.arg("--chdir").arg(&self.inside);
        let at = |name: &str| self.inside.join(name).display().to_string();
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LANG", "C.UTF-8")
            .env("HOME", &self.inside)
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("ERL_EPMD_PORT", self.epmd_port.to_string())
            .env("RABBITMQ_NODENAME", self.name())
            .env("RABBITMQ_USE_LONGNAME", "true")
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", self.port.to_string())
            .env("RABBITMQ_DIST_PORT", self.dist_port.to_string())
            .env("RABBITMQ_CONFIG_FILE", at("rabbitmq"))
            .env("RABBITMQ_ADVANCED_CONFIG_FILE", at("advanced.config"))
            .env("RABBITMQ_CONF_ENV_FILE", at("no-env.conf"))
            .env("RABBITMQ_MNESIA_BASE", &self.data)
            .env("RABBITMQ_LOG_BASE", at("log"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", at("enabled_plugins"))
            .env("RABBITMQ_PID_FILE", at("pid"))
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none",
            )
            .arg(program);
        command
    }

    /// Starts the node and waits until it takes connections.
    pub(super) fn launch(&self) {
        self.spawn();
        self.wait_until_ready();
    }

    /// Starts the node.
    pub(super) fn spawn(&self) {
        let server = self.command(&format!("/{SERVER}"));
        let output = std::fs::File::create(self.directory.path().join("log/output.txt"))
            .expect("a file for the output");
        let mut keeper = Command::new("sh");
        keeper
            .args(["-c", KEEPER, "pumasi-rmq-keeper"])
            .arg(self.directory.path())
            .arg(self.epmd_port.to_string())
            .arg(server.get_program())
            .args(server.get_args())
            .env_clear()
            .envs(
                server
                    .get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            )
            .stdin(Stdio::piped())
            .stderr(output.try_clone().expect("a second handle"))
            .stdout(output)
            .current_dir(self.directory.path())
            .process_group(0);
        let child = keeper.spawn().expect("the node's shell starts");
        *self.keeper.lock().unwrap_or_else(PoisonError::into_inner) = Some(child);
    }

    /// Waits until the node takes connections.
    pub(super) fn wait_until_ready(&self) {
        let until = Instant::now() + START_TIMEOUT;
        while !self.answers() {
            assert!(
                Instant::now() < until,
                "{:?} did not start:\n{}",
                self.version,
                self.log_tail()
            );
            std::thread::sleep(POLL);
        }
    }

    /// Whether the node answers the AMQP header with its first method.
    fn answers(&self) -> bool {
        let wait = Duration::from_secs(5);
        let Ok(mut stream) = TcpStream::connect_timeout(&self.address(), wait) else {
            return false;
        };
        let mut first = [0_u8; 1];
        stream.set_read_timeout(Some(wait)).is_ok()
            && stream.write_all(b"AMQP\x00\x00\x09\x01").is_ok()
            && stream.read_exact(&mut first).is_ok()
            && first == [1]
    }
}

/// Whether a process of this group still runs, or sleeps, and is not stopped.
pub(super) fn is_running(group: rustix::process::Pid) -> bool {
    let group = group.as_raw_nonzero().to_string();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut states = processes.filter_map(|process| {
        let stat = std::fs::read_to_string(process.path().join("stat")).ok()?;
        // The name before the bracket may hold anything.
        let (_, rest) = stat.rsplit_once(") ")?;
        let mut words = rest.split(' ');
        let state = words.next()?.to_owned();
        (words.nth(1)? == group).then_some(state)
    });
    states.any(|state| !matches!(state.as_str(), "T" | "Z"))
}

fn write_cookie(path: &Path) {
    std::fs::write(path, COOKIE).expect("a cookie");
    // Erlang takes one that nobody else can read.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o400)).expect("its mode");
}
