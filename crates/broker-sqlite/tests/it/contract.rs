//! Every case of the contract, each over a file of its own.

use crate::support::settings;
use pumasi_broker_sqlite::SqliteBroker;
use pumasi_testkit::conformance;
use tempfile::tempdir;

#[tokio::test(flavor = "multi_thread")]
async fn every_case_of_the_contract_holds() {
    for case in conformance::cases() {
        println!("{case:?}");
        let dir = tempdir().unwrap();
        let broker = SqliteBroker::open(&settings(), &dir.path().join("s.db"))
            .await
            .unwrap();
        (case.run)(broker).await;
    }
}
