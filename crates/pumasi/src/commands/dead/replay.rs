//! `pumasi dead replay`: a copy is published and confirmed, then the dead letter is acknowledged.
//!
//! One after the other: stopped anywhere, each task is in its queue or still here, and at most one
//! is in both.

use super::{Letters, Session, now_ms, since_1970};
use crate::{
    cli::Selection,
    failure::Failure,
    say::{complain, note, note_json, print, print_json},
};
use indicatif::ProgressBar;
use pumasi_common::{
    Destination, Diagnostic, Publication, PublishOutcome, Retryability, Settlement, TaskId,
    broker::Delivery,
    dead::{self, DeadLetterView},
};
use pumasi_service::shutdown;
use serde_json::json;
use std::{num::NonZeroU32, process::ExitCode, time::Duration};
use tokio::time::{Interval, MissedTickBehavior, interval};

/// How many refusals are spelled out; the summary counts the others.
const REFUSALS_SHOWN: u64 = 20;
/// The exit status after Ctrl-C, as shells give it.
const INTERRUPTED: u8 = 130;

pub(super) async fn run(
    session: &Session,
    selection: &Selection,
    rate: NonZeroU32,
) -> Result<ExitCode, Failure> {
    let begun_ms = now_ms();
    let now = since_1970().as_secs();
    let mut letters = Letters::open(session, &selection.of.queue).await?;
    let mut replay = Replay {
        session,
        bar: letters.bar(session).await,
        pace: pace(rate),
        replayed: 0,
        refused: 0,
        all: 0,
        status: 0,
    };
    let stop = shutdown::on_signals();
    while let Some(Some(delivery)) = stop.intake.run_until_cancelled(letters.next()).await {
        replay.all += 1;
        replay.bar.inc(1);
        let letter = DeadLetterView::of(delivery.task());
        // One that this walk has replayed may be dead again before its end.
        let is_ours = letter.replayed_at_ms.is_some_and(|at| at >= begun_ms);
        if is_ours || !selection.holds(&letter, now) {
            continue;
        }
        let queue = letter.queue.unwrap_or_else(|| letters.work.clone());
        if !replay.one(delivery, Destination::Queue(queue)).await {
            break;
        }
    }
    replay.bar.finish_and_clear();
    let closed = letters.close().await;
    replay.tell();
    if stop.intake.is_cancelled() {
        return Ok(ExitCode::from(INTERRUPTED));
    }
    // What the broker said to a task tells more than that it went away.
    if replay.status == 0 {
        closed?;
    }
    Ok(ExitCode::from(replay.status))
}

fn pace(rate: NonZeroU32) -> Interval {
    let mut pace = interval(Duration::from_secs(1) / rate.get());
    // One that fell behind does not hurry: the rate is what the workers can bear.
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pace
}

struct Replay<'a> {
    session: &'a Session,
    bar: ProgressBar,
    pace: Interval,
    replayed: u64,
    refused: u64,
    all: u64,
    status: u8,
}

impl Replay<'_> {
    /// Replays one; says whether another can be tried.
    async fn one(&mut self, delivery: Delivery, destination: Destination) -> bool {
        self.pace.tick().await;
        // Not `once`: its first submit may be so near that this would be taken for the same.
        let task = dead::replayed(delivery.task(), now_ms());
        let publication = Publication::new(destination, task);
        match self.session.broker.publish(publication).await {
            PublishOutcome::Accepted(id) => {
                if delivery.settle_and_flush(Settlement::Ack).await.is_err() {
                    self.say(&format!("{id} is replayed and still a dead letter"));
                    self.status = 75;
                    return false;
                }
                self.replayed += 1;
                if self.session.global.json {
                    print_json(&json!({ "id": id, "outcome": "replayed" }));
                } else {
                    print(&id);
                }
                true
            }
            PublishOutcome::Refused(id, refusal) => self.refuse(&id, "refused", &refusal),
            PublishOutcome::Unknown(id, why) => self.refuse(&id, "unknown", &why),
        }
    }

    fn refuse(&mut self, id: &TaskId, outcome: &str, error: &dyn Diagnostic) -> bool {
        self.refused += 1;
        self.status = self.status.max(error.code().exit_status());
        if self.session.global.json {
            print_json(&json!({
                "id": id,
                "outcome": outcome,
                "code": error.code().to_string(),
                "error": error.to_string(),
            }));
        } else if self.refused <= REFUSALS_SHOWN {
            self.bar.suspend(|| {
                note(format_args!("not replayed: {id}:"));
                complain(error);
            });
        }
        // What may be better later is not better for the next one.
        error.retryability() == Retryability::Permanent
    }

    fn say(&self, text: &str) {
        self.bar.suspend(|| note(text));
    }

    fn tell(&self) {
        let Self {
            replayed,
            refused,
            all,
            ..
        } = self;
        if self.session.global.json {
            note_json(&json!({ "replayed": replayed, "refused": refused, "seen": all }));
        } else {
            note(format_args!(
                "replayed {replayed}, not replayed {refused}, of {all} seen"
            ));
        }
    }
}
