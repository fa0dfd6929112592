//! Finished: the ids of tasks that are done or dead, for as long as the same id is taken for the
//! same task.
//!
//! A task that comes again (its submit was repeated, or its acknowledgement was lost) is not done
//! again by a worker that remembers it, and one that has died does not become a second dead letter.
//! A hint with honest limits: each worker knows only what it has finished itself, the last
//! [`IDS_MAX`] of each queue, and forgets them when it ends.

use pumasi_common::{Task, TaskId, task::HeaderValue, wire};
use std::{
    collections::{HashSet, VecDeque},
    hash::{BuildHasher, Hash, RandomState},
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// Most ids that are remembered of one queue.
pub(crate) const IDS_MAX: usize = 50_000;

/// The ids of one queue that are done or dead.
#[derive(Debug)]
pub(crate) struct Finished {
    window: Duration,
    hashers: [RandomState; 2],
    known: Mutex<Known>,
}

/// Hashes of 128 bits in place of the ids: two different ids have the same one never in practice.
#[derive(Debug, Default)]
struct Known {
    set: HashSet<u128>,
    order: VecDeque<(Instant, u128)>,
}

impl Finished {
    /// Remembers for this long; for nothing, not at all.
    pub(crate) fn new(window: Duration) -> Self {
        Self {
            window,
            hashers: [RandomState::new(), RandomState::new()],
            known: Mutex::default(),
        }
    }

    /// Notes a task that is done.
    pub(crate) fn add(&self, id: &TaskId) {
        self.note(id);
    }

    /// Whether the task is done, as far as is remembered.
    pub(crate) fn contains(&self, id: &TaskId) -> bool {
        self.knows(id)
    }

    /// Notes a task that was made a dead letter.
    pub(crate) fn add_dead(&self, task: &Task) {
        self.note(life(task));
    }

    /// Whether a copy of the task was made a dead letter, as far as is remembered. Not to be asked
    /// of a delivery that was handed over before: it may be that very copy, of which the broker
    /// never heard that it is dead.
    pub(crate) fn has_died(&self, task: &Task) -> bool {
        self.knows(life(task))
    }

    fn hash(&self, of: impl Hash) -> u128 {
        let [one, two] = self
            .hashers
            .each_ref()
            .map(|it| u128::from(it.hash_one(&of)));
        one << 64 | two
    }

    fn note(&self, what: impl Hash) {
        if self.window.is_zero() {
            return;
        }
        let (hash, now) = (self.hash(what), Instant::now());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.set.insert(hash) {
            known.order.push_back((now, hash));
        }
        known.forget(now, self.window);
    }

    fn knows(&self, what: impl Hash) -> bool {
        if self.window.is_zero() {
            return false;
        }
        let hash = self.hash(what);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.set.contains(&hash) {
            return false;
        }
        known.forget(Instant::now(), self.window);
        known.set.contains(&hash)
    }
}

/// What has died: a replay is the next life of the task, which must not end with the one before.
/// No clock is compared: each replay differs from every other by when it was asked.
fn life(task: &Task) -> (&'static str, &TaskId, Option<i64>) {
    let replayed = task.headers.get(wire::REPLAYED_AT_MS);
    let replayed = replayed.and_then(HeaderValue::as_integer);
    ("dead", &task.id, replayed)
}

impl Known {
    fn forget(&mut self, now: Instant, window: Duration) {
        while let Some((at, hash)) = self.order.front().copied()
            && (self.order.len() > IDS_MAX || now.duration_since(at) >= window)
        {
            self.order.pop_front();
            self.set.remove(&hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_id_is_remembered_for_the_window_and_no_longer() {
        let finished = Finished::new(Duration::from_secs(60));
        let (one, two) = (TaskId::generate(), TaskId::generate());
        finished.add(&one);
        tokio::time::advance(Duration::from_secs(40)).await;
        finished.add(&two);
        assert!(finished.contains(&one) && finished.contains(&two));
        tokio::time::advance(Duration::from_secs(20)).await;
        assert!(!finished.contains(&one) && finished.contains(&two));
    }

    #[test]
    fn a_replayed_task_is_not_the_one_that_died() {
        let finished = Finished::new(Duration::from_secs(60));
        let (mut task, other) = (Task::new("x"), Task::new("x"));
        finished.add_dead(&task);
        assert!(finished.has_died(&task) && !finished.has_died(&other));
        assert!(!finished.contains(&task.id), "dead is not done");
        let mut replay = |at| {
            let at = HeaderValue::Integer(at);
            task.headers.set(wire::REPLAYED_AT_MS, at);
            let has_died = finished.has_died(&task);
            finished.add_dead(&task);
            has_died
        };
        assert!(!replay(5) && replay(5) && !replay(4));
    }

    #[test]
    fn the_oldest_ids_give_way() {
        let finished = Finished::new(Duration::from_secs(3600));
        let ids: Vec<TaskId> = (0..=IDS_MAX).map(|_| TaskId::generate()).collect();
        ids.iter().for_each(|id| finished.add(id));
        assert!(!finished.contains(&ids[0]));
        assert!(finished.contains(&ids[1]) && finished.contains(&ids[IDS_MAX]));
        assert_eq!(finished.known.lock().unwrap().set.len(), IDS_MAX);
    }

    #[test]
    fn without_a_window_nothing_is_remembered() {
        let finished = Finished::new(Duration::ZERO);
        let id = TaskId::generate();
        finished.add(&id);
        assert!(!finished.contains(&id));
    }
}
