//! A task that is kept back goes out: its way is prepared first.

use super::Publisher;
use crate::{
    connection::Backoff,
    delay::{self, Obstacle, Route},
};
use pumasi_common::{
    Destination, Publication, PublishOutcome, QueueName, Refusal, Topology,
    topology::{Declaration, Plan},
};
use tokio::time::{Instant, timeout_at};

impl Publisher {
    /// Sends what is kept back. What comes back finds out that somebody has removed a part of the
    /// way; it was not stored, so it may go once more.
    pub(super) async fn send_later(
        &self,
        publication: Publication,
        route: Route,
        deadline: Instant,
    ) -> PublishOutcome {
        let publication = delay::without_expiration(publication);
        let mut again = false;
        loop {
            if let Err(refusal) = self.prepare_delay(&publication, deadline).await {
                return PublishOutcome::Refused(publication.task.id, refusal);
            }
            let sent = self.send(publication.clone(), Some(&route), deadline).await;
            let came_back = matches!(
                &sent,
                PublishOutcome::Refused(_, Refusal::Unroutable { .. })
            );
            if !came_back || std::mem::replace(&mut again, true) {
                return sent;
            }
            self.delays.forget();
        }
    }

    /// Queues were made anew: what leads to them from the ladder went with the old ones.
    pub(crate) async fn made_anew(&self, topology: &Topology, plan: &Plan) {
        if plan.missing.is_empty() {
            return;
        }
        self.delays.forget();
        let declarations = topology.declarations().unwrap_or_default();
        for declaration in &declarations {
            if let Declaration::Queue(queue) = declaration
                && plan.missing.contains(&declaration.to_string())
            {
                self.delays.lead_to(&queue.name).await;
            }
        }
    }

    /// A queue may have been made anew by somebody else.
    pub(crate) fn doubt_delays_to(&self, queue: &QueueName) {
        self.delays.doubt(queue);
    }

    async fn prepare_delay(
        &self,
        publication: &Publication,
        deadline: Instant,
    ) -> Result<(), Refusal> {
        let Destination::Queue(queue) = &publication.destination else {
            return Ok(());
        };
        let mut problem = "the broker did not answer in time".to_owned();
        let mut backoff = Backoff::default();
        let prepared = timeout_at(deadline, async {
            loop {
                match self.delays.prepare(queue).await {
                    Ok(()) => return Ok(()),
                    Err(Obstacle::Refused(refusal)) => return Err(refusal),
                    Err(Obstacle::Unavailable(why)) => problem = why,
                }
                backoff.wait().await;
            }
        })
        .await;
        prepared.unwrap_or(Err(Refusal::Unavailable { problem }))
    }
}
