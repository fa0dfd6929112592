//! What every file of the repository keeps to.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// Longest source file, in lines.
const LINES_MAX: usize = 800;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every file with this extension; nothing hidden, nothing built.
fn files(extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap();
            if name.starts_with('.') || name.starts_with("target") || name == "node_modules" {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|have| have == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(!found.is_empty());
    found
}

/// The targets of a page's inline links, code left out.
fn links(page: &str) -> Vec<&str> {
    let mut in_block = false;
    let prose = page.lines().filter(|line| {
        let is_fence = line.trim_start().starts_with("```");
        in_block ^= is_fence;
        !in_block && !is_fence && !line.starts_with("    ")
    });
    prose
        .flat_map(|line| line.split("](").skip(1))
        .filter_map(|rest| rest.split_once(')').map(|(target, _)| target))
        .collect()
}

#[test]
fn links_between_pages_lead_somewhere() {
    let mut broken = Vec::new();
    let mut linked = BTreeSet::new();
    let mut seen = 0;
    for page in files("md") {
        let text = std::fs::read_to_string(&page).unwrap();
        for link in links(&text)
            .into_iter()
            .filter(|link| !link.contains("://"))
        {
            seen += 1;
            let target = link.split('#').next().unwrap_or_default();
            let to = page.parent().unwrap().join(target);
            if !target.is_empty() && !to.exists() {
                broken.push(format!("{}: {link}", page.display()));
            }
            linked.extend(to.canonicalize());
        }
    }
    for page in files("md") {
        let is_documentation = page.starts_with(root().join("docs"));
        if is_documentation && !linked.contains(&page.canonicalize().unwrap()) {
            broken.push(format!("{}: no page leads here", page.display()));
        }
    }
    assert!(seen > 50, "only {seen} links found");
    assert!(broken.is_empty(), "broken links: {broken:#?}");
}

#[test]
fn sources_are_short_begin_with_what_they_are_for_and_are_named_for_it() {
    let mut untidy = Vec::new();
    for file in files("rs") {
        let text = std::fs::read_to_string(&file).unwrap();
        let lines = text.lines().count();
        if lines >= LINES_MAX {
            untidy.push(format!("{}: {lines} lines", file.display()));
        }
        if !text.starts_with("//! ") {
            untidy.push(format!("{}: no module documentation", file.display()));
        }
        if file.ends_with("mod.rs") {
            untidy.push(format!("{}: name it after its folder", file.display()));
        }
    }
    assert!(untidy.is_empty(), "{untidy:#?}");
}

#[test]
fn the_architecture_page_names_files_that_exist() {
    let page = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let named: Vec<&str> = page
        .split('`')
        .filter(|text| text.ends_with(".rs") && text.contains('/'))
        .collect();
    assert!(named.len() > 10, "{named:?}");
    for path in named {
        for broker in ["broker-rabbitmq", "broker-sqlite"] {
            let path = root().join("crates").join(path.replace("broker-*", broker));
            assert!(path.exists(), "{}", path.display());
        }
    }
}

#[test]
fn the_readme_says_the_same_in_both_languages() {
    let read = |name: &str| {
        let page = std::fs::read_to_string(root().join(name)).unwrap();
        let headings = page.lines().filter(|line| line.starts_with('#')).count();
        let commands: Vec<String> = page
            .lines()
            .filter_map(|line| line.strip_prefix("    "))
            .filter_map(|line| line.split(" #").next())
            .map(|command| command.trim().to_owned())
            .collect();
        (headings, commands)
    };
    assert!(!read("README.md").1.is_empty());
    assert_eq!(read("README.md"), read("README.ko.md"));
}
