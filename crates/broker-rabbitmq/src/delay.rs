//! A task is kept back: it goes into a ladder of queues that hold it for as long as it takes.
//!
//! No plugin, no timer of ours, and no queue in which a task of an hour stands before one of a
//! second. The ladder is one for each virtual host and is made when the first task is kept back
//! there; a publish without a delay never asks for it. See [`ladder`] for its shape.
//!
//! # Why no task gets lost in it
//! A task is sent only after its queue was found to exist and was bound to the ladder's end. Every
//! level keeps a task until the next one has confirmed it. What is for a queue that was deleted
//! meanwhile ends in `pumasi.delay.lost`.

mod ladder;
mod marks;

pub(crate) use ladder::PREFIX;
pub(crate) use marks::taken_off;

use crate::{
    connection::Link,
    error::{ACCESS_REFUSED, NOT_FOUND, PRECONDITION_FAILED},
    topology::object::{Asking, Failure, Object},
};
use futures_util::future::try_join_all;
use pumasi_common::{Destination, Publication, QueueName, Refusal};
use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The longest delay.
pub(crate) const LONGEST: Duration = Duration::from_secs(ladder::SECONDS_MAX as u64);
/// Most queues that are remembered as bound; beyond it they are bound again.
const BOUND_MAX: usize = 10_000;

/// Where a task that is kept back goes, instead of to its queue.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) exchange: String,
    pub(crate) routing_key: String,
}

/// The way into the ladder; `None` for what is ready at once.
pub(crate) fn route(publication: &Publication) -> Result<Option<Route>, Refusal> {
    if publication.delay.is_zero() {
        return Ok(None);
    }
    let refuse = |problem: &str| Refusal::Property {
        property: "delay",
        problem: problem.to_owned(),
    };
    let Destination::Queue(queue) = &publication.destination else {
        return Err(refuse("only a task for a queue can be kept back"));
    };
    let whole = publication.delay.as_secs();
    let up = u64::from(publication.delay.subsec_nanos() > 0);
    let seconds = u32::try_from(whole.saturating_add(up))
        .ok()
        .filter(|seconds| *seconds <= ladder::SECONDS_MAX)
        .ok_or_else(|| refuse("it is longer than 268,435,455 seconds"))?;
    Ok(Some(Route {
        exchange: ladder::entry(seconds),
        routing_key: ladder::routing_key(seconds, queue),
    }))
}

/// Puts the time at which it expires in place of its expiry: as a property of a message that is
/// kept back, that would cut the wait short and then be taken away.
pub(crate) fn without_expiration(mut publication: Publication) -> Publication {
    if let Some(wait) = publication.task.expires_after.take() {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let at = now.saturating_add(publication.delay).saturating_add(wait);
        let at = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
        let earlier = publication.task.not_after_ms.unwrap_or(u64::MAX);
        publication.task.not_after_ms = Some(at.min(earlier));
    }
    publication
}

/// Why a task cannot be kept back.
#[derive(Debug)]
pub(crate) enum Obstacle {
    /// For good.
    Refused(Refusal),
    /// For now.
    Unavailable(String),
}

/// What this process knows of the ladder of its virtual host.
#[derive(Debug)]
pub(crate) struct Delays {
    link: Arc<Link>,
    known: Mutex<Known>,
    /// Held by the one that looks and makes.
    making: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Known {
    /// The connection that it was learned on: whoever has to connect again looks again.
    generation: u64,
    whole: bool,
    /// Whether this process has seen the whole before: then its last queue, which is made last,
    /// stands for it.
    seen: bool,
    bound: HashSet<QueueName>,
}

impl Delays {
    pub(crate) fn new(link: Arc<Link>) -> Self {
        Self {
            link,
            known: Mutex::default(),
            making: tokio::sync::Mutex::default(),
        }
    }

    /// Makes sure that what goes into the ladder for this queue comes out in it.
    ///
    /// # Cancel safety
    /// Cancel safe: what was made stays, and the next one goes on from there.
    pub(crate) async fn prepare(&self, queue: &QueueName) -> Result<(), Obstacle> {
        if self.is_bound(queue) {
            return Ok(());
        }
        let _one = self.making.lock().await;
        if self.is_bound(queue) {
            return Ok(());
        }
        let connected = self.link.connection().await;
        connected.map_err(|error| Obstacle::Unavailable(error.to_string()))?;
        let generation = self.link.generation();
        let (whole, seen) = {
            let known = self.known();
            (known.whole && known.generation == generation, known.seen)
        };
        let destination = Destination::Queue(queue.clone());
        let explain = |failure| explain(&destination, failure);
        if !whole {
            self.make(seen).await.map_err(explain)?;
            *self.known() = Known {
                generation,
                whole: true,
                seen: true,
                bound: HashSet::new(),
            };
        }
        let bound = ladder::binding(queue).declare(&self.link).await;
        if bound.as_ref().is_err_and(is_ladder_missing) {
            self.forget();
        }
        bound.map_err(explain)?;
        let mut known = self.known();
        if known.bound.len() >= BOUND_MAX {
            known.bound.clear();
        }
        known.bound.insert(queue.clone());
        Ok(())
    }

    /// Has the next task that is kept back look at everything again.
    pub(crate) fn forget(&self) {
        *self.known() = Known::default();
    }

    /// Leads what is kept back to a queue that was made anew. Other processes, which were not told,
    /// may still take it for bound.
    pub(crate) async fn lead_to(&self, queue: &QueueName) {
        match ladder::binding(queue).declare(&self.link).await {
            Err(failure) if !is_ladder_missing(&failure) => {
                // Whoever keeps something back from here on is told, if it is still so.
                tracing::debug!(%queue, problem = failure.text(), "not bound to the ladder");
            }
            Ok(()) | Err(_) => {}
        }
    }

    /// Has the next task that is kept back for this queue bind it again.
    pub(crate) fn doubt(&self, queue: &QueueName) {
        self.known().bound.remove(queue);
    }

    fn is_bound(&self, queue: &QueueName) -> bool {
        let known = self.known();
        known.generation == self.link.generation() && known.bound.contains(queue)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes what is missing of the ladder; asks for no permission where nothing is.
    async fn make(&self, seen: bool) -> Result<(), Failure> {
        let objects = ladder::objects();
        // Its queues are the last but one each: what follows the last of them is its binding.
        let last = objects.len().saturating_sub(2);
        let looked_at = objects.get(last..).filter(|_| seen).unwrap_or(&objects);
        match self.look(looked_at).await {
            Err(Failure::Reply(NOT_FOUND, _)) => {}
            looked => return looked,
        }
        tracing::info!("making the queues for tasks that are kept back");
        match self.declare(&objects).await {
            Err(Failure::Reply(PRECONDITION_FAILED, _)) => self.declare_missing(&objects).await,
            declared => declared,
        }
    }

    /// Looks at everything over one channel, which ends at the first thing that is missing.
    async fn look(&self, objects: &[Object]) -> Result<(), Failure> {
        let asking = Asking::open(&self.link).await?;
        let looks = objects.iter().map(|object| object.look(&asking));
        try_join_all(looks).await.map(drop)
    }

    /// Declares everything over one channel, without waiting for one answer before the next
    /// question: a ladder has more than a hundred rungs and rails.
    async fn declare(&self, objects: &[Object]) -> Result<(), Failure> {
        let asking = Asking::open(&self.link).await?;
        let declarations = objects.iter().map(|object| object.declare_on(&asking));
        try_join_all(declarations).await.map(drop)
    }

    /// Leaves what somebody made otherwise as it is.
    async fn declare_missing(&self, objects: &[Object]) -> Result<(), Failure> {
        for object in objects {
            let is_binding = matches!(
                object,
                Object::QueueBinding { .. } | Object::ExchangeBinding { .. }
            );
            if is_binding || !object.exists(&self.link).await? {
                object.declare(&self.link).await?;
            }
        }
        Ok(())
    }
}

fn is_ladder_missing(failure: &Failure) -> bool {
    matches!(failure, Failure::Reply(NOT_FOUND, text) if text.contains("no exchange"))
}

fn explain(destination: &Destination, failure: Failure) -> Obstacle {
    let destination = destination.clone();
    match failure {
        Failure::Reply(NOT_FOUND, text) if text.contains("no queue") => {
            Obstacle::Refused(Refusal::Unroutable { destination })
        }
        Failure::Reply(ACCESS_REFUSED, reply) => {
            Obstacle::Refused(Refusal::NotPermitted { destination, reply })
        }
        other @ (Failure::Reply(..) | Failure::Other { .. }) => {
            Obstacle::Unavailable(other.text().to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pumasi_common::{Task, TopicName};

    fn of(delay: Duration) -> Publication {
        let queue = QueueName::new("work").unwrap();
        Publication::new(Destination::Queue(queue), Task::new("x")).after(delay)
    }

    #[test]
    fn a_delay_is_rounded_up_to_whole_seconds() {
        for (ms, exchange, end) in [
            (1, "pumasi.delay.00", "0.0.0.1.work"),
            (1000, "pumasi.delay.00", "0.0.0.1.work"),
            (1001, "pumasi.delay.01", "0.0.1.0.work"),
            (5000, "pumasi.delay.02", "0.1.0.1.work"),
        ] {
            let route = route(&of(Duration::from_millis(ms))).unwrap().unwrap();
            assert_eq!(route.exchange, exchange, "{ms}");
            assert!(route.routing_key.ends_with(end), "{}", route.routing_key);
        }
        assert!(route(&of(Duration::ZERO)).unwrap().is_none());
    }

    #[test]
    fn what_cannot_be_kept_back_is_refused_before_it_is_sent() {
        let longest = route(&of(LONGEST)).unwrap().unwrap();
        assert_eq!(longest.exchange, "pumasi.delay.27");
        let mut event = of(Duration::from_secs(1));
        event.destination = Destination::Topic(TopicName::new("t").unwrap());
        let mut reply = of(Duration::from_secs(1));
        reply.destination = Destination::Reply("r".to_owned());
        let long = of(LONGEST + Duration::from_nanos(1));
        for publication in [long, of(Duration::MAX), event, reply] {
            let refusal = route(&publication).unwrap_err();
            assert!(
                matches!(refusal, Refusal::Property { property, .. } if property == "delay"),
                "{refusal}"
            );
        }
    }

    #[test]
    fn the_expiry_counts_from_the_end_of_the_delay_and_never_puts_an_end_off() {
        let mut publication = of(Duration::from_secs(100));
        publication.task.expires_after = Some(Duration::from_secs(10));
        let task = without_expiration(publication.clone()).task;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let left = task.not_after_ms.unwrap() - u64::try_from(now.as_millis()).unwrap();
        assert!((109_000..=110_000).contains(&left), "{left}");
        assert_eq!(task.expires_after, None);
        publication.task.not_after_ms = Some(7);
        assert_eq!(without_expiration(publication).task.not_after_ms, Some(7));
    }
}
