//! What came of the lines of a file.

use crate::say::{complain, note, note_json};
use indicatif::ProgressBar;
use pumasi_common::{Diagnostic, PublishOutcome};
use pumasi_producer::jsonl::LineError;
use std::time::Instant;

/// How many refusals are spelled out; the summary counts the others.
const REFUSALS_SHOWN: u64 = 20;

/// What came of a file.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) accepted: u64,
    refused: u64,
    unknown: u64,
    malformed: u64,
    /// The exit status of the worst.
    pub(super) status: u8,
}

impl Tally {
    pub(super) fn count(&mut self, outcome: &PublishOutcome, json: bool, bar: &ProgressBar) {
        let (problem, code) = match outcome {
            PublishOutcome::Accepted(_) => {
                self.accepted += 1;
                return;
            }
            PublishOutcome::Refused(_, refusal) => {
                self.refused += 1;
                (refusal.to_string(), refusal.code())
            }
            PublishOutcome::Unknown(_, uncertainty) => {
                self.unknown += 1;
                (uncertainty.to_string(), uncertainty.code())
            }
        };
        self.status = self.status.max(code.exit_status());
        // With --json the outcome's own line has said it.
        if !json && self.refused + self.unknown <= REFUSALS_SHOWN {
            bar.suspend(|| note(format_args!("not accepted: {}: {problem}", outcome.id())));
        }
    }

    pub(super) fn refuse_line(&mut self, error: &LineError, bar: &ProgressBar) {
        self.malformed += 1;
        self.status = self.status.max(65);
        if self.malformed <= REFUSALS_SHOWN {
            bar.suspend(|| complain(error));
        }
    }

    pub(super) fn tell(&self, begun: Instant, json: bool) {
        let seconds = begun.elapsed().as_secs_f64().max(0.001);
        let Self {
            accepted,
            refused,
            unknown,
            malformed,
            ..
        } = self;
        if json {
            return note_json(&serde_json::json!({
                "accepted": accepted,
                "refused": refused,
                "unknown": unknown,
                "malformed": malformed,
                "seconds": seconds,
            }));
        }
        #[expect(clippy::cast_precision_loss, reason = "a rate for a person's eyes")]
        let rate = *accepted as f64 / seconds;
        note(format_args!(
            "accepted {accepted}, refused {refused}, unknown {unknown}, malformed lines {malformed} in {seconds:.1} s ({rate:.0}/s)"
        ));
    }
}
