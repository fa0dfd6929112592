//! Whether the node of a connection still decides with the others of its cluster.
//!
//! A node that was cut off from the majority keeps its connections and answers heartbeats, and
//! neither confirms nor delivers anything. So where several hosts are given and a connection has
//! been quiet for a heartbeat, its node is asked for something that needs the majority: a queue of
//! this connection's own. A node that cannot make one is left for the next host.

use super::Link;
use lapin::{
    Connection,
    options::{QueueDeclareOptions, QueueDeleteOptions},
    types::FieldTable,
};
use pumasi_common::broker::Health;
use std::{sync::Weak, time::Duration};
use tokio::time::{sleep, timeout};

/// Shortest patience with a node: a cluster that chooses a leader takes a few seconds.
const PATIENCE_MIN: Duration = Duration::from_secs(5);

/// Watches over a link for as long as there is one.
pub(crate) async fn watch_over(link: Weak<Link>, heartbeat: Duration) {
    let patience = heartbeat.saturating_mul(2).max(PATIENCE_MIN);
    let mut seen = 0;
    loop {
        sleep(heartbeat).await;
        let Some(link) = link.upgrade() else {
            return;
        };
        let signs = link.signs();
        if std::mem::replace(&mut seen, signs) != signs || link.health() != Health::Up {
            continue;
        }
        let Some(connection) = link.live().await else {
            continue;
        };
        let is_silent = timeout(patience, ask(&connection)).await.is_err();
        if is_silent && link.signs() == signs && link.health() == Health::Up {
            tracing::warn!(
                role = link.role,
                "this node does not decide with the others; trying the next one"
            );
            link.leave(&connection).await;
        }
    }
}

/// Makes a queue of this connection and takes it away. Any answer will do: a user may not be allowed
/// to, and a connection that ends is noticed elsewhere.
async fn ask(connection: &Connection) -> lapin::Result<()> {
    let channel = connection.create_channel().await?;
    let options = QueueDeclareOptions {
        exclusive: true,
        auto_delete: true,
        ..QueueDeclareOptions::default()
    };
    let made = channel
        .queue_declare("".into(), options, FieldTable::default())
        .await?;
    channel
        .queue_delete(made.name().clone(), QueueDeleteOptions::default())
        .await?;
    channel.close(200, "asked".into()).await
}
