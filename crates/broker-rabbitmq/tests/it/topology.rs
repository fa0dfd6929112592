//! What must exist.

use super::*;
use pumasi_common::{
    Diagnostic, ErrorCode, Refusal, SubscriptionName, TopicName, broker::AdminError,
    queue::TopicSpec, settlement::Settlement, topology::TopologyError,
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
        assert_eq!(made.missing.len(), 6, "{made:?}");
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
        let broker = open(&node.new_vhost_url()).await;
        let topology = Topology {
            queues: vec![
                QueueSpec::new(name("steady")),
                QueueSpec::new(name("fleeting")).with_kind(QueueKind::Transient),
            ],
            topics: vec![],
        };
        let kinds = broker.capabilities().queue_kinds;
        let result = broker.ensure_topology(&topology).await;
        match node.version() {
            Version::V3_10 => {
                assert!(kinds.contains(&QueueKind::Transient), "{kinds:?}");
                result.unwrap();
                publish(&broker, "fleeting", "x").await;
            }
            Version::V4_3 => {
                assert!(!kinds.contains(&QueueKind::Transient), "{kinds:?}");
                let error = result.unwrap_err();
                assert_eq!(error.code(), ErrorCode::Unsupported);
                let text = error.to_string();
                assert!(
                    text.starts_with(
                        "cannot declare queue `fleeting`: kind `transient` is supported up to \
                         RabbitMQ 4.2, and this is RabbitMQ 4.3."
                    ),
                    "{text}"
                );
                assert!(error.help().unwrap().contains("`quorum`"));
                // Not its dead letters, not the other queue: nothing was declared.
                for queue in ["fleeting.dead", "steady", "steady.dead"] {
                    let looked = broker.admin().queue(&name(queue)).await;
                    assert!(
                        matches!(looked, Err(AdminError::QueueMissing { .. })),
                        "{queue}: {looked:?}"
                    );
                }
                publish_is_refused(&broker, "fleeting").await;
            }
        }
        broker.close().await;
    });
}

async fn publish_is_refused(broker: &RabbitMqBroker, queue: &str) {
    let outcome = broker.publish(publication(queue, "x")).await;
    assert!(
        matches!(
            outcome,
            PublishOutcome::Refused(_, Refusal::Unroutable { .. })
        ),
        "{outcome:?}"
    );
}
