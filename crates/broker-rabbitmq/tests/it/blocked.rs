//! What publishers are told while the broker reads nothing from them.

use super::*;
use pumasi_common::{Refusal, broker::Health};

/// Publishes while it is blocked.
const OFFERED: usize = 50;

#[test]
fn a_publish_while_the_broker_is_blocked_is_refused_and_never_arrives_later() {
    apart(blocked);
}

async fn blocked(node: &RabbitMq) {
    let mut settings = ConnectionSettings::of_url(&node.url());
    settings.publish_timeout = Duration::from_secs(1);
    let broker = open_with(settings.clone()).await.unwrap();
    declare(&broker, "work", QueueKind::Quorum).await;
    set_memory_limit(node, "1");
    // The broker says that it is blocked when somebody publishes.
    let first = broker.publish(publication("work", "first")).await;
    assert!(matches!(first, PublishOutcome::Unknown(..)), "{first:?}");
    until("the notice", || {
        matches!(broker.health(), Health::Blocked(_))
    })
    .await;

    let offered = (0..OFFERED).map(|_| broker.publish(publication("work", "later")));
    for outcome in futures_util::future::join_all(offered).await {
        let refused = matches!(
            outcome,
            PublishOutcome::Refused(_, Refusal::Unavailable { .. })
        );
        assert!(refused, "{outcome:?}");
    }
    set_memory_limit(node, "1GiB");
    publish_soon(&broker).await;
    until_ready(&broker, "work", 2).await;
    broker.close().await;
}

/// Publishes once more, which works soon.
async fn publish_soon(broker: &RabbitMqBroker) {
    let trying = async {
        while !matches!(
            broker.publish(publication("work", "last")).await,
            PublishOutcome::Accepted(_)
        ) {}
    };
    timeout(Duration::from_secs(5), trying)
        .await
        .expect("an open way");
}

fn set_memory_limit(node: &RabbitMq, limit: &str) {
    tokio::task::block_in_place(|| {
        node.ctl(&["set_vm_memory_high_watermark", "absolute", limit]);
        // It looks at its memory each second.
        node.ctl(&["eval", "timer:sleep(1500)."]);
    });
}
