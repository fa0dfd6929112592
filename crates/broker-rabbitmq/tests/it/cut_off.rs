//! A node that is cut off from the others of its cluster, and those who are connected to it.

use super::*;
use pumasi_common::Settlement;
use pumasi_testkit::rabbitmq::cluster::Cluster;

/// Longest time until those who were connected to it work again: it is found out within a heartbeat
/// and some patience, and the queue gives up what its consumers hold after 10 s.
const MOVED: Duration = Duration::from_secs(40);

#[test]
fn a_node_without_the_majority_is_left_for_one_that_has_it() {
    if let Err(reason) = Version::V4_3.available() {
        println!("skipped: {reason}");
        return;
    }
    let cluster = Cluster::start(Version::V4_3);
    runtime().block_on(cut_off(&cluster));
}

async fn cut_off(cluster: &Cluster) {
    let mut settings = ConnectionSettings::of_url(&cluster.url_of(&cluster.new_vhost(), 0));
    settings.heartbeat = Duration::from_secs(2);
    let broker = open_with(settings).await.unwrap();
    declare(&broker, "work", QueueKind::Quorum).await;
    publish(&broker, "work", "before").await;
    let mut consumer = consume(&broker, "work", 10).await;
    next(&mut consumer).await.settle(Settlement::Ack).unwrap();
    cluster.partition(0);
    let begin = std::time::Instant::now();
    // It waits for as long as a publish may: its first confirm never comes.
    let outcome = timeout(MOVED, broker.publish(publication("work", "after"))).await;
    let outcome = outcome.expect("an answer");
    assert!(
        matches!(outcome, PublishOutcome::Accepted(_)),
        "{outcome:?}"
    );
    println!("published again after {:?}", begin.elapsed());
    loop {
        let delivery = timeout(MOVED, consumer.next()).await;
        let delivery = delivery.expect("a delivery in time").unwrap();
        let is_it = payload(&delivery) == "after";
        delivery.settle(Settlement::Ack).unwrap();
        if is_it {
            break;
        }
    }
    println!("consumed again after {:?}", begin.elapsed());
    consumer.close().await;
    broker.close().await;
}
