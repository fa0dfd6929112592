//! Watching the neighbour in the ring of processes.

use super::{ALIVE, counter, entries, is_alive, remove};
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// A neighbour whose counter has not moved for this long is looked past.
const DOUBTFUL_AFTER: Duration = Duration::from_secs(1);
/// The longest stretch of silence that one look may add: a watcher that was itself stopped must
/// not take its own pause for its neighbour's.
const STRETCH_MAX: Duration = Duration::from_millis(500);

/// Who is to lose its tasks.
#[derive(Debug)]
pub(crate) struct Reap {
    pub(crate) instance: String,
    /// The counter that stands still, where the process lives.
    stalled_at: Option<u64>,
    folder: PathBuf,
    /// How many consumers were removed.
    pub(crate) taken_back: Option<usize>,
}

impl Reap {
    /// Whether it is still dead or still stands, looked at inside the transaction.
    pub(crate) fn is_due(&self, folder: &Path) -> bool {
        match self.stalled_at {
            None => !is_alive(folder, &self.instance),
            Some(at) => counter(folder, &self.instance) == Some(at),
        }
    }

    /// After the commit: the entry of a dead process is removed.
    pub(crate) fn done(self) {
        let Some(consumers) = self.taken_back else {
            return;
        };
        let stalled = self.stalled_at.is_some();
        if !stalled {
            remove(&self.folder, &self.instance);
        }
        if consumers > 0 {
            tracing::warn!(
                instance = self.instance,
                consumers,
                stalled,
                "tasks of a dead or stalled process taken back"
            );
        }
    }
}

struct Seen {
    counter: u64,
    at: Instant,
    silent: Duration,
    reaped: bool,
}

/// What one process knows of those after it in the ring.
pub(super) struct Watch {
    folder: PathBuf,
    instance: String,
    stall_timeout: Duration,
    seen: HashMap<String, Seen>,
}

impl Watch {
    pub(super) fn new(folder: &Path, instance: &str, stall_timeout: Duration) -> Self {
        Self {
            folder: folder.to_owned(),
            instance: instance.to_owned(),
            stall_timeout,
            seen: HashMap::new(),
        }
    }

    /// Looks at the next process, and past it while it is dead or doubtful.
    pub(super) fn look(&mut self) -> Vec<Reap> {
        let ring = self.successors();
        self.seen.retain(|instance, _| ring.contains(instance));
        let mut due = Vec::new();
        for instance in ring {
            if !is_alive(&self.folder, &instance) {
                due.push(self.reap(instance, None));
                continue;
            }
            let Some(counter) = counter(&self.folder, &instance) else {
                continue;
            };
            let (silent, stalled) = self.note(&instance, counter);
            if stalled {
                due.push(self.reap(instance, Some(counter)));
            }
            if silent < DOUBTFUL_AFTER {
                break;
            }
        }
        due
    }

    fn reap(&self, instance: String, stalled_at: Option<u64>) -> Reap {
        Reap {
            instance,
            stalled_at,
            folder: self.folder.clone(),
            taken_back: None,
        }
    }

    /// How long the counter has stood, and whether that is now too long for the first time.
    fn note(&mut self, instance: &str, counter: u64) -> (Duration, bool) {
        let now = Instant::now();
        let seen = self.seen.entry(instance.to_owned()).or_insert(Seen {
            counter,
            at: now,
            silent: Duration::ZERO,
            reaped: false,
        });
        if seen.counter == counter {
            seen.silent += (now - seen.at).min(STRETCH_MAX);
        } else {
            seen.counter = counter;
            seen.silent = Duration::ZERO;
            seen.reaped = false;
        }
        seen.at = now;
        let stalled = seen.silent >= self.stall_timeout && !seen.reaped;
        seen.reaped |= stalled;
        (seen.silent, stalled)
    }

    /// All other instances in the order of the ring, beginning after this one.
    fn successors(&self) -> Vec<String> {
        let mut others = entries(&self.folder, ALIVE);
        others.retain(|instance| *instance != self.instance);
        others.sort();
        let split = others.partition_point(|other| *other < self.instance);
        others.rotate_left(split);
        others
    }
}
