//! What a dead letter looks like: the task as it came, with the reason in its headers.

use pumasi_common::{
    DeadLetter, Destination, Publication, QueueName, Refusal, Task, TaskKind, task::Headers, wire,
};
use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

/// Where tasks come from and where dead ones go.
#[derive(Debug)]
pub(crate) struct Queues {
    pub(crate) work: Arc<QueueName>,
    pub(crate) dead: QueueName,
    /// Who consumes.
    pub(crate) worker: String,
}

/// The dead letter with everything that the task has.
pub(super) fn full(task: &Task, queues: &Queues, letter: &DeadLetter) -> Publication {
    addressed(task.clone(), queues, letter)
}

/// Whether a letter without the caller's properties may be taken where this one was not: another
/// client can publish what we cannot repeat, and such a task must not come back for ever.
pub(super) fn cannot_be_carried(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::Property { .. } | Refusal::HeadersTooLarge { .. }
    )
}

/// The dead letter with the payload and what we know to be carried, and why it has no more.
pub(super) fn bare(
    task: &Task,
    queues: &Queues,
    mut letter: DeadLetter,
    refusal: &Refusal,
) -> Publication {
    letter.error = format!(
        "{} (headers and properties left out: {refusal})",
        letter.error
    );
    let task = Task {
        kind: task
            .kind
            .clone()
            .filter(|kind| TaskKind::new(kind.as_str()).is_ok()),
        headers: Headers::default(),
        content_type: None,
        submitter: None,
        reply_to: None,
        correlation_id: None,
        ..task.clone()
    };
    addressed(task, queues, &letter)
}

fn addressed(mut task: Task, queues: &Queues, letter: &DeadLetter) -> Publication {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    wire::mark_dead(&mut task, &queues.work, letter, now);
    // A dead letter waits for a person, however long that takes.
    task.expires_after = None;
    Publication::new(Destination::Queue(queues.dead.clone()), task)
}
