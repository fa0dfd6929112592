//! Admit: whether a delivery is to be run now. Pure but for what is asked of it.

use crate::{
    config::Unknown,
    decide::Outcome,
    finished::Finished,
    orders::{Orders, Run},
};
use pumasi_common::{QueueName, QueueSpec, RetryPolicy, Task};
use std::{
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// How often a worker may have died with a task among those that it held before the task is a
/// suspect: it may have been a neighbour of the one that did it, twice.
pub(crate) const SUSPECT_AFTER: u32 = 2;

/// A queue that a worker consumes, and what holds for its tasks.
#[derive(Debug)]
pub(crate) struct Source {
    /// The work queue.
    pub(crate) queue: Arc<QueueName>,
    /// How it is declared.
    pub(crate) spec: QueueSpec,
    /// When its failures are tried again, where their kind does not say otherwise.
    pub(crate) policy: RetryPolicy,
    /// Which of its tasks are done or dead.
    pub(crate) finished: Finished,
    /// What becomes of its tasks of an unknown kind.
    pub(crate) unknown: (Unknown, Duration),
    /// How many workers one of its tasks may take down while it runs alone.
    pub(crate) crashes_max: NonZeroU32,
}

/// Whether other tasks run beside this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Company {
    /// They do: a delivery of the work queue.
    Others,
    /// None does: a delivery of the suspects.
    Alone,
}

/// What is known of a delivery besides its task.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    /// Whether the broker may have handed it over before.
    pub(crate) redelivered: bool,
    /// How often the broker has returned it.
    pub(crate) delivery_count: u32,
    /// How long it has waited here.
    pub(crate) waited: Duration,
    /// How long it may stay unsettled, less the longest run, where the broker limits it.
    pub(crate) wait_max: Option<Duration>,
    /// The time since 1970.
    pub(crate) now: Duration,
    /// Whether other tasks run beside it.
    pub(crate) company: Company,
}

/// What becomes of a delivery before it is run.
#[derive(Debug)]
pub(crate) enum Admitted {
    /// It is run.
    Run(Run),
    /// It is not run; this came of it.
    Not(Outcome),
    /// It is done already.
    Duplicate,
    /// Another copy of it is a dead letter already.
    Dead,
    /// It has waited here so long that its run might outlast what the broker allows.
    Stale,
    /// Workers died with it; it is to be run alone.
    Suspect,
}

/// Whether a delivery is to be run now.
pub(crate) fn admit(task: &Task, source: &Source, orders: &Arc<Orders>, facts: &Facts) -> Admitted {
    if source.finished.contains(&task.id) {
        return Admitted::Duplicate;
    }
    // What was never handed over before is no delivery of the copy that died.
    if !facts.redelivered && source.finished.has_died(task) {
        return Admitted::Dead;
    }
    let crashes = facts.delivery_count;
    match facts.company {
        Company::Alone if crashes >= source.crashes_max.get() => {
            return Admitted::Not(Outcome::Deadly(format!(
                "its worker died {crashes} times while it ran this task alone"
            )));
        }
        Company::Others if crashes >= SUSPECT_AFTER => return Admitted::Suspect,
        Company::Alone | Company::Others => {}
    }
    if is_expired(task, facts) {
        return Admitted::Not(Outcome::Expired);
    }
    if facts.wait_max.is_some_and(|most| facts.waited > most) {
        return Admitted::Stale;
    }
    match orders.begin(task) {
        Ok(run) => Admitted::Run(run),
        Err(outcome) => Admitted::Not(outcome),
    }
}

/// Whether it has waited too long, as far as is known here: the broker counts the wait in the
/// queue, and not that in a consumer's window.
fn is_expired(task: &Task, facts: &Facts) -> bool {
    let here = task.expires_after.is_some_and(|most| facts.waited > most);
    let kept_back = task
        .not_after_ms
        .is_some_and(|at| Duration::from_millis(at) <= facts.now);
    here || kept_back
}

/// The time by this machine's clock.
pub(crate) fn since_1970() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pumasi_common::QueueName;

    fn source() -> Source {
        let queue = QueueName::new("q").unwrap();
        Source {
            queue: Arc::new(queue.clone()),
            spec: QueueSpec::new(queue),
            policy: RetryPolicy::default(),
            finished: Finished::new(Duration::from_secs(60)),
            unknown: (Unknown::Dead, Duration::ZERO),
            crashes_max: NonZeroU32::new(3).unwrap(),
        }
    }

    fn facts(delivery_count: u32, company: Company) -> Facts {
        Facts {
            redelivered: delivery_count > 0,
            delivery_count,
            waited: Duration::from_secs(5),
            wait_max: Some(Duration::from_secs(60)),
            now: Duration::from_secs(1_000),
            company,
        }
    }

    fn word(task: &Task, source: &Source, facts: &Facts) -> String {
        match admit(task, source, &Orders::new("w"), facts) {
            Admitted::Run(_) => "run".to_owned(),
            Admitted::Not(outcome) => outcome.as_str().to_owned(),
            other
            @ (Admitted::Duplicate | Admitted::Dead | Admitted::Stale | Admitted::Suspect) => {
                format!("{other:?}").to_lowercase()
            }
        }
    }

    #[test]
    fn a_task_is_suspect_after_two_dead_workers_and_dead_after_three_more_of_its_own() {
        let (source, task) = (source(), Task::new("x"));
        let words = |company| -> Vec<String> {
            let one = |count| word(&task, &source, &facts(count, company));
            (0..5).map(one).collect()
        };
        assert_eq!(
            words(Company::Others),
            ["run", "run", "suspect", "suspect", "suspect"]
        );
        assert_eq!(
            words(Company::Alone),
            ["run", "run", "run", "crashed", "crashed"]
        );
    }

    #[test]
    fn what_was_not_started_in_time_is_not_run() {
        let (source, mut task) = (source(), Task::new("x"));
        let mut word_with = |wait: Option<u64>, not_after: Option<u64>| {
            task.expires_after = wait.map(Duration::from_secs);
            task.not_after_ms = not_after;
            word(&task, &source, &facts(0, Company::Others))
        };
        assert_eq!(word_with(Some(6), Some(1_000_001)), "run");
        assert_eq!(word_with(Some(4), None), "expired");
        assert_eq!(word_with(None, Some(1_000_000)), "expired");
    }

    #[test]
    fn a_second_copy_of_what_is_dead_is_not_run_and_the_first_one_is_where_it_comes_again() {
        let (source, task) = (source(), Task::new("x"));
        source.finished.add_dead(&task);
        let mut facts = facts(0, Company::Others);
        assert_eq!(word(&task, &source, &facts), "dead");
        // Its dead letter may never have reached the broker.
        facts.redelivered = true;
        assert_eq!(word(&task, &source, &facts), "run");
    }

    #[test]
    fn what_is_done_is_not_done_again_and_what_waited_too_long_here_goes_back() {
        let (source, task) = (source(), Task::new("x"));
        let mut late = facts(0, Company::Others);
        late.waited = Duration::from_secs(61);
        assert_eq!(word(&task, &source, &late), "stale");
        late.wait_max = None;
        assert_eq!(word(&task, &source, &late), "run");
        source.finished.add(&task.id);
        assert_eq!(word(&task, &source, &late), "duplicate");
    }
}
