//! What is published before the broker is told of a settlement: the copy that replaces a task, its
//! dead letter, and the reply to whoever waits for it.
//!
//! A copy or a dead letter has to be confirmed, or the original is given back. A reply is best
//! effort: whoever asked may have gone, and the task is done all the same.

use super::letter::{self, Queues};
use crate::publish::Publisher;
use pumasi_common::{
    DeadLetter, DeadReason, Destination, Publication, PublishOutcome, Refusal, Settlement, Task,
};
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;

/// How long a task whose copy was not taken stays with us before it is given back.
const REFUSED_WAIT: Duration = Duration::from_secs(1);
/// How long a settlement waits for its reply: a broker that takes no publishes for now still
/// takes acknowledgements. Less than an orderly close takes.
const REPLY_LIMIT: Duration = Duration::from_secs(3);

/// What the copies of one consumer need.
#[derive(Clone, Debug)]
pub(super) struct Copies {
    pub(super) queues: Arc<Queues>,
    pub(super) publisher: Arc<Publisher>,
}

impl Copies {
    /// Publishes what the settlement asks for, then the reply; whether the original may go.
    pub(super) async fn publish(
        self,
        task: Arc<Task>,
        settlement: Settlement,
        reply: Option<Box<Publication>>,
    ) -> bool {
        let outcome = match settlement {
            Settlement::Ack => None,
            Settlement::Release => return false,
            Settlement::Retry(copy) => Some(self.replace(&task, *copy).await),
            Settlement::DeadLetter(letter) => Some(self.bury(&task, *letter).await),
        };
        match outcome {
            None | Some(PublishOutcome::Accepted(_)) => {}
            Some(outcome) => {
                let queue = &self.queues.work;
                tracing::warn!(%queue, ?outcome, "copy not taken, task given back");
                tokio::time::sleep(REFUSED_WAIT).await;
                return false;
            }
        }
        if let Some(reply) = reply {
            self.reply(*reply).await;
        }
        true
    }

    async fn replace(&self, task: &Task, copy: Publication) -> PublishOutcome {
        let to = copy.destination.clone();
        let outcome = self.publisher.publish_any_size(copy).await;
        let PublishOutcome::Refused(_, refusal) = &outcome else {
            return outcome;
        };
        if !letter::cannot_be_carried(refusal) {
            return outcome;
        }
        let worker = &self.queues.worker;
        let letter = DeadLetter {
            queue: match to {
                Destination::Queue(queue) => Some(queue),
                Destination::Topic(_) | Destination::Reply(_) => None,
            },
            ..DeadLetter::new(DeadReason::Malformed, "it cannot be tried again", worker)
        };
        self.bury_bare(task, letter, refusal).await
    }

    async fn bury(&self, task: &Task, letter: DeadLetter) -> PublishOutcome {
        let full = letter::full(task, &self.queues, &letter);
        match self.publisher.publish_any_size(full).await {
            PublishOutcome::Refused(_, refusal) if letter::cannot_be_carried(&refusal) => {
                self.bury_bare(task, letter, &refusal).await
            }
            outcome @ (PublishOutcome::Accepted(_)
            | PublishOutcome::Refused(..)
            | PublishOutcome::Unknown(..)) => outcome,
        }
    }

    async fn bury_bare(
        &self,
        task: &Task,
        letter: DeadLetter,
        refusal: &Refusal,
    ) -> PublishOutcome {
        let bare = letter::bare(task, &self.queues, letter, refusal);
        self.publisher.publish_any_size(bare).await
    }

    async fn reply(&self, reply: Publication) {
        let queue = &self.queues.work;
        match timeout(REPLY_LIMIT, self.publisher.publish_any_size(reply)).await {
            Ok(PublishOutcome::Accepted(_)) => {}
            Ok(outcome) => tracing::debug!(%queue, ?outcome, "reply not taken"),
            Err(_) => tracing::debug!(%queue, "reply not taken in time"),
        }
    }
}
