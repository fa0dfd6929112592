//! The brokers that a test runs on.

use pumasi_testkit::rabbitmq::{RabbitMq, Version};
use tempfile::TempDir;

/// A fresh, empty broker.
pub(crate) struct TestBroker {
    pub(crate) url: String,
    _folder: Option<TempDir>,
}

impl TestBroker {
    /// One in a file of its own.
    pub(crate) fn embedded() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("q.db").display());
        Self {
            url,
            _folder: Some(folder),
        }
    }

    fn rabbitmq(version: Version) -> Option<Self> {
        if let Err(missing) = version.available() {
            eprintln!("left out: {missing}");
            return None;
        }
        Some(Self {
            url: RabbitMq::shared(version).new_vhost_url(),
            _folder: None,
        })
    }
}

/// Runs a check on the embedded broker and on both RabbitMQ versions.
pub(crate) fn on_every_broker(check: impl Fn(&TestBroker)) {
    check(&TestBroker::embedded());
    for version in Version::ALL {
        if let Some(broker) = TestBroker::rabbitmq(version) {
            check(&broker);
        }
    }
}
