//! `pumasi dead list`, and what a replay or purge would take.

use super::{Letters, Session, since_1970};
use crate::{
    cli::{Filter, Selection},
    commands::one_line,
    failure::Failure,
    say::{note, note_json, print, print_json},
};
use pumasi_common::{
    QueueName,
    dead::{DeadLetterView, Death},
};
use serde_json::{Value, json};
use std::{num::NonZeroUsize, process::ExitCode};

/// Most that a preview shows; all are counted.
const PREVIEW: NonZeroUsize = const { NonZeroUsize::new(50).unwrap() };

pub(super) async fn run(
    session: &Session,
    queue: &QueueName,
    filter: &Filter,
    limit: NonZeroUsize,
) -> Result<ExitCode, Failure> {
    let letters = Letters::open(session, queue).await?;
    let holds = |letter: &DeadLetterView, now| filter.holds(letter, now);
    let seen = look(letters, holds, limit, session.global.json).await?;
    if session.global.json {
        note_json(&json!({ "matched": seen.matched, "of": seen.all }));
    } else {
        note(seen.in_words(limit));
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows what would be done.
pub(super) async fn preview(
    session: &Session,
    selection: &Selection,
    verb: &str,
) -> Result<ExitCode, Failure> {
    let letters = Letters::open(session, &selection.of.queue).await?;
    let holds = |letter: &DeadLetterView, now| selection.holds(letter, now);
    let seen = look(letters, holds, PREVIEW, session.global.json).await?;
    if session.global.json {
        note_json(&json!({ "matched": seen.matched, "of": seen.all }));
    } else {
        note(seen.in_words(PREVIEW));
    }
    note(format_args!("nothing was {verb}; say --yes to do it"));
    Ok(ExitCode::SUCCESS)
}

/// How many there were.
struct Seen {
    matched: usize,
    all: usize,
}

impl Seen {
    fn in_words(&self, limit: NonZeroUsize) -> String {
        let Self { matched, all } = self;
        let letters = if *all == 1 { "letter" } else { "letters" };
        if *matched > limit.get() {
            format!("{matched} of {all} dead {letters}; the first {limit} are shown")
        } else {
            format!("{matched} of {all} dead {letters}")
        }
    }
}

/// Goes through all and shows the first that are meant.
async fn look(
    mut letters: Letters,
    holds: impl Fn(&DeadLetterView, u64) -> bool,
    limit: NonZeroUsize,
    json: bool,
) -> Result<Seen, Failure> {
    let now = since_1970().as_secs();
    let mut table = Table::new();
    let mut seen = Seen { matched: 0, all: 0 };
    while let Some(delivery) = letters.next().await {
        let letter = DeadLetterView::of(delivery.task());
        seen.all += 1;
        if !holds(&letter, now) {
            continue;
        }
        seen.matched += 1;
        if seen.matched > limit.get() {
            continue;
        }
        if json {
            print_json(&line(&letter));
        } else {
            table.add(&letter, now);
        }
    }
    letters.close().await?;
    if seen.matched > 0 && !json {
        print(table.0);
    }
    Ok(seen)
}

/// A dead letter for a machine.
pub(super) fn line(letter: &DeadLetterView) -> Value {
    let mut line = json!({
        "id": letter.id,
        "kind": letter.kind,
        "queue": letter.queue,
        "submitted_at": letter.submitted_at,
        "failed_since": letter.failed_since,
        "payload_bytes": letter.payload_bytes,
        "content_type": letter.content_type,
    });
    let death = death(&letter.death);
    if let (Some(line), Value::Object(death)) = (line.as_object_mut(), death) {
        line.extend(death);
    }
    line
}

/// One time of being dead for a machine.
pub(super) fn death(death: &Death) -> Value {
    json!({
        "dead_at": death.at,
        "reason": death.reason.map(pumasi_common::DeadReason::as_str),
        "error": death.error,
        "attempts": death.attempts,
        "worker": death.worker,
    })
}

/// Dead letters for a person, one on a line.
struct Table(comfy_table::Table);

impl Table {
    fn new() -> Self {
        use comfy_table::{ColumnConstraint, ContentArrangement, presets};
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["AGE", "REASON", "ATTEMPTS", "KIND", "ID", "ERROR"]);
        // On a terminal the error is what has to give way.
        table.set_content_arrangement(ContentArrangement::Dynamic);
        for column in table.column_iter_mut().take(5) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
        Self(table)
    }

    fn add(&mut self, letter: &DeadLetterView, now: u64) {
        let death = &letter.death;
        let unknown = || "?".to_owned();
        let kind = letter.kind.as_ref().map(ToString::to_string);
        let mut row = comfy_table::Row::from([
            death.at.map_or_else(unknown, |at| age(now, at)),
            death.reason.map_or_else(unknown, |it| it.to_string()),
            death.attempts.to_string(),
            kind.unwrap_or_default(),
            letter.id.to_string(),
            one_line(&death.error),
        ]);
        row.max_height(1);
        self.0.add_row(row);
    }
}

/// How long ago, in its largest unit.
fn age(now: u64, at: u64) -> String {
    let seconds = now.saturating_sub(at);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_told_in_its_largest_unit() {
        for (seconds, shown) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (3599, "59m"),
            (3600, "1h"),
            (86_399, "23h"),
            (86_400, "1d"),
            (40_000_000, "462d"),
        ] {
            assert_eq!(age(50_000_000, 50_000_000 - seconds), shown);
        }
        assert_eq!(age(10, 20), "0s", "of a clock that is ahead");
    }
}
