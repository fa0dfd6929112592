//! Every case of the conformance suite, on every broker that can be had here.

use futures_util::FutureExt;
use pumasi_common::ConnectionSettings;
use pumasi_testkit::{
    conformance::{LIMIT, Subject, cases},
    model::Model,
    rabbitmq::{RabbitMq, Version},
};
use std::panic::AssertUnwindSafe;

/// Runs all cases, each on a broker of its own at a fresh address.
async fn check(fresh: impl Fn() -> ConnectionSettings) {
    check_all(async || {
        let settings = ConnectionSettings {
            payload_bytes_max: 1024 * 1024,
            ..fresh()
        };
        let opened = pumasi_broker::open(&settings).await;
        opened.expect("the broker opens")
    })
    .await;
}

/// Runs all cases, each on a broker of its own, and reports all that fail.
async fn check_all(fresh: impl AsyncFn() -> Subject) {
    let mut failed = Vec::new();
    for case in cases() {
        let broker = fresh().await;
        let run = AssertUnwindSafe((case.run)(broker.clone())).catch_unwind();
        match tokio::time::timeout(3 * LIMIT, run).await {
            Ok(Ok(())) => println!("ok      {}", case.name),
            Ok(Err(_)) => failed.push(case.name),
            Err(_) => failed.push(case.name),
        }
        broker.close().await;
    }
    assert!(failed.is_empty(), "cases failed: {failed:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_broker_fulfils_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let files = std::sync::atomic::AtomicU32::new(0);
    check(|| {
        let number = files.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = folder.path().join(format!("{number}.db"));
        ConnectionSettings::of_url(&format!("sqlite:{}", path.display()))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_model_in_memory_fulfils_the_contract() {
    check_all(async || {
        let model: Subject = Model::new();
        model
    })
    .await;
}

async fn check_rabbitmq(version: Version) {
    if let Err(missing) = version.available() {
        eprintln!("left out: {missing}");
        return;
    }
    let node = RabbitMq::shared(version);
    check(|| ConnectionSettings::of_url(&node.new_vhost_url())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rabbitmq_3_10_fulfils_the_contract() {
    check_rabbitmq(Version::V3_10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rabbitmq_4_3_fulfils_the_contract() {
    check_rabbitmq(Version::V4_3).await;
}
