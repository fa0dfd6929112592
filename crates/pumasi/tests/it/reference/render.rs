//! Fields and help texts as pages.

use super::fields::Section;
use std::{collections::BTreeMap, fmt::Write};

/// The longest comment line of the example file.
const WIDTH: usize = 110;

const HEAD: &str = "# Configuration

Four layers, the later one wins: defaults, a file, the environment, flags. The file is the one that `--config` names,
else `pumasi.toml` in the working directory, else `/etc/pumasi/pumasi.toml`. A variable is `PUMASI__` and the key, with
`__` for each dot: `PUMASI__BROKER__URL` sets `broker.url`; lists are separated by commas. Durations are written as
`30s`, `250ms`, `1h 30m`, sizes as `64KiB`, `8MiB`.

A key that does not exist is an error, and all errors are reported at once. `pumasi config check` says whether the
configuration can be used, `pumasi config show` prints every value in force and where it comes from. A password in a
URL is never printed; better is `broker.password_file`.

[pumasi.toml](pumasi.toml) is an example file with every key.
";

const EXAMPLE_HEAD: &str =
    "# Every key of pumasi.toml with its default. Lines that begin with `#: ` are switched off.
# What each key means in full: configuration.md
";

/// What stands in the example for a list of tables.
const LISTS: [(&str, &str); 3] = [
    (
        "queues[]",
        "name = \"email\"\nkind = \"quorum\"\nlength_max = 100000\nbytes_max = 1073741824\n\
         delivery_limit = 100\ndead_letter_queue = \"email.dead\"\n\
         retry = { attempts_max = 8, delay_base = \"5s\", delay_max = \"1h\" }",
    ),
    (
        "topics[]",
        "name = \"orders\"\nsubscriptions = [\"mail\", \"audit\"]",
    ),
    (
        "worker.handlers[]",
        "kind = \"image.resize\"\nexec = [\"/bin/cat\", \"-\"]\n\
         timeout = \"1m\"\nretry = { attempts_max = 3 }\n\n\
         [[worker.handlers]]\nkind = \"image.tag\"\n\
         http = { url = \"http://tagger.default.svc/tasks\" }",
    ),
];

/// The head of the page about the command line.
pub(crate) const CLI_HEAD: &str = "# The command line

Data goes to standard output, all else to standard error. `--json` prints one object per line. The exit status follows
sysexits; [each error code](../errors/README.md) names its own. What follows is what `--help` prints.
";

/// The page of all keys.
pub(crate) fn page(sections: &[Section], defaults: &BTreeMap<String, String>) -> String {
    let mut text = HEAD.to_owned();
    for section in sections {
        let key = section.key.replace("[]", "");
        let title = if section.key.ends_with("[]") {
            format!("[[{key}]]")
        } else {
            format!("[{key}]")
        };
        let (about, more) = section
            .about
            .split_once('\n')
            .unwrap_or((&section.about, ""));
        write!(text, "\n## `{title}`\n\n{}\n", about.trim()).unwrap();
        let more = more.trim();
        if !more.is_empty() {
            writeln!(
                text,
                "{}",
                more.lines().map(str::trim).collect::<Vec<_>>().join("\n")
            )
            .unwrap();
        }
        let is_list = section.key.contains("[]");
        text.push_str(match is_list {
            true => "\n| key | meaning |\n|---|---|\n",
            false => "\n| key | default | meaning |\n|---|---|---|\n",
        });
        for field in &section.fields {
            let default = match defaults.get(&format!("{key}.{}", field.name)) {
                Some(value) if value == "none" => " none |".to_owned(),
                Some(value) => format!(" `{value}` |"),
                None => String::new(),
            };
            writeln!(text, "| `{}` |{default} {} |", field.name, field.about).unwrap();
        }
    }
    text
}

/// The example file.
pub(crate) fn example(sections: &[Section], defaults: &BTreeMap<String, String>) -> String {
    let mut text = EXAMPLE_HEAD.to_owned();
    // What belongs to an entry of a list stands in the list's own example.
    for section in sections.iter().filter(|it| !it.key.contains("[].")) {
        let key = section.key.trim_end_matches("[]");
        if let Some((_, example)) = LISTS.iter().find(|(list, _)| *list == section.key) {
            write!(text, "\n#: [[{key}]]\n").unwrap();
            for line in example.lines() {
                let mark = if line.is_empty() { "" } else { "#: " };
                writeln!(text, "{mark}{line}").unwrap();
            }
            continue;
        }
        write!(text, "\n[{key}]\n").unwrap();
        for field in &section.fields {
            comment(&mut text, &field.about);
            match defaults[&format!("{key}.{}", field.name)].as_str() {
                "none" => writeln!(text, "# {} =", field.name),
                value => writeln!(text, "#: {} = {}", field.name, toml(value)),
            }
            .unwrap();
        }
    }
    text
}

fn toml(value: &str) -> String {
    // A worker needs a queue; the others have defaults that can be used.
    match value {
        "[]" => "[]".to_owned(),
        _ if value.parse::<i64>().is_ok() || value.parse::<bool>().is_ok() => value.to_owned(),
        _ => format!("{value:?}"),
    }
}

fn comment(text: &mut String, about: &str) {
    let mut line = String::from("#");
    for word in about.split(' ') {
        if line.len() + 1 + word.len() > WIDTH {
            writeln!(text, "{line}").unwrap();
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    writeln!(text, "{line}").unwrap();
}

/// The names under `Commands:` in a help text.
pub(crate) fn subcommands(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|name| !name.is_empty() && *name != "help")
        .map(str::to_owned)
        .collect()
}

/// A help text as a section.
pub(crate) fn help(command: &[String], help: &str) -> String {
    let name: Vec<&str> = std::iter::once("pumasi")
        .chain(command.iter().map(String::as_str))
        .collect();
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    format!(
        "\n## {}\n\n```text\n{}\n```\n",
        name.join(" "),
        lines.join("\n")
    )
}
