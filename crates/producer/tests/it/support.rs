//! A producer on a broker of its own.

use pumasi_testkit::{process::Service, rabbitmq::RabbitMq};
use std::{net::SocketAddr, process::Command};
use tempfile::TempDir;

/// Its queues, of which the third never gets a task that counts, and a topic.
const QUEUES: &str = "[[queues]]\nname = \"tasks\"\n\
                      [[queues]]\nname = \"small\"\nlength_max = 2\n\
                      [[queues]]\nname = \"other\"\n\
                      [[topics]]\nname = \"orders\"\nsubscriptions = [\"mail\", \"audit\"]\n";

/// A running producer.
pub(crate) struct Producer {
    pub(crate) service: Service,
    pub(crate) gateway: SocketAddr,
    pub(crate) health: SocketAddr,
    pub(crate) url: String,
    _folder: TempDir,
}

impl Producer {
    /// One on the embedded broker, with these settings besides.
    pub(crate) fn embedded(environment: &[(&str, &str)]) -> Self {
        Self::start(None, environment)
    }

    /// One on this broker, with these settings besides.
    pub(crate) fn on(url: &str, environment: &[(&str, &str)]) -> Self {
        Self::start(Some(url), environment)
    }

    fn start(url: Option<&str>, environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pumasi.toml");
        std::fs::write(&file, QUEUES).unwrap();
        let own = format!("sqlite:{}", folder.path().join("q.db").display());
        let url = url.map_or(own, str::to_owned);
        let mut command = command();
        command
            .arg("--config")
            .arg(&file)
            .env("PUMASI__BROKER__URL", &url)
            .env("PUMASI__GATEWAY__LISTEN", "127.0.0.1:0")
            .env("PUMASI__HEALTH__LISTEN", "127.0.0.1:0")
            .envs(environment.iter().copied());
        let service = Service::start(&mut command);
        Self {
            gateway: service.address("gateway listening"),
            health: service.address("health listening"),
            service,
            url,
            _folder: folder,
        }
    }

    /// The tasks that are ready in a queue, asked of the broker itself.
    pub(crate) fn ready(&self, queue: &str) -> u64 {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let settings = pumasi_common::ConnectionSettings::of_url(&self.url);
            let broker = pumasi_broker::open(&settings).await.unwrap();
            let queue = pumasi_common::QueueName::new(queue).unwrap();
            let status = broker.admin().queue(&queue).await.unwrap();
            broker.close().await;
            status.ready
        })
    }
}

/// The program, in a folder without a configuration file and with no settings of the caller's.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pumasi-producer"));
    command
        .current_dir("/")
        .env_clear()
        .env("PATH", "/usr/bin:/bin");
    command
}

/// Raises or clears an alarm as the node's own monitors do.
pub(crate) fn alarm(node: &RabbitMq, call: &str) {
    node.ctl(&["eval", &format!("rabbit_alarm:{call}.")]);
}
