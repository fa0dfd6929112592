//! `pumasi submit --wait`: hears how submitted tasks go on and end.

mod open;
pub(super) mod tell;

pub(super) use open::Asks;

use super::{Session, submit_one, tell_one};
use crate::{
    failure::{self, Failure},
    say::{note, note_json, print_json},
};
use futures_util::StreamExt;
use indicatif::ProgressBar;
use open::Open;
use pumasi_common::{
    Broker, Consumer, PublishOutcome, Settlement, TaskId, broker::Publication, outcome::Outcome,
};
use pumasi_producer::Client;
use pumasi_service::shutdown;
use std::{
    cell::RefCell,
    io::{IsTerminal, Write},
    pin::pin,
    process::ExitCode,
    time::Duration,
};
use tokio::time::sleep;

/// How often the spinner turns while nothing is heard.
const SPIN: Duration = Duration::from_millis(120);

/// A queue for outcomes and the tasks whose outcomes it is for.
pub(super) struct Waiter {
    pub(super) asked: Asked,
    pub(super) consumer: Box<dyn Consumer>,
}

/// What has been asked for.
pub(super) struct Asked {
    to: String,
    open: RefCell<Open>,
}

impl Waiter {
    pub(super) async fn open(broker: &dyn Broker) -> Result<Self, Failure> {
        let replies = broker.replies().await?;
        Ok(Self {
            asked: Asked {
                to: replies.to,
                open: RefCell::default(),
            },
            consumer: replies.consumer,
        })
    }

    /// Gives up the queue; gives the tasks that have not ended.
    pub(super) async fn close(self) -> Vec<TaskId> {
        self.consumer.close().await;
        self.asked.open.into_inner().into_ids()
    }
}

impl Asked {
    /// Has the outcome of a task sent to us.
    pub(super) fn ask(&self, publication: &mut Publication, asks: Asks) {
        let task = &mut publication.task;
        task.reply_to = Some(self.to.clone());
        task.correlation_id = Some(task.id.as_str().to_owned());
        task.wants_progress = asks == Asks::News;
        self.open.borrow_mut().expect(&task.id);
    }

    /// A task that was not accepted is not waited for.
    pub(super) fn forget(&self, id: &TaskId) {
        self.open.borrow_mut().forget(id);
    }

    /// How many tasks have not ended.
    pub(super) fn open(&self) -> usize {
        self.open.borrow().len()
    }
}

/// The next news or outcome of a task that has not ended. `None` where no more can be heard.
///
/// # Cancel safety
/// Cancel safe: what was taken is given out.
pub(super) async fn next(
    consumer: &mut Box<dyn Consumer>,
    asked: &Asked,
) -> Option<(TaskId, Outcome)> {
    loop {
        let delivery = consumer.next().await?;
        let heard = asked.open.borrow_mut().hear(delivery.task());
        // Superseded means that it comes again, and is then ignored.
        let _ = delivery.settle(Settlement::Ack);
        if heard.is_some() {
            return heard;
        }
    }
}

/// Submits one task and waits for its end.
pub(super) async fn one(
    session: &Session,
    client: &Client,
    mut publication: Publication,
    timeout: Duration,
) -> Result<ExitCode, Failure> {
    let json = session.global.json;
    let stop = shutdown::on_signals();
    let mut waiter = Waiter::open(&*session.broker).await?;
    waiter.asked.ask(&mut publication, Asks::News);
    let id = match submit_one(client, publication).await {
        PublishOutcome::Accepted(id) => id,
        outcome @ (PublishOutcome::Refused(..) | PublishOutcome::Unknown(..)) => {
            waiter.close().await;
            return Ok(tell_one(outcome, json));
        }
    };
    let news = News::begin(&id, json);
    let mut over = pin!(sleep(timeout));
    let status = loop {
        tokio::select! {
            heard = next(&mut waiter.consumer, &waiter.asked) => match heard {
                Some((_, outcome)) if outcome.is_final() => {
                    news.end();
                    break ended(&id, &outcome, json)?;
                }
                Some((_, outcome)) => news.tell(&outcome),
                None => break tell::lost(),
            },
            () = &mut over => break tell::too_long(timeout),
            () = stop.intake.cancelled() => break tell::INTERRUPTED,
        }
    };
    news.end();
    tell::still_open(&waiter.close().await, json);
    Ok(ExitCode::from(status))
}

/// Tells the end of a task; gives the exit status.
fn ended(id: &TaskId, outcome: &Outcome, json: bool) -> Result<u8, Failure> {
    if json {
        print_json(&tell::line(id, outcome));
    }
    if let Outcome::Done(output) = outcome {
        if !json {
            let mut out = std::io::stdout().lock();
            out.write_all(&output.payload)
                .and_then(|()| out.flush())
                .map_err(|error| failure::internal("cannot write the result", error))?;
        }
        return Ok(0);
    }
    if !json {
        note(tell::failure(id, outcome));
    }
    Ok(1)
}

/// Says how a task goes on: beside a spinner for a person, as lines elsewhere.
struct News<'a> {
    id: &'a TaskId,
    json: bool,
    spinner: Option<ProgressBar>,
}

impl<'a> News<'a> {
    fn begin(id: &'a TaskId, json: bool) -> Self {
        let spins = !json && std::io::stderr().is_terminal();
        let spinner = spins.then(|| {
            let spinner = ProgressBar::new_spinner().with_message(format!("accepted {id}"));
            spinner.enable_steady_tick(SPIN);
            spinner
        });
        let news = Self { id, json, spinner };
        if json {
            note_json(&serde_json::json!({ "id": id, "outcome": "accepted" }));
        } else if news.spinner.is_none() {
            note(format_args!("accepted {id}"));
        }
        news
    }

    fn tell(&self, outcome: &Outcome) {
        if self.json {
            return note_json(&tell::line(self.id, outcome));
        }
        let text = tell::news(outcome);
        match &self.spinner {
            Some(spinner) => spinner.set_message(text),
            None => note(text),
        }
    }

    fn end(&self) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
    }
}
