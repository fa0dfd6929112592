//! Every outcome in every circumstance that matters.

use super::*;
use pumasi_common::{TaskKind, task::TraceContext};

const NOW: Duration = Duration::from_secs(1_700_000_000);

fn task() -> Task {
    let mut task = Task::new("payload").with_kind(TaskKind::new("image.resize").unwrap());
    task.submitted_at = Some(1_600_000_000);
    task.trace = TraceContext::parse(
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned(),
        None,
    );
    task
}

fn outcomes() -> [Outcome; 11] {
    let text = || "e".to_owned();
    [
        Outcome::Done(Output::default()),
        Outcome::Failed {
            error: text(),
            retry_after: None,
        },
        Outcome::TimedOut(Duration::from_secs(1)),
        Outcome::Crashed(text()),
        Outcome::Deadly(text()),
        Outcome::Rejected(text()),
        Outcome::Malformed(text()),
        Outcome::UnknownKind(text()),
        Outcome::Expired,
        Outcome::Cancelled,
        Outcome::Interrupted,
    ]
}

fn word(decision: &Decision) -> &'static str {
    match &decision.settlement {
        Settlement::Ack => "ack",
        Settlement::Release => "release",
        Settlement::Retry(_) => "retry",
        Settlement::DeadLetter(letter) => letter.reason.as_str(),
    }
}

fn on<'a>(task: &'a Task, queue: &'a QueueName, unknown: Unknown) -> Circumstances<'a> {
    Circumstances {
        task,
        queue,
        worker: "w",
        policy: RetryPolicy::default(),
        unknown: (unknown, Duration::from_secs(30)),
        now: NOW,
        chance: u32::MAX,
        delay_max: Duration::MAX,
    }
}

#[test]
fn every_outcome_has_one_settlement_in_every_circumstance() {
    let queue = QueueName::new("q").unwrap();
    let table = |attempt: u32, unknown: Unknown| -> Vec<&'static str> {
        let mut task = task();
        task.attempt = NonZeroU32::new(attempt).unwrap();
        outcomes()
            .into_iter()
            .map(|outcome| word(&decide(outcome, &on(&task, &queue, unknown))))
            .collect()
    };
    let first = [
        "ack",
        "retry",
        "retry",
        "retry",
        "crashed",
        "rejected",
        "malformed",
        "unknown-kind",
        "expired",
        "ack",
        "release",
    ];
    assert_eq!(table(1, Unknown::Dead), first);
    assert_eq!(table(4, Unknown::Dead), first);
    let mut last = first;
    last[1..4].copy_from_slice(&["attempts-spent", "attempts-spent", "crashed"]);
    assert_eq!(table(5, Unknown::Dead), last);
    assert_eq!(table(6, Unknown::Dead), last);
    let mut later = first;
    later[7] = "retry";
    assert_eq!(table(1, Unknown::RequeueLater), later);
}

fn copy(decision: Decision) -> Publication {
    if let Settlement::Retry(copy) = decision.settlement {
        *copy
    } else {
        panic!("not tried again: {decision:?}");
    }
}

fn failed(retry_after: Option<RetryAfter>) -> Outcome {
    Outcome::Failed {
        error: "no route".to_owned(),
        retry_after,
    }
}

#[test]
fn a_retried_task_changes_only_in_what_counts_its_attempts() {
    let queue = QueueName::new("q").unwrap();
    let mut sent = task();
    sent.expires_after = Some(Duration::from_secs(60));
    let again = copy(decide(failed(None), &on(&sent, &queue, Unknown::Dead)));
    assert_eq!(again.destination, Destination::Queue(queue.clone()));
    assert_eq!(again.delay, Duration::from_secs(2));
    let mut expected = sent;
    expected.attempt = NonZeroU32::new(2).unwrap();
    expected.failed_since = Some(NOW.as_secs());
    expected.expires_after = None;
    assert_eq!(again.task, expected);

    let mut third = again.task;
    third.failed_since = Some(17);
    let again = copy(decide(failed(None), &on(&third, &queue, Unknown::Dead)));
    assert_eq!(again.task.failed_since, Some(17));
    assert_eq!(again.delay, Duration::from_secs(4));
}

#[test]
fn a_handlers_own_delay_and_a_tasks_own_attempts_win_over_the_policy() {
    let queue = QueueName::new("q").unwrap();
    let mut sent = task();
    let hour = Duration::from_secs(3600);
    let own = RetryAfter::Exactly(hour);
    let decision = decide(failed(Some(own)), &on(&sent, &queue, Unknown::Dead));
    assert_eq!(copy(decision).delay, hour);
    let short = Circumstances {
        delay_max: Duration::from_secs(9),
        ..on(&sent, &queue, Unknown::Dead)
    };
    assert_eq!(
        copy(decide(failed(Some(own)), &short)).delay,
        short.delay_max
    );
    sent.attempts_max = NonZeroU32::new(1);
    let decision = decide(failed(None), &on(&sent, &queue, Unknown::Dead));
    assert_eq!(word(&decision), "attempts-spent");
    sent.attempts_max = NonZeroU32::new(9);
    sent.attempt = NonZeroU32::new(8).unwrap();
    let decision = decide(failed(None), &on(&sent, &queue, Unknown::Dead));
    assert_eq!(word(&decision), "retry");
}

#[test]
fn a_delay_that_is_a_minimum_is_never_undercut_and_spread_by_the_policy() {
    let queue = QueueName::new("q").unwrap();
    let sent = task();
    let minute = Duration::from_secs(60);
    let bound = RetryPolicy::default().delay_bound(sent.attempt);
    for (chance, expected) in [(0, minute), (u32::MAX, minute + bound)] {
        let on = Circumstances {
            chance,
            ..on(&sent, &queue, Unknown::Dead)
        };
        let least = failed(Some(RetryAfter::AtLeast(minute)));
        assert_eq!(copy(decide(least, &on)).delay, expected);
    }
    let short = Circumstances {
        delay_max: Duration::from_secs(9),
        ..on(&sent, &queue, Unknown::Dead)
    };
    for least in [minute, Duration::MAX] {
        let least = failed(Some(RetryAfter::AtLeast(least)));
        assert_eq!(copy(decide(least, &short)).delay, short.delay_max);
    }
}

#[test]
fn a_task_of_an_unknown_kind_waits_without_losing_an_attempt_or_its_expiry() {
    let queue = QueueName::new("q").unwrap();
    let mut sent = task();
    sent.submitted_at = Some(NOW.as_secs() - 10);
    sent.expires_after = Some(Duration::from_secs(60));
    let outcome = || Outcome::UnknownKind("image.resize".to_owned());
    let again = copy(decide(outcome(), &on(&sent, &queue, Unknown::RequeueLater)));
    assert_eq!(again.delay, Duration::from_secs(30));
    assert_eq!(again.task.attempt, sent.attempt);
    assert_eq!(again.task.failed_since, None);
    assert_eq!(again.task.expires_after, None);
    assert_eq!(again.task.not_after_ms, Some((NOW.as_secs() + 50) * 1000));
    let again = copy(decide(
        outcome(),
        &on(&again.task, &queue, Unknown::RequeueLater),
    ));
    assert_eq!(again.task.not_after_ms, Some((NOW.as_secs() + 50) * 1000));
}

#[test]
fn whoever_asked_hears_the_end_and_where_wanted_each_retry() {
    let queue = QueueName::new("q").unwrap();
    let mut sent = task();
    sent.reply_to = Some("answers".to_owned());
    let words = |task: &Task| -> Vec<Option<&'static str>> {
        outcomes()
            .into_iter()
            .map(|outcome| {
                let reply = decide(outcome, &on(task, &queue, Unknown::Dead)).reply?;
                let (id, outcome) = outcome::Outcome::read(&reply.task).unwrap();
                assert_eq!(id, task.id);
                Some(outcome.as_str())
            })
            .collect()
    };
    let dead = Some("dead");
    let silent = [
        Some("done"),
        None,
        None,
        None,
        dead,
        dead,
        dead,
        dead,
        dead,
        Some("cancelled"),
        None,
    ];
    assert_eq!(words(&sent), silent);
    sent.wants_progress = true;
    let mut told = silent;
    told[1..4].fill(Some("retry"));
    assert_eq!(words(&sent), told);
    sent.reply_to = None;
    assert_eq!(words(&sent), [None; 11]);
}

#[test]
fn a_dead_letter_names_the_work_queue() {
    let queue = QueueName::new("q").unwrap();
    let sent = task();
    let decision = decide(Outcome::Expired, &on(&sent, &queue, Unknown::Dead));
    if let Settlement::DeadLetter(letter) = decision.settlement {
        assert_eq!(letter.queue, Some(queue));
    } else {
        panic!("{decision:?}");
    }
}
