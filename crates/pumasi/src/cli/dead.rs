//! `pumasi dead`: dead letters and which of them are meant.

use super::DEFAULT_QUEUE;
use clap::{Args, Subcommand};
use pumasi_common::{
    DeadReason, QueueName, TaskId, TaskKind, dead::DeadLetterView, field::duration,
};
use std::{
    num::{NonZeroU32, NonZeroUsize},
    time::Duration,
};

/// `pumasi dead`.
#[derive(Debug, Subcommand)]
pub(crate) enum Dead {
    /// List dead letters, in the order in which they died
    List {
        /// The work queue; the same as --queue
        #[arg(value_name = "QUEUE", conflicts_with = "queue")]
        name: Option<QueueName>,
        #[command(flatten)]
        of: DeadQueue,
        #[command(flatten)]
        filter: Filter,
        /// Most that are shown; all are counted
        #[arg(long, value_name = "COUNT", default_value = "50")]
        limit: NonZeroUsize,
    },
    /// Show all of one dead letter
    Show {
        /// The id of its task
        id: TaskId,
        #[command(flatten)]
        of: DeadQueue,
        /// Write the payload, as it is, and nothing else
        #[arg(long)]
        payload: bool,
    },
    /// Submit dead letters again, to the queues they came from; says which where --yes is absent
    Replay {
        #[command(flatten)]
        selection: Selection,
        /// Say which would be replayed, as without --yes
        #[arg(long, conflicts_with = "yes")]
        dry_run: bool,
        /// Really do it
        #[arg(long)]
        yes: bool,
        /// Most that are submitted in a second
        #[arg(long, value_name = "COUNT", default_value = "100")]
        rate: NonZeroU32,
    },
    /// Delete dead letters for ever; says which where --yes is absent
    Purge {
        #[command(flatten)]
        selection: Selection,
        /// Really do it
        #[arg(long)]
        yes: bool,
    },
}

/// Whose dead letters.
#[derive(Clone, Debug, Args)]
pub(crate) struct DeadQueue {
    /// The work queue
    #[arg(short, long, default_value = DEFAULT_QUEUE)]
    pub(crate) queue: QueueName,
}

/// Which dead letters.
#[derive(Clone, Debug, Args)]
pub(crate) struct Selection {
    /// The ids of their tasks (default: all that the flags leave)
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<TaskId>,
    #[command(flatten)]
    pub(crate) of: DeadQueue,
    #[command(flatten)]
    pub(crate) filter: Filter,
}

/// What dead letters have in common.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Filter {
    /// Only of this kind
    #[arg(short, long)]
    pub(crate) kind: Option<TaskKind>,
    /// Only for this reason: attempts-spent, rejected, malformed, unknown-kind, crashed, expired
    #[arg(long)]
    pub(crate) reason: Option<DeadReason>,
    /// Only with this in the error's text, in small or capital letters
    #[arg(long, value_name = "TEXT")]
    pub(crate) error: Option<String>,
    /// Only those that died longer ago than this, like 1h
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub(crate) older: Option<Duration>,
    /// Only those that died since then, like 1d
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub(crate) younger: Option<Duration>,
}

impl Selection {
    /// Whether this one is meant, seen from `now` in seconds since 1970.
    pub(crate) fn holds(&self, letter: &DeadLetterView, now: u64) -> bool {
        let named = self.ids.is_empty() || self.ids.contains(&letter.id);
        named && self.filter.holds(letter, now)
    }
}

impl Filter {
    /// Whether all that is asked for holds, seen from `now` in seconds since 1970. Of a dead
    /// letter that does not say when it died, no age holds.
    pub(crate) fn holds(&self, letter: &DeadLetterView, now: u64) -> bool {
        let age = letter
            .death
            .at
            .map(|at| Duration::from_secs(now.saturating_sub(at)));
        let error = letter.death.error.to_lowercase();
        self.kind
            .as_ref()
            .is_none_or(|it| Some(it) == letter.kind.as_ref())
            && self.reason.is_none_or(|it| Some(it) == letter.death.reason)
            && self
                .error
                .as_ref()
                .is_none_or(|it| error.contains(&it.to_lowercase()))
            && self.older.is_none_or(|it| age.is_some_and(|age| age > it))
            && self
                .younger
                .is_none_or(|it| age.is_some_and(|age| age <= it))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pumasi_common::{DeadLetter, Task, wire};

    const NOW: u64 = 1_700_000_000;

    fn letter() -> DeadLetterView {
        let mut task = Task::with_id(TaskId::new("order-7").unwrap(), "x");
        task.kind = TaskKind::new("mail.send").ok();
        let dead = DeadLetter::new(DeadReason::AttemptsSpent, "No Route to host", "w");
        wire::mark_dead(&mut task, &QueueName::new("q").unwrap(), &dead, NOW - 3600);
        DeadLetterView::of(&task)
    }

    #[test]
    fn a_filter_holds_where_all_of_it_does() {
        type Set = fn(&mut Filter);
        let table: [(Set, bool); 13] = [
            (|_| (), true),
            (|it| it.kind = TaskKind::new("mail.send").ok(), true),
            (|it| it.kind = TaskKind::new("mail").ok(), false),
            (|it| it.reason = Some(DeadReason::AttemptsSpent), true),
            (|it| it.reason = Some(DeadReason::Expired), false),
            (|it| it.error = Some("no route".to_owned()), true),
            (|it| it.error = Some("timeout".to_owned()), false),
            (|it| it.older = Some(Duration::from_secs(3599)), true),
            (|it| it.older = Some(Duration::from_secs(3600)), false),
            (|it| it.younger = Some(Duration::from_secs(3600)), true),
            (|it| it.younger = Some(Duration::from_secs(3599)), false),
            (
                |it| {
                    it.error = Some("ROUTE".to_owned());
                    it.younger = Some(Duration::from_secs(86_400));
                },
                true,
            ),
            (
                |it| {
                    it.error = Some("route".to_owned());
                    it.reason = Some(DeadReason::Rejected);
                },
                false,
            ),
        ];
        for (number, (set, expected)) in table.into_iter().enumerate() {
            let mut filter = Filter::default();
            set(&mut filter);
            assert_eq!(
                filter.holds(&letter(), NOW),
                expected,
                "{number}: {filter:?}"
            );
        }
    }

    #[test]
    fn one_that_says_nothing_is_of_no_age_reason_or_kind() {
        let silent = DeadLetterView::of(&Task::new("x"));
        assert!(Filter::default().holds(&silent, NOW));
        let sets: [fn(&mut Filter); 4] = [
            |it| it.older = Some(Duration::ZERO),
            |it| it.younger = Some(Duration::MAX),
            |it| it.reason = Some(DeadReason::Crashed),
            |it| it.kind = TaskKind::new("k").ok(),
        ];
        for set in sets {
            let mut filter = Filter::default();
            set(&mut filter);
            assert!(!filter.holds(&silent, NOW), "{filter:?}");
        }
    }

    #[test]
    fn ids_and_flags_hold_together() {
        let queue = QueueName::new("q").unwrap();
        let mut selection = Selection {
            ids: vec![TaskId::new("order-8").unwrap()],
            of: DeadQueue { queue },
            filter: Filter::default(),
        };
        assert!(!selection.holds(&letter(), NOW));
        selection.ids.push(TaskId::new("order-7").unwrap());
        assert!(selection.holds(&letter(), NOW));
        selection.filter.reason = Some(DeadReason::Expired);
        assert!(!selection.holds(&letter(), NOW));
    }
}
