//! The tasks that are waited for. Pure.

use pumasi_common::{Task, TaskId, outcome::Outcome};
use std::collections::HashSet;

/// What is asked for of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::commands::submit) enum Asks {
    /// How it ends.
    Outcome,
    /// How it goes on, too.
    News,
}

/// The tasks that are waited for. The first final outcome of each counts.
#[derive(Debug, Default)]
pub(super) struct Open {
    open: HashSet<TaskId>,
    ended: HashSet<TaskId>,
}

impl Open {
    /// From now on this task is waited for, unless it has ended: of an id that is given twice the
    /// broker may take one task, and one outcome comes.
    pub(super) fn expect(&mut self, id: &TaskId) {
        if !self.ended.contains(id) {
            self.open.insert(id.clone());
        }
    }

    /// It is not waited for any more.
    pub(super) fn forget(&mut self, id: &TaskId) {
        self.open.remove(id);
    }

    /// Reads a message; gives what it says where it is about a task that is waited for.
    pub(super) fn hear(&mut self, message: &Task) -> Option<(TaskId, Outcome)> {
        let (id, outcome) = Outcome::read(message)?;
        if !self.open.contains(&id) {
            return None;
        }
        if outcome.is_final() {
            self.open.remove(&id);
            self.ended.insert(id.clone());
        }
        Some((id, outcome))
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    pub(super) fn into_ids(self) -> Vec<TaskId> {
        let mut ids: Vec<TaskId> = self.open.into_iter().collect();
        ids.sort_unstable();
        ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pumasi_common::outcome::Output;

    fn id(text: &str) -> TaskId {
        TaskId::new(text).unwrap()
    }

    fn message(about: &str, outcome: Outcome) -> Task {
        let mut task = Task::with_id(id(about), "x");
        task.reply_to = Some("answers".to_owned());
        task.wants_progress = true;
        outcome.message(&task).unwrap().task
    }

    fn done() -> Outcome {
        Outcome::Done(Output::default())
    }

    #[test]
    fn the_first_final_outcome_of_a_task_counts() {
        let mut open = Open::default();
        open.expect(&id("a"));
        open.expect(&id("b"));
        let heard = |open: &mut Open, outcome| open.hear(&message("a", outcome)).is_some();
        assert!(heard(&mut open, Outcome::Started));
        assert_eq!(open.len(), 2, "news end nothing");
        assert!(heard(&mut open, done()));
        assert_eq!(open.len(), 1);
        for later in [Outcome::Started, done(), Outcome::Cancelled] {
            assert!(!heard(&mut open, later));
        }
        open.expect(&id("a"));
        assert_eq!(open.into_ids(), [id("b")], "it has ended");
    }

    #[test]
    fn what_is_not_waited_for_is_not_heard() {
        let mut open = Open::default();
        open.expect(&id("a"));
        open.forget(&id("a"));
        assert_eq!(open.hear(&message("a", done())), None);
        assert_eq!(open.hear(&message("b", done())), None);
        assert_eq!(open.hear(&Task::new("no outcome")), None);
        assert_eq!(open.len(), 0);
    }
}
