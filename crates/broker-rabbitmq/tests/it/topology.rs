//! What must exist.

use super::*;
use pumasi_common::{
    SubscriptionName, TopicName, queue::TopicSpec, settlement::Settlement, topology::TopologyError,
};

#[test]
fn a_topology_is_made_once_and_found_again() {
    each(|node| async move {
        let broker = open(&node.new_vhost_url()).await;
        let topology = Topology {
            queues: vec![QueueSpec::new(name("email"))],
            topics: vec![TopicSpec {
                name: TopicName::new("orders").unwrap(),
                subscriptions: vec![SubscriptionName::new("mail").unwrap()],
            }],
        };
        let plan = broker.plan_topology(&topology).await.unwrap();
        assert!(
            plan.missing.contains(&"queue `email`".to_owned()),
            "{plan:?}"
        );
        let made = broker.ensure_topology(&topology).await.unwrap();
        assert_eq!(made.missing.len(), 5, "{made:?}");
        let again = broker.ensure_topology(&topology).await.unwrap();
        assert!(again.missing.is_empty(), "{again:?}");
        let mut event = publication("email", "event");
        event.destination = Destination::Topic(TopicName::new("orders").unwrap());
        let outcome = broker.publish(event).await;
        assert!(
            matches!(outcome, PublishOutcome::Accepted(_)),
            "{outcome:?}"
        );
        let mut consumer = consume(&broker, "orders.mail", 1).await;
        next(&mut consumer).await.settle(Settlement::Ack).unwrap();
        consumer.close().await;
        broker.close().await;
    });
}

#[test]
fn what_exists_otherwise_is_reported_and_left() {
    each(|node| async move {
        let broker = open(&node.new_vhost_url()).await;
        let spec = |length| {
            let mut spec = QueueSpec::new(name("q")).with_kind(QueueKind::Classic);
            spec.length_max = std::num::NonZeroU64::new(length);
            spec.bytes_max = std::num::NonZeroU64::new(length * 1000);
            Topology {
                queues: vec![spec],
                topics: vec![],
            }
        };
        broker.ensure_topology(&spec(5)).await.unwrap();
        let error = broker.ensure_topology(&spec(6)).await.unwrap_err();
        let TopologyError::Mismatch { differences } = error else {
            panic!("{error:?}");
        };
        let shown: Vec<String> = differences.iter().map(ToString::to_string).collect();
        assert!(
            shown.contains(&"queue `q`: x-max-length: have 5, want 6".to_owned()),
            "{shown:?}"
        );
        assert_eq!(differences.len(), 2, "{shown:?}");
        broker.close().await;
    });
}

#[test]
fn a_transient_queue_is_made_where_the_broker_has_them_and_explained_where_not() {
    each(|node| async move {
        let vhost = node.new_vhost();
        let broker = open(&node.url_of(&vhost)).await;
        let topology = Topology {
            queues: vec![QueueSpec::new(name("fleeting")).with_kind(QueueKind::Transient)],
            topics: vec![],
        };
        let result = broker.ensure_topology(&topology).await;
        match node.version() {
            Version::V3_10 => assert!(result.is_ok(), "{result:?}"),
            Version::V4_3 if result.is_ok() => {
                println!(
                    "{}",
                    node.ctl(&["list_queues", "-p", &vhost, "name", "durable"])
                );
            }
            Version::V4_3 => assert!(
                matches!(result, Err(TopologyError::Unsupported { .. })),
                "{result:?}"
            ),
        }
        broker.close().await;
    });
}
