//! What the command lines of the services share, and what their `main` does with it.

use crate::{
    config::{self, ConfigError, Layers, Loaded},
    health::{
        HealthConfig,
        check::{self, Probe},
    },
    process::{self, Fatal},
};
use serde::{Serialize, de::DeserializeOwned};
use std::{path::PathBuf, process::ExitCode};

/// The flags of a service.
#[derive(Clone, Debug, clap::Args)]
pub struct Flags {
    /// Configuration file (default: pumasi.toml, else /etc/pumasi/pumasi.toml, where they exist)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Broker URL: amqp://user@host:5672/vhost, amqps://…, or sqlite:PATH. There is no default
    #[arg(long, value_name = "URL")]
    broker: Option<String>,
    /// Only ask the process that runs with the same settings how it is, at health.listen; exit
    /// status 0 for yes, 1 for no or no answer
    #[arg(
        long,
        value_name = "PROBE",
        value_enum,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "ready"
    )]
    check: Option<Probe>,
}

impl Flags {
    /// Runs the service with its settings, or only asks the one that runs how it is; reports the
    /// error that ends it, if any.
    pub fn main<S, R>(
        self,
        probes: fn(&S) -> &HealthConfig,
        run: impl FnOnce(Loaded<S>) -> R,
    ) -> ExitCode
    where
        S: Serialize + DeserializeOwned + Default,
        R: Future<Output = Result<(), Fatal>>,
    {
        let probe = self.check;
        match (self.load(), probe) {
            (Ok(loaded), Some(probe)) => check::check(probes(&loaded.value), probe),
            (Ok(loaded), None) => process::main_with(run(loaded)),
            (Err(error), _) => Fatal::from(error).report(),
        }
    }

    fn load<S: Serialize + DeserializeOwned + Default>(self) -> Result<Loaded<S>, ConfigError> {
        let url = self.broker.map(|url| ("broker.url".to_owned(), url));
        config::load(&Layers {
            file: self.config,
            overrides: url.into_iter().collect(),
            ..Layers::default()
        })
    }
}
