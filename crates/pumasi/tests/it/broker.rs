//! The brokers that a test runs on.

use pumasi_testkit::rabbitmq::{RabbitMq, Version};
use std::sync::atomic::{AtomicU32, Ordering};
use tempfile::TempDir;

/// A fresh, empty broker.
pub(crate) struct TestBroker {
    pub(crate) url: String,
    /// The RabbitMQ node; `None` for the embedded broker.
    pub(crate) node: Option<&'static RabbitMq>,
    folder: TempDir,
}

impl TestBroker {
    /// One in a file of its own.
    pub(crate) fn embedded() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("q.db").display());
        Self {
            url,
            node: None,
            folder,
        }
    }

    /// One in a virtual host of its own, where this version is installed.
    pub(crate) fn rabbitmq(version: Version) -> Option<Self> {
        if let Err(missing) = version.available() {
            eprintln!("left out: {missing}");
            return None;
        }
        let node = RabbitMq::shared(version);
        Some(Self {
            url: node.new_vhost_url(),
            node: Some(node),
            folder: tempfile::tempdir().unwrap(),
        })
    }
}

impl TestBroker {
    /// A file of this test's own; gives its path.
    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// A configuration file; each has another name.
    pub(crate) fn config(&self, text: &str) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        self.file(&format!("{count}.toml"), text.as_bytes())
    }
}

/// Runs a check on the embedded broker and on both RabbitMQ versions.
pub(crate) fn on_every_broker(check: impl Fn(&TestBroker)) {
    check(&TestBroker::embedded());
    on_every_rabbitmq(check);
}

/// Runs a check on both RabbitMQ versions.
pub(crate) fn on_every_rabbitmq(check: impl Fn(&TestBroker)) {
    for version in Version::ALL {
        if let Some(broker) = TestBroker::rabbitmq(version) {
            check(&broker);
        }
    }
}
