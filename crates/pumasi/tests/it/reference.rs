//! The reference pages that are made from the program itself. A stale one fails here;
//! `cargo xtask docs` writes them anew.

mod fields;
mod render;

use fields::{Section, sections};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference")
}

/// Runs `pumasi` with nothing configured and gives both outputs.
fn pumasi(arguments: &[&str]) -> (String, String) {
    let empty = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_pumasi"))
        .args(arguments)
        .current_dir(empty.path())
        .env_clear()
        .env("HOME", "/home/you")
        .env("COLUMNS", "100")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr))
}

fn golden(name: &str, text: &str) {
    let path = folder().join(name);
    if std::env::var_os("PUMASI_BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let have = std::fs::read_to_string(&path).unwrap_or_default();
    let first = have.lines().zip(text.lines()).find(|(a, b)| a != b);
    assert!(
        have == text,
        "docs/reference/{name} is stale, run `cargo xtask docs`: {first:?}"
    );
}

/// Every key that is set by default, with its value as text.
fn defaults() -> BTreeMap<String, String> {
    let (shown, _) = pumasi(&["--json", "config", "show"]);
    let entries = shown.lines().map(|line| {
        let entry: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| entry[key].as_str().unwrap().to_owned();
        (text("key"), text("value"))
    });
    entries.collect()
}

#[test]
fn the_configuration_page_and_the_example_file_are_those_of_the_program() {
    let defaults = defaults();
    let sections = sections();
    golden("configuration.md", &render::page(&sections, &defaults));
    golden("pumasi.toml", &render::example(&sections, &defaults));
}

#[test]
fn the_configuration_page_has_every_key_and_no_other() {
    let mut documented = BTreeSet::new();
    for Section { key, fields, .. } in sections() {
        let keys = fields.iter().map(|field| format!("{key}.{}", field.name));
        if let Some((list, table)) = key.split_once("[]") {
            let known: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
            assert_eq!(keys_of_list(list, table), known, "{key}");
            documented.insert(list.to_owned());
        } else {
            documented.extend(keys);
        }
    }
    let existing: BTreeSet<String> = defaults().into_keys().collect();
    assert_eq!(documented, existing);
}

/// The keys that the program expects in the tables of a list, or in a table of each of them (as
/// `.retry`), out of its own complaint.
fn keys_of_list(list: &str, table: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pumasi.toml");
    let text = match table {
        "" => format!("[[{list}]]\nno_such_key = 1\n"),
        table => format!("[[{list}]]\n[{list}{table}]\nno_such_key = 1\n"),
    };
    std::fs::write(&file, text).unwrap();
    let (_, errors) = pumasi(&["--config", file.to_str().unwrap(), "config", "check"]);
    let (_, expected) = errors.split_once("unknown key, expected ").unwrap();
    let line = expected.lines().next().unwrap_or_default();
    let names = line.split('`').skip(1).step_by(2);
    names.map(str::to_owned).collect()
}

#[test]
fn the_example_file_can_be_used_as_it_is_and_with_every_line_switched_on() {
    let text = std::fs::read_to_string(folder().join("pumasi.toml")).unwrap();
    let switched_on: String = text
        .lines()
        .map(|line| match line.strip_prefix("#: ") {
            Some(line) => format!("{line}\n"),
            None => format!("{line}\n"),
        })
        .collect();
    assert!(switched_on.lines().count() > 40);
    for text in [text, switched_on] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pumasi.toml");
        std::fs::write(&file, &text).unwrap();
        let checked = pumasi(&["--config", file.to_str().unwrap(), "config", "check"]);
        let usable = "the configuration can be used\n";
        assert_eq!(checked, (usable.to_owned(), String::new()), "{text}");
    }
}

#[test]
fn the_command_line_page_is_what_help_says() {
    let mut text = render::CLI_HEAD.to_owned();
    let mut ahead = vec![Vec::new()];
    while let Some(command) = ahead.pop() {
        let mut arguments: Vec<&str> = command.iter().map(String::as_str).collect();
        arguments.push("--help");
        let (help, errors) = pumasi(&arguments);
        assert_eq!(errors, "", "{arguments:?}");
        let mut below = render::subcommands(&help);
        below.reverse();
        ahead.extend(below.into_iter().map(|name| {
            let mut next = command.clone();
            next.push(name);
            next
        }));
        text.push_str(&render::help(&command, &help));
    }
    golden("cli.md", &text);
}
