//! The programs that measure: built before anything is measured, run one at a time.

use super::works::Program;
use crate::process::{self, Result};
use serde::Deserialize;
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Where the workspace is.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// The C client, beside the others.
const C_NAME: &str = "pumasi-bench-c";
/// How the example `bench` is told where the command is.
const COMMAND: &str = "PUMASI_BENCH_PROGRAM";

/// How they are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Build {
    Debug,
    /// As they are shipped.
    Release,
}

/// Where they are.
pub(super) struct Programs {
    example: PathBuf,
    sqlite: PathBuf,
    c: PathBuf,
    /// What a person installs.
    pub(super) pumasi: PathBuf,
    services: [PathBuf; 2],
}

/// A line of `cargo --message-format=json`.
#[derive(Deserialize)]
struct Message {
    target: Option<Target>,
    executable: Option<PathBuf>,
}

/// What it is that was built.
#[derive(Deserialize)]
struct Target {
    kind: Vec<String>,
    name: String,
}

impl Programs {
    /// Builds them.
    pub(super) fn build(build: Build) -> Result<Self> {
        let mut cargo = process::cargo_command();
        cargo
            .arg("build")
            .args(["-p", "xtask", "--example", "bench"])
            .args(["-p", "pumasi-broker-sqlite", "--bench", "speed"])
            .args(["-p", "pumasi", "--bin", "pumasi"])
            .args(["-p", "pumasi-producer", "--bin", "pumasi-producer"])
            .args(["-p", "pumasi-worker", "--bin", "pumasi-worker"])
            .arg("--message-format=json-render-diagnostics")
            .current_dir(ROOT)
            .stderr(Stdio::inherit());
        if build == Build::Release {
            cargo.arg("--release");
        }
        let output = cargo
            .output()
            .map_err(|error| format!("cannot start cargo: {error}"))?;
        if !output.status.success() {
            return Err("the programs cannot be built".to_owned());
        }
        let built = String::from_utf8_lossy(&output.stdout);
        let example = executable(&built, "example", "bench")?;
        let c = example.with_file_name(C_NAME);
        compile(&c)?;
        Ok(Self {
            sqlite: executable(&built, "bench", "speed")?,
            pumasi: executable(&built, "bin", "pumasi")?,
            services: [
                executable(&built, "bin", "pumasi-producer")?,
                executable(&built, "bin", "pumasi-worker")?,
            ],
            example,
            c,
        })
    }

    /// Where one is.
    pub(super) fn of(&self, program: Program) -> &Path {
        match program {
            Program::Pumasi => &self.example,
            Program::C => &self.c,
            Program::Sqlite => &self.sqlite,
        }
    }

    /// What a release holds.
    pub(super) fn shipped(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.pumasi].into_iter().chain(&self.services)
    }

    /// A command of one, behind these words.
    pub(super) fn command(&self, program: Program, before: Vec<String>) -> Command {
        let program = self.of(program);
        let mut words = before.into_iter();
        let mut command = match words.next() {
            Some(first) => {
                let mut command = Command::new(first);
                command.args(words).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.env(COMMAND, &self.pumasi);
        command
    }
}

/// Where cargo says that it has put a program.
fn executable(built: &str, kind: &str, name: &str) -> Result<PathBuf> {
    let messages = built
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok());
    let is_it = |target: &Target| target.name == name && target.kind.iter().any(|one| one == kind);
    messages
        .filter(|message| message.target.as_ref().is_some_and(is_it))
        .find_map(|message| message.executable)
        .ok_or_else(|| format!("cargo did not say where the {kind} {name} is"))
}

/// Builds the C client.
fn compile(program: &Path) -> Result {
    let folder = Path::new(ROOT).join("bench/c");
    let entries = std::fs::read_dir(&folder).map_err(|error| error.to_string())?;
    let mut sources: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "c"))
        .collect();
    sources.sort();
    let status = Command::new("cc")
        .args(["-O2", "-Wall", "-Wextra", "-o"])
        .arg(program)
        .args(&sources)
        .args(["-lrabbitmq", "-lpthread"])
        .status()
        .map_err(|error| format!("cannot start cc: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!(
            "the C client in {} is not built: {status}",
            folder.display()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_by_its_kind_and_name_among_what_cargo_has_built() {
        let line = |kind: &str, name: &str, executable: &str| {
            format!(
                r#"{{"target":{{"kind":["{kind}"],"name":"{name}"}},"executable":{executable}}}"#
            )
        };
        let built = [
            line("bench", "speed", "null"),
            line("bin", "speed", r#""/a/bin""#),
            line("bench", "other", r#""/a/other""#),
            line("bench", "speed", r#""/a/speed-1""#),
            "{}".to_owned(),
        ]
        .join("\n");
        let found = executable(&built, "bench", "speed").unwrap();
        assert_eq!(found, PathBuf::from("/a/speed-1"));
        let missing = executable(&built, "example", "speed").unwrap_err();
        assert!(missing.contains("the example speed"), "{missing}");
    }
}
