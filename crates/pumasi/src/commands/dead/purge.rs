//! `pumasi dead purge`: deletes a selection for ever.

use super::{Letters, Session, since_1970};
use crate::{
    cli::Selection,
    failure::Failure,
    say::{note, note_json, print, print_json},
};
use pumasi_common::{Settlement, dead::DeadLetterView};
use serde_json::json;
use std::process::ExitCode;

pub(super) async fn run(session: &Session, selection: &Selection) -> Result<ExitCode, Failure> {
    let json = session.global.json;
    let mut letters = Letters::open(session, &selection.of.queue).await?;
    let bar = letters.bar(session).await;
    let now = since_1970().as_secs();
    let (mut purged, mut all) = (0_u64, 0_u64);
    while let Some(delivery) = letters.next().await {
        all += 1;
        bar.inc(1);
        let letter = DeadLetterView::of(delivery.task());
        if !selection.holds(&letter, now) {
            continue;
        }
        // One that is no longer ours stays, and the walk has ended with it.
        if delivery.settle(Settlement::Ack).is_ok() {
            purged += 1;
            if json {
                print_json(&json!({ "id": letter.id, "outcome": "purged" }));
            } else {
                print(&letter.id);
            }
        }
    }
    bar.finish_and_clear();
    letters.close().await?;
    if json {
        note_json(&json!({ "purged": purged, "seen": all }));
    } else {
        note(format_args!("purged {purged} of {all} seen"));
    }
    Ok(ExitCode::SUCCESS)
}
