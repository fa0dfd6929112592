//! A file whose tasks are waited for: submitted and heard of at once, told as they end.

use super::tally::Tally;
use crate::{
    commands::submit::{
        tell,
        wait::{Asked, Asks, Waiter, next, tell as words},
    },
    say::{note, note_json, print, print_json},
};
use futures_util::{Stream, StreamExt};
use indicatif::{ProgressBar, ProgressStyle};
use pumasi_common::{PublishOutcome, TaskId, broker::Publication, outcome::Outcome};
use pumasi_producer::Client;
use pumasi_service::shutdown;
use std::{
    cell::RefCell,
    io::IsTerminal,
    num::NonZeroUsize,
    pin::pin,
    process::ExitCode,
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// How many tasks that failed are spelled out; the summary counts the others.
const FAILURES_SHOWN: u64 = 20;

/// What is needed to submit and to wait.
pub(super) struct Work<'a> {
    pub(super) client: &'a Client,
    pub(super) window: NonZeroUsize,
    pub(super) json: bool,
    /// The longest wait after the last submit.
    pub(super) timeout: Duration,
    pub(super) tally: &'a RefCell<Tally>,
}

/// How many ended how.
#[derive(Default)]
struct Ends {
    done: u64,
    dead: u64,
    cancelled: u64,
}

pub(super) async fn submit(
    work: Work<'_>,
    tasks: impl Stream<Item = (Publication, u64)>,
    mut waiter: Waiter,
) -> ExitCode {
    let begun = Instant::now();
    let bar = progress();
    let mut ends = Ends::default();
    let status = until_the_end(&work, tasks, &mut waiter, (&mut ends, &bar)).await;
    bar.finish_and_clear();
    let open = waiter.close().await;
    let tally = work.tally.borrow();
    if tally.status != 0 {
        tally.tell(begun, work.json);
    }
    ends.tell(open.len(), begun, work.json);
    words::still_open(&open, work.json);
    let failed = u8::from(ends.dead + ends.cancelled > 0);
    ExitCode::from(status.max(tally.status).max(failed))
}

/// Submits and hears until all have ended; another exit status than 0 where they have not.
async fn until_the_end(
    work: &Work<'_>,
    tasks: impl Stream<Item = (Publication, u64)>,
    waiter: &mut Waiter,
    (ends, bar): (&mut Ends, &ProgressBar),
) -> u8 {
    let stop = shutdown::on_signals();
    let asked = &waiter.asked;
    let tasks = tasks.map(|(mut publication, _)| {
        asked.ask(&mut publication, Asks::Outcome);
        bar.inc_length(1);
        publication
    });
    let mut outcomes = pin!(work.client.submit_many(tasks, work.window));
    let mut submitted = false;
    let mut over = pin!(sleep(Duration::MAX));
    loop {
        if submitted && asked.open() == 0 {
            return 0;
        }
        tokio::select! {
            outcome = outcomes.next(), if !submitted => match outcome {
                Some(outcome) => count(work, asked, &outcome, bar),
                None => {
                    submitted = true;
                    over.set(sleep(work.timeout));
                }
            },
            heard = next(&mut waiter.consumer, asked) => match heard {
                Some((id, outcome)) => ends.count(&id, &outcome, work.json, bar),
                None => return words::lost(),
            },
            () = &mut over => return words::too_long(work.timeout),
            () = stop.intake.cancelled() => return words::INTERRUPTED,
        }
    }
}

fn count(work: &Work<'_>, asked: &Asked, outcome: &PublishOutcome, bar: &ProgressBar) {
    work.tally.borrow_mut().count(outcome, work.json, bar);
    if !matches!(outcome, PublishOutcome::Accepted(_)) {
        tell(outcome, work.json);
        asked.forget(outcome.id());
        bar.inc(1);
    }
}

impl Ends {
    fn count(&mut self, id: &TaskId, outcome: &Outcome, json: bool, bar: &ProgressBar) {
        if !outcome.is_final() {
            return;
        }
        bar.inc(1);
        if json {
            print_json(&words::line(id, outcome));
        } else {
            print(format_args!("{} {id}", outcome.as_str()));
        }
        match outcome {
            Outcome::Done(_) => self.done += 1,
            Outcome::Dead { .. } => {
                self.dead += 1;
                if !json && self.dead <= FAILURES_SHOWN {
                    bar.suspend(|| note(words::failure(id, outcome)));
                }
            }
            Outcome::Cancelled => self.cancelled += 1,
            Outcome::Started | Outcome::Progress(_) | Outcome::Retry { .. } => {}
        }
    }

    fn tell(&self, open: usize, begun: Instant, json: bool) {
        let seconds = begun.elapsed().as_secs_f64();
        let Self {
            done,
            dead,
            cancelled,
        } = self;
        if json {
            return note_json(&serde_json::json!({
                "done": done,
                "dead": dead,
                "cancelled": cancelled,
                "open": open,
                "seconds": seconds,
            }));
        }
        note(format_args!(
            "done {done}, dead {dead}, cancelled {cancelled}, open {open} in {seconds:.1} s"
        ));
    }
}

fn progress() -> ProgressBar {
    if !std::io::stderr().is_terminal() || std::io::stdout().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} ended {elapsed}") {
        bar.set_style(style);
    }
    bar
}
