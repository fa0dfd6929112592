//! Who may use what: the bans and sources of `deny.toml`, checked on what cargo resolves.
//!
//! `cargo deny` checks the same and the licences; this needs nothing but cargo, so it is always
//! checked.

use crate::process::Result;
use serde::Deserialize;
use std::{path::Path, process::Command};

/// The only registry.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// What is read of `deny.toml`.
#[derive(Deserialize)]
struct Rules {
    bans: Bans,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

/// A crate that only its wrappers may depend on; without any, nobody may.
#[derive(Deserialize)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    #[serde(default)]
    wrappers: Vec<String>,
    reason: String,
}

/// What is read of `cargo metadata`.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    source: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    dependencies: Vec<String>,
}

/// Fails with every broken rule of the workspace in this folder.
pub(crate) fn check(root: &Path) -> Result {
    let rules = std::fs::read_to_string(root.join("deny.toml"))
        .map_err(|error| format!("cannot read deny.toml: {error}"))?;
    let rules: Rules = toml::from_str(&rules).map_err(|error| format!("deny.toml: {error}"))?;
    let problems = problems(&rules.bans.deny, &metadata(root)?);
    if problems.is_empty() {
        println!("bans and sources of deny.toml: ok");
        Ok(())
    } else {
        Err(problems.join("\n"))
    }
}

fn metadata(root: &Path) -> Result<Metadata> {
    let output = Command::new("cargo")
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(root)
        .output()
        .map_err(|error| format!("cannot start cargo: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata: {error}"))
}

fn problems(bans: &[Ban], metadata: &Metadata) -> Vec<String> {
    let package = |id: &str| metadata.packages.iter().find(|package| package.id == id);
    let mut problems = Vec::new();
    for package in &metadata.packages {
        if let Some(source) = package.source.as_deref().filter(|it| *it != REGISTRY) {
            problems.push(format!("{} comes from {source}", package.name));
        }
    }
    for node in &metadata.resolve.nodes {
        let Some(user) = package(&node.id) else {
            continue;
        };
        for used in node.dependencies.iter().filter_map(|id| package(id)) {
            let ban = bans.iter().find(|ban| ban.name == used.name);
            if let Some(ban) = ban.filter(|ban| !ban.wrappers.contains(&user.name)) {
                problems.push(format!("{} uses {}: {}", user.name, used.name, ban.reason));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_workspace_keeps_its_rules() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        check(&root).unwrap();
    }

    #[test]
    fn a_banned_crate_is_found_with_whoever_uses_it() {
        let package = |name: &str, source: Option<&str>| Package {
            id: name.to_owned(),
            name: name.to_owned(),
            source: source.map(str::to_owned),
        };
        let uses = |id: &str, used: &str| Node {
            id: id.to_owned(),
            dependencies: vec![used.to_owned()],
        };
        let metadata = Metadata {
            packages: vec![
                package("ours", None),
                package("worker", None),
                package("lapin", Some(REGISTRY)),
                package("odd", Some("git+https://example.org")),
            ],
            resolve: Resolve {
                nodes: vec![uses("ours", "lapin"), uses("worker", "lapin")],
            },
        };
        let ban = Ban {
            name: "lapin".to_owned(),
            wrappers: vec!["ours".to_owned()],
            reason: "one place only".to_owned(),
        };
        assert_eq!(
            problems(&[ban], &metadata),
            [
                "odd comes from git+https://example.org",
                "worker uses lapin: one place only"
            ]
        );
    }
}
