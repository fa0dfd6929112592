//! The brokers that a test runs on.

use pumasi_testkit::rabbitmq::{RabbitMq, Version};
use tempfile::TempDir;

/// A fresh, empty broker.
pub(crate) struct TestBroker {
    pub(crate) url: String,
    /// The RabbitMQ node; `None` for the embedded broker.
    pub(crate) node: Option<&'static RabbitMq>,
    _folder: Option<TempDir>,
}

impl TestBroker {
    /// One in a file of its own.
    pub(crate) fn embedded() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("q.db").display());
        Self {
            url,
            node: None,
            _folder: Some(folder),
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
            _folder: None,
        })
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
