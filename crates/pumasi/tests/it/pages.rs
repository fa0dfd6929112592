//! The tutorial, done by the page: what a reader types is typed, what the page shows must come.

pub(crate) mod compare;
mod page;
mod terminal;

use page::{Step, read};
use pumasi_testkit::rabbitmq::{RabbitMq, Version, free_port};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};
use terminal::Terminal;

/// The port of the broker that the page about durability starts; the test takes a free one.
const PORT_ON_PAGE: &str = "5699";

/// Where a page is done.
enum On {
    /// The broker that a reader has: the one in the state folder.
    Embedded,
    /// A fresh virtual host of a RabbitMQ node.
    RabbitMq(String),
    /// A node that the page itself starts, kills and starts again.
    OwnNode { port: String, port_mapper: Child },
}

impl On {
    fn shared_node() -> Self {
        match Version::V3_10.available() {
            Ok(()) => Self::RabbitMq(RabbitMq::shared(Version::V3_10).new_vhost_url()),
            Err(missing) => {
                eprintln!("on the embedded broker instead: {missing}");
                Self::Embedded
            }
        }
    }

    /// Only the ports are ours, so that several runs fit on one machine.
    fn own_node() -> Option<Self> {
        if let Err(missing) = Version::V3_10.available() {
            eprintln!("left out: {missing}");
            return None;
        }
        let port = free_port().to_string();
        let mut command = Command::new("epmd");
        command
            .args(["-port", &port, "-address", "127.0.0.1"])
            .stdin(Stdio::null());
        let port_mapper = command.spawn().unwrap();
        Some(Self::OwnNode { port, port_mapper })
    }

    fn environment(&self, folder: &Path) -> Vec<(String, String)> {
        let program = Path::new(env!("CARGO_BIN_EXE_pumasi"));
        let path = format!(
            "{}:/usr/local/bin:/usr/bin:/bin",
            program.parent().unwrap().display()
        );
        let state = folder.join("state").display().to_string();
        let mut environment = vec![
            ("PATH", path),
            ("LANG", "C.UTF-8".to_owned()),
            ("HOME", folder.display().to_string()),
            ("XDG_STATE_HOME", state),
        ];
        match self {
            Self::Embedded => {}
            Self::RabbitMq(url) => environment.push(("PUMASI__BROKER__URL", url.clone())),
            Self::OwnNode { port, .. } => environment.extend([
                ("ERL_EPMD_PORT", port.clone()),
                ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
                ("RABBITMQ_DIST_PORT", free_port().to_string()),
            ]),
        }
        let owned = environment.into_iter();
        owned
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }
}

impl Drop for On {
    fn drop(&mut self) {
        if let Self::OwnNode { port_mapper, .. } = self {
            let _ = port_mapper.kill();
            let _ = port_mapper.wait();
        }
    }
}

fn tutorial() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/tutorial")
}

/// Does what the page says, in an empty folder.
fn follow(page: &Path, on: &On) {
    let folder = tempfile::tempdir().unwrap();
    let environment = on.environment(folder.path());
    let own = free_port().to_string();
    let mut terminals: BTreeMap<String, Terminal> = BTreeMap::new();
    for step in read(page) {
        match step {
            Step::Save { name, text } => {
                let text = text.replace(PORT_ON_PAGE, &own);
                std::fs::write(folder.path().join(name), text).unwrap();
            }
            Step::Terminal { name, acts } => {
                let terminal = terminals
                    .entry(name.clone())
                    .or_insert_with(|| Terminal::open(&name, folder.path(), &environment));
                for (number, act) in acts.iter().enumerate() {
                    terminal.act(act, acts.get(number + 1));
                }
            }
        }
    }
    assert!(!terminals.is_empty(), "{}: nothing to type", page.display());
    for terminal in terminals.values_mut() {
        terminal.settle();
    }
}

/// The English page on the embedded broker, the Korean one on RabbitMQ.
fn follow_both(name: &str) {
    follow(&tutorial().join(name), &On::Embedded);
    follow(&tutorial().join("ko").join(name), &On::shared_node());
}

#[test]
fn the_page_about_competing_consumers_is_true() {
    follow_both("1-competing-consumers.md");
}

#[test]
fn the_page_about_acknowledgements_is_true() {
    follow_both("2-acknowledgements.md");
}

#[test]
fn the_page_about_durability_is_true() {
    for language in ["", "ko"] {
        if let Some(on) = On::own_node() {
            follow(&tutorial().join(language).join("3-durability.md"), &on);
        }
    }
}

#[test]
fn the_page_about_fair_dispatch_is_true() {
    follow_both("4-fair-dispatch.md");
}

#[test]
fn the_page_about_publish_subscribe_is_true() {
    follow_both("5-publish-subscribe.md");
}

#[test]
fn the_page_about_failures_is_true() {
    follow_both("6-when-things-fail.md");
}

#[test]
fn both_languages_type_and_show_the_same() {
    let mut pages = 0;
    for entry in std::fs::read_dir(tutorial()).unwrap() {
        let page = entry.unwrap().path();
        if page.extension().is_some_and(|extension| extension == "md") {
            let korean = tutorial().join("ko").join(page.file_name().unwrap());
            assert_eq!(read(&page), read(&korean), "{}", page.display());
            pages += 1;
        }
    }
    let korean = std::fs::read_dir(tutorial().join("ko")).unwrap().count();
    assert_eq!((pages, korean), (7, 7));
}
