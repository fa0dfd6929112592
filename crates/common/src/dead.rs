//! Dead letters: what one says of itself, and the task it becomes again. Pure.
//!
//! Shape of a [`wire::HISTORY`] entry: `{at, reason, error, attempts, worker}`. One that RabbitMQ
//! itself moved aside says it in its `x-death`: a list, the latest first, of `{reason: expired |
//! delivery_limit | rejected, queue, time, count}`.

use crate::{
    queue::QueueName,
    settlement::{DeadReason, cut},
    task::{HeaderValue, Headers, Task, TaskId, TaskKind},
    wire,
};
use std::num::NonZeroU32;

/// Most times being dead that a replayed task remembers.
pub const HISTORY_MAX: usize = 10;
/// The longest error text that is remembered of each, in bytes.
pub const HISTORY_ERROR_BYTES_MAX: usize = 256;
/// What a broker writes when it moves a message by itself.
const X_DEATH: &str = "x-death";

/// A dead letter as a person looks at it.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadLetterView {
    /// The id of the task.
    pub id: TaskId,
    /// Its kind.
    pub kind: Option<TaskKind>,
    /// The work queue it came from, where it says so.
    pub queue: Option<QueueName>,
    /// How it ended.
    pub death: Death,
    /// When its first failed attempt ended, in seconds since 1970.
    pub failed_since: Option<u64>,
    /// When it was submitted, in seconds since 1970.
    pub submitted_at: Option<u64>,
    /// When it was last replayed, in milliseconds since 1970.
    pub replayed_at_ms: Option<u64>,
    /// The times before that it was dead, the latest last.
    pub history: Vec<Death>,
    /// The size of its payload.
    pub payload_bytes: usize,
    /// The media type of its payload.
    pub content_type: Option<String>,
    /// The caller's own headers.
    pub headers: Headers,
}

/// One time that a task ended as a dead letter. What is absent was not told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Death {
    /// When, in seconds since 1970.
    pub at: Option<u64>,
    /// Why, from the closed list.
    pub reason: Option<DeadReason>,
    /// What happened, for a person.
    pub error: String,
    /// How often a handler was started for it.
    pub attempts: u32,
    /// The worker that decided.
    pub worker: Option<String>,
}

impl DeadLetterView {
    /// What a dead letter says of itself. What it does not say, or says in a way that cannot be
    /// read, is absent.
    #[must_use]
    pub fn of(task: &Task) -> Self {
        let (death, queue) = if task.headers.get(wire::DEAD_REASON).is_some() {
            of_worker(task)
        } else {
            of_broker(task)
        };
        Self {
            id: task.id.clone(),
            kind: task.kind.clone(),
            queue,
            death,
            failed_since: task.failed_since,
            submitted_at: task.submitted_at,
            replayed_at_ms: task
                .headers
                .get(wire::REPLAYED_AT_MS)
                .and_then(HeaderValue::as_integer)
                .and_then(|ms| u64::try_from(ms).ok()),
            history: history(&task.headers),
            payload_bytes: task.payload.len(),
            content_type: task.content_type.clone(),
            headers: of_caller(&task.headers).collect(),
        }
    }
}

/// The task to submit in place of a dead letter: with the same id, as if it had never been tried,
/// but for its history.
#[must_use]
pub fn replayed(task: &Task, now_ms: u64) -> Task {
    let view = DeadLetterView::of(task);
    let mut history = view.history;
    history.push(view.death);
    let forgotten = history.len().saturating_sub(HISTORY_MAX);
    let entries = history.drain(forgotten..).map(entry).collect();
    let mut again = task.clone();
    again.attempt = NonZeroU32::MIN;
    again.failed_since = None;
    again.expires_after = None;
    again.not_after_ms = None;
    again.headers = view.headers;
    let now = i64::try_from(now_ms).unwrap_or(i64::MAX);
    let headers = &mut again.headers;
    headers.set(wire::REPLAYED_AT_MS, HeaderValue::Integer(now));
    headers.set(wire::HISTORY, HeaderValue::List(entries));
    again
}

/// As a worker has marked it.
fn of_worker(task: &Task) -> (Death, Option<QueueName>) {
    let text = |name| task.headers.get(name).and_then(HeaderValue::as_text);
    let reason = text(wire::DEAD_REASON).and_then(|reason| reason.parse().ok());
    let death = Death {
        at: task.headers.get(wire::DEAD_AT).and_then(seconds),
        reason,
        error: text(wire::DEAD_ERROR).unwrap_or_default().to_owned(),
        attempts: attempts(task, reason),
        worker: text(wire::DEAD_WORKER).map(str::to_owned),
    };
    let queue = text(wire::DEAD_QUEUE).and_then(|name| QueueName::new(name).ok());
    (death, queue)
}

/// As RabbitMQ has moved it aside; nothing where it did not.
fn of_broker(task: &Task) -> (Death, Option<QueueName>) {
    let Some(HeaderValue::List(moves)) = task.headers.get(X_DEATH) else {
        return (Death::default(), None);
    };
    let Some(HeaderValue::Table(latest)) = moves.first() else {
        return (Death::default(), None);
    };
    let text = |name| latest.get(name).and_then(HeaderValue::as_text);
    let (reason, error) = match text("reason") {
        Some("expired") => (
            Some(DeadReason::Expired),
            "it waited longer than it was allowed to",
        ),
        Some("delivery_limit") => (
            Some(DeadReason::Crashed),
            "the broker returned it more often than the queue allows: its workers were lost",
        ),
        Some("rejected") => (Some(DeadReason::Rejected), "a consumer rejected it"),
        _ => (None, ""),
    };
    let death = Death {
        at: latest.get("time").and_then(seconds),
        reason,
        error: error.to_owned(),
        attempts: attempts(task, reason),
        worker: None,
    };
    let queue = text("queue").map(|name| name.strip_suffix(".suspects").unwrap_or(name));
    (death, queue.and_then(|name| QueueName::new(name).ok()))
}

/// The attempt that a task names was begun, but for reasons that end it before.
fn attempts(task: &Task, reason: Option<DeadReason>) -> u32 {
    let next = task.attempt.get();
    match reason {
        Some(DeadReason::Expired | DeadReason::UnknownKind | DeadReason::Malformed) => next - 1,
        Some(DeadReason::AttemptsSpent | DeadReason::Rejected | DeadReason::Crashed) | None => next,
    }
}

fn seconds(value: &HeaderValue) -> Option<u64> {
    if let HeaderValue::Timestamp(at) = value {
        return Some(*at);
    }
    u64::try_from(value.as_integer()?).ok()
}

/// Without what we and the broker have written.
fn of_caller(headers: &Headers) -> impl Iterator<Item = (String, HeaderValue)> {
    headers
        .iter()
        .filter(|(name, _)| !name.starts_with("pumasi-") && !wire::is_of_broker(name))
        .map(|(name, value)| (name.to_owned(), value.clone()))
}

fn history(headers: &Headers) -> Vec<Death> {
    let Some(HeaderValue::List(entries)) = headers.get(wire::HISTORY) else {
        return Vec::new();
    };
    let deaths = entries.iter().filter_map(|entry| match entry {
        HeaderValue::Table(entry) => Some(death(entry)),
        HeaderValue::Null
        | HeaderValue::Boolean(_)
        | HeaderValue::Integer(_)
        | HeaderValue::Float(_)
        | HeaderValue::Text(_)
        | HeaderValue::Bytes(_)
        | HeaderValue::Timestamp(_)
        | HeaderValue::List(_) => None,
    });
    deaths.collect()
}

fn death(entry: &Headers) -> Death {
    let text = |name| entry.get(name).and_then(HeaderValue::as_text);
    let attempts = entry.get("attempts").and_then(HeaderValue::as_integer);
    Death {
        at: entry.get("at").and_then(seconds),
        reason: text("reason").and_then(|reason| reason.parse().ok()),
        error: text("error").unwrap_or_default().to_owned(),
        attempts: attempts.and_then(|it| u32::try_from(it).ok()).unwrap_or(0),
        worker: text("worker").map(str::to_owned),
    }
}

fn entry(death: Death) -> HeaderValue {
    let mut entry = Headers::default();
    if let Some(at) = death.at {
        entry.set("at", HeaderValue::Timestamp(at));
    }
    if let Some(reason) = death.reason {
        entry.set("reason", reason.as_str().into());
    }
    entry.set("error", cut(&death.error, HISTORY_ERROR_BYTES_MAX).into());
    entry.set("attempts", HeaderValue::Integer(death.attempts.into()));
    if let Some(worker) = death.worker {
        entry.set("worker", worker.as_str().into());
    }
    HeaderValue::Table(entry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settlement::DeadLetter;

    fn dead(reason: DeadReason, attempt: u32) -> Task {
        let mut task = Task::with_id(TaskId::new("order-7").unwrap(), "payload");
        task.attempt = NonZeroU32::new(attempt).unwrap();
        task.failed_since = Some(1_700_000_000);
        task.headers.set("colour", "red".into());
        let letter = DeadLetter::new(reason, "no route", "w1");
        let queue = QueueName::new("mail").unwrap();
        wire::mark_dead(&mut task, &queue, &letter, 1_700_000_100);
        task
    }

    /// A message as RabbitMQ moves it aside, out of two queues after each other.
    fn moved(reason: &str, queue: &str) -> Task {
        let entry = |reason: &str, queue: &str, at| {
            let mut entry = Headers::default();
            entry.set("reason", reason.into());
            entry.set("queue", queue.into());
            entry.set("time", HeaderValue::Timestamp(at));
            entry.set("count", HeaderValue::Integer(1));
            HeaderValue::Table(entry)
        };
        let mut task = Task::new("x");
        let moves = vec![entry(reason, queue, 200), entry("expired", "before", 100)];
        task.headers.set("x-death", HeaderValue::List(moves));
        task.headers.set("x-first-death-queue", "before".into());
        task
    }

    #[test]
    fn a_dead_letter_of_a_worker_tells_what_it_says() {
        for (reason, attempts) in [
            (DeadReason::AttemptsSpent, 3),
            (DeadReason::Rejected, 3),
            (DeadReason::Crashed, 3),
            (DeadReason::Malformed, 2),
            (DeadReason::UnknownKind, 2),
            (DeadReason::Expired, 2),
        ] {
            let view = DeadLetterView::of(&dead(reason, 3));
            let expected = Death {
                at: Some(1_700_000_100),
                reason: Some(reason),
                error: "no route".to_owned(),
                attempts,
                worker: Some("w1".to_owned()),
            };
            assert_eq!(view.death, expected);
            assert_eq!(view.queue, QueueName::new("mail").ok());
            assert_eq!(view.failed_since, Some(1_700_000_000));
            assert_eq!(view.payload_bytes, 7);
            assert_eq!(view.headers.len(), 1, "{:?}", view.headers);
        }
    }

    #[test]
    fn what_rabbitmq_has_moved_aside_is_told_in_the_same_words() {
        for (word, queue, reason, attempts) in [
            ("expired", "mail", Some(DeadReason::Expired), 0),
            ("delivery_limit", "mail", Some(DeadReason::Crashed), 1),
            (
                "delivery_limit",
                "mail.suspects",
                Some(DeadReason::Crashed),
                1,
            ),
            ("rejected", "mail", Some(DeadReason::Rejected), 1),
            ("maxlen", "mail", None, 1),
        ] {
            let view = DeadLetterView::of(&moved(word, queue));
            assert_eq!(view.death.reason, reason, "{word}");
            assert_eq!(view.death.attempts, attempts, "{word}");
            assert_eq!(view.death.at, Some(200));
            assert_eq!(view.queue, QueueName::new("mail").ok());
            assert_eq!(view.death.error.is_empty(), reason.is_none());
            assert!(view.headers.is_empty());
        }
    }

    #[test]
    fn what_says_nothing_or_nonsense_is_a_view_with_gaps() {
        let mut strange = Task::new("x");
        for name in [
            wire::DEAD_REASON,
            wire::DEAD_AT,
            wire::DEAD_QUEUE,
            wire::HISTORY,
            wire::REPLAYED_AT_MS,
        ] {
            strange.headers.set(name, HeaderValue::Integer(-1));
        }
        let mut moved = Task::new("x");
        let nonsense = HeaderValue::List(vec![HeaderValue::Null]);
        moved.headers.set("x-death", nonsense.clone());
        moved.headers.set(wire::HISTORY, nonsense);
        for task in [Task::new("x"), strange, moved] {
            let view = DeadLetterView::of(&task);
            assert_eq!((view.death.reason, view.death.at), (None, None));
            assert_eq!((view.queue, view.replayed_at_ms), (None, None));
            assert!(view.history.is_empty() && view.headers.is_empty());
        }
    }

    #[test]
    fn a_replayed_task_begins_anew_and_remembers_what_it_was() {
        let mut letter = dead(DeadReason::AttemptsSpent, 5);
        letter.not_after_ms = Some(1);
        letter.expires_after = Some(std::time::Duration::from_secs(1));
        letter.reply_to = Some("answers".to_owned());
        let again = replayed(&letter, 1_700_000_200_000);
        assert_eq!((&again.id, &again.payload), (&letter.id, &letter.payload));
        assert_eq!(again.reply_to, letter.reply_to);
        assert_eq!((again.attempt.get(), again.failed_since), (1, None));
        assert_eq!((again.expires_after, again.not_after_ms), (None, None));
        let mut names: Vec<&str> = again.headers.iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        assert_eq!(names, ["colour", wire::HISTORY, wire::REPLAYED_AT_MS]);

        let view = DeadLetterView::of(&again);
        assert_eq!(view.replayed_at_ms, Some(1_700_000_200_000));
        assert_eq!(view.history, [DeadLetterView::of(&letter).death]);
        let of_broker = replayed(&moved("delivery_limit", "mail"), 1);
        let history = DeadLetterView::of(&of_broker).history;
        assert_eq!(history[0].reason, Some(DeadReason::Crashed));
    }

    #[test]
    fn the_history_keeps_the_last_ten_and_cuts_their_errors() {
        let mut task = dead(DeadReason::Rejected, 1);
        for round in 0..15_u32 {
            let error = format!("{round} {}", "ü".repeat(2_000));
            let letter = DeadLetter::new(DeadReason::Rejected, &error, "w");
            let queue = QueueName::new("mail").unwrap();
            wire::mark_dead(&mut task, &queue, &letter, round.into());
            task = replayed(&task, 1);
        }
        let history = DeadLetterView::of(&task).history;
        let rounds: Vec<Option<u64>> = history.iter().map(|death| death.at).collect();
        assert_eq!(rounds, (5..15).map(Some).collect::<Vec<_>>());
        assert!(history.iter().all(|death| death.error.len() <= 256));
    }
}
