//! Finished: the ids of tasks that are done, for as long as the same id is taken for the same task.
//!
//! A task that comes again (its submit was repeated, or its acknowledgement was lost) is not done
//! again by a worker that remembers it. A hint with honest limits: each worker knows only what it
//! has done itself, the last [`IDS_MAX`] of each queue, and forgets them when it ends.

use pumasi_common::TaskId;
use std::{
    collections::{HashSet, VecDeque},
    hash::{BuildHasher, RandomState},
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// Most ids that are remembered of one queue.
pub(crate) const IDS_MAX: usize = 50_000;

/// The ids of one queue that are done.
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

    fn hash(&self, id: &TaskId) -> u128 {
        let [one, two] = self
            .hashers
            .each_ref()
            .map(|it| u128::from(it.hash_one(id)));
        one << 64 | two
    }

    /// Notes a task that is done.
    pub(crate) fn add(&self, id: &TaskId) {
        if self.window.is_zero() {
            return;
        }
        let (hash, now) = (self.hash(id), Instant::now());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.set.insert(hash) {
            known.order.push_back((now, hash));
        }
        known.forget(now, self.window);
    }

    /// Whether the task is done, as far as is remembered.
    pub(crate) fn contains(&self, id: &TaskId) -> bool {
        if self.window.is_zero() {
            return false;
        }
        let hash = self.hash(id);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.set.contains(&hash) {
            return false;
        }
        known.forget(Instant::now(), self.window);
        known.set.contains(&hash)
    }
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
