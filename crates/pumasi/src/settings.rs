//! The whole configuration file, `pumasi.toml`.

use crate::{
    cli::{DEFAULT_QUEUE, Global},
    failure::{self, Failure},
};
use pumasi_common::{ConnectionSettings, QueueName, QueueSpec, Topology, queue::TopicSpec};
use pumasi_producer::GatewayConfig;
use pumasi_service::{
    config::{self, Layers, Loaded},
    health::HealthConfig,
    telemetry::TelemetryConfig,
};
use pumasi_worker::WorkerConfig;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Every section of `pumasi.toml`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) broker: ConnectionSettings,
    pub(crate) queues: Vec<QueueSpec>,
    pub(crate) topics: Vec<TopicSpec>,
    pub(crate) worker: WorkerConfig,
    pub(crate) gateway: GatewayConfig,
    pub(crate) health: HealthConfig,
    pub(crate) telemetry: TelemetryConfig,
}

impl Settings {
    /// Reads file, environment and the flags common to all commands.
    pub(crate) fn load(global: &Global) -> Result<Loaded<Self>, Failure> {
        Self::load_with(global, Vec::new())
    }

    /// As [`Settings::load`], with the flags of one command by their dotted keys.
    pub(crate) fn load_with(
        global: &Global,
        mut overrides: Vec<(String, String)>,
    ) -> Result<Loaded<Self>, Failure> {
        if let Some(url) = &global.broker {
            overrides.push(("broker.url".to_owned(), url.clone()));
        }
        if let Some(format) = &global.log_format {
            overrides.push(("telemetry.log_format".to_owned(), format.clone()));
        }
        let layers = Layers {
            file: global.config.clone(),
            overrides,
            ..Layers::default()
        };
        let mut loaded: Loaded<Self> = config::load(&layers)?;
        if loaded.value.worker.queues.is_empty() {
            loaded
                .value
                .worker
                .queues
                .push(QueueName::new(DEFAULT_QUEUE)?);
        }
        let mut problems = loaded.value.broker.problems();
        problems.extend(loaded.value.topology().problems());
        problems.extend(loaded.value.gateway.problems());
        problems.extend(loaded.value.worker.problems());
        loaded.refuse(problems)?;
        if loaded.value.broker.url.is_none() && loaded.value.broker.hosts.is_empty() {
            loaded.value.broker.url = Some(format!("sqlite:{}", embedded_file()?.display()));
        }
        Ok(loaded)
    }

    /// The configured topology, with these queues added by default where it does not name them.
    pub(crate) fn topology_with(&self, queues: &[QueueName]) -> Topology {
        let mut topology = self.topology();
        topology.add_missing(queues);
        topology
    }

    /// The configured topology.
    pub(crate) fn topology(&self) -> Topology {
        Topology {
            queues: self.queues.clone(),
            topics: self.topics.clone(),
        }
    }

    /// What is declared for one queue: itself and what the configuration says about it.
    pub(crate) fn topology_of(&self, queue: &QueueName) -> Topology {
        let spec = self.queues.iter().find(|spec| spec.name == *queue);
        let spec = spec
            .cloned()
            .unwrap_or_else(|| QueueSpec::new(queue.clone()));
        Topology {
            queues: vec![spec],
            topics: Vec::new(),
        }
    }
}

/// Where the embedded broker keeps its file when nothing else is said.
fn embedded_file() -> Result<PathBuf, Failure> {
    let folder = std::env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state")))
        .ok_or_else(|| {
            failure::usage("no broker is given and HOME is not set; give `--broker sqlite:PATH`")
        })?;
    Ok(folder.join("pumasi/pumasi.db"))
}
