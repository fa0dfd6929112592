//! The programs that measure: built in release, run one at a time.

use super::{Options, Place};
use crate::process::{self, Result};
use pumasi_testkit::bench::Measured;
use serde::Deserialize;
use std::{
    fmt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The embedded broker is faster; with as few tasks its runs would be too short to compare.
const EMBEDDED_FACTOR: usize = 4;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    Publish,
    Consume,
    Worker,
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Publish => "publish, confirmed",
            Self::Consume => "consume, acked",
            Self::Worker => "whole worker, no-op handler",
        })
    }
}

/// Where the programs are.
pub(super) struct Programs {
    rabbitmq: PathBuf,
    sqlite: PathBuf,
    worker: PathBuf,
}

/// A line of `cargo --message-format=json`.
#[derive(Deserialize)]
struct Message {
    manifest_path: Option<PathBuf>,
    target: Option<Target>,
    executable: Option<PathBuf>,
}

/// Which of a package's programs it is: cargo builds its services for the bench, too.
#[derive(Deserialize)]
struct Target {
    kind: Vec<String>,
}

impl Message {
    fn is_bench(&self) -> bool {
        let kinds = self.target.as_ref().map(|target| &target.kind);
        kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind == "bench"))
    }
}

impl Programs {
    /// Builds them as they are shipped: in release.
    pub(super) fn build() -> Result<Self> {
        let output = process::cargo_command()
            .args(["bench", "--no-run", "--bench", "speed"])
            .args(["-p", "pumasi-broker-rabbitmq"])
            .args(["-p", "pumasi-broker-sqlite", "-p", "pumasi-worker"])
            .arg("--message-format=json-render-diagnostics")
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| format!("cannot start cargo: {error}"))?;
        if !output.status.success() {
            return Err("the programs cannot be built".to_owned());
        }
        let built: Vec<Message> = output
            .stdout
            .split(|byte| *byte == b'\n')
            .filter_map(|line| serde_json::from_slice(line).ok())
            .collect();
        let program = |folder: &str| {
            built
                .iter()
                .find(|message| {
                    let manifest = message.manifest_path.as_ref();
                    manifest
                        .is_some_and(|path| path.ends_with(Path::new(folder).join("Cargo.toml")))
                        && message.is_bench()
                        && message.executable.is_some()
                })
                .and_then(|message| message.executable.clone())
                .ok_or_else(|| format!("cargo did not say where the program of {folder} is"))
        };
        Ok(Self {
            rabbitmq: program("broker-rabbitmq")?,
            sqlite: program("broker-sqlite")?,
            worker: program("worker")?,
        })
    }

    /// Measures the plain loop.
    pub(super) fn plain(&self, place: &Place, work: Work, options: &Options) -> Result<Measured> {
        let at = At::fresh(place)?;
        let work = match work {
            Work::Publish => "publish",
            // Nothing plain does more than consume; it is what a worker is compared with.
            Work::Consume | Work::Worker => "consume",
        };
        measured(
            &self.broker(place),
            &[work, "plain"],
            &at.broker,
            place,
            options,
        )
    }

    /// Measures ours.
    pub(super) fn ours(&self, place: &Place, work: Work, options: &Options) -> Result<Measured> {
        let at = At::fresh(place)?;
        let broker = self.broker(place);
        match work {
            Work::Publish => measured(&broker, &["publish", "pumasi"], &at.broker, place, options),
            Work::Consume => measured(&broker, &["consume", "pumasi"], &at.broker, place, options),
            Work::Worker => {
                run(&broker, &["fill", "pumasi"], &at.broker, place, options)?;
                measured(&self.worker, &["work", "pumasi"], &at.url, place, options)
            }
        }
    }

    fn broker(&self, place: &Place) -> PathBuf {
        match place {
            Place::RabbitMq(_) => self.rabbitmq.clone(),
            Place::Embedded => self.sqlite.clone(),
        }
    }
}

/// How many tasks one measurement takes.
pub(super) fn count(place: &Place, options: &Options) -> usize {
    match place {
        Place::RabbitMq(_) => options.count,
        Place::Embedded => options.count * EMBEDDED_FACTOR,
    }
}

/// An empty place for one measurement.
struct At {
    /// As the broker's own program is told.
    broker: String,
    /// As everybody else is told.
    url: String,
    _folder: Option<tempfile::TempDir>,
}

impl At {
    fn fresh(place: &Place) -> Result<Self> {
        match place {
            Place::RabbitMq(node) => {
                let url = node.new_vhost_url();
                Ok(Self {
                    broker: url.clone(),
                    url,
                    _folder: None,
                })
            }
            Place::Embedded => {
                let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
                let path = folder.path().join("bench.db").display().to_string();
                Ok(Self {
                    url: format!("sqlite:{path}"),
                    broker: path,
                    _folder: Some(folder),
                })
            }
        }
    }
}

fn measured(
    program: &Path,
    what: &[&str; 2],
    at: &str,
    place: &Place,
    options: &Options,
) -> Result<Measured> {
    let said = run(program, what, at, place, options)?;
    let last = said.lines().last().unwrap_or_default();
    serde_json::from_str(last).map_err(|error| format!("{what:?} said `{last}`: {error}"))
}

fn run(
    program: &Path,
    what: &[&str; 2],
    at: &str,
    place: &Place,
    options: &Options,
) -> Result<String> {
    let output = Command::new(program)
        .args(what)
        .arg(at)
        .arg(count(place, options).to_string())
        .arg(options.bytes.to_string())
        .arg(options.window.to_string())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cannot start {}: {error}", program.display()))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("{what:?} failed: {}", output.status))
    }
}
