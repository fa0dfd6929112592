//! Tasks from a file: read ahead a little, published in a window, told as they are confirmed.

mod read;
mod tally;
mod wait;

pub(super) use read::Source;

use super::{Session, tell, wait::Waiter};
use crate::cli::{OnError, Submit};
use futures_util::{Stream, StreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};
use pumasi_common::broker::Publication;
use pumasi_producer::Client;
use read::Item;
use std::{
    cell::RefCell, io::IsTerminal, num::NonZeroUsize, pin::pin, process::ExitCode, time::Instant,
};
use tally::Tally;
use tokio::sync::mpsc;

/// Submits a file and, where somebody waits, waits for the outcomes.
pub(super) async fn submit(
    session: &Session,
    client: &Client,
    source: Source,
    arguments: &Submit,
    waiter: Option<Waiter>,
) -> ExitCode {
    let json = session.global.json;
    let bar = progress(source.size);
    let begun = Instant::now();
    let mut lines = read::spawn(source, arguments);
    let tally = RefCell::new(Tally::default());
    if let Some(waiter) = waiter {
        let tasks = tasks(&mut lines, arguments.on_error, &tally, &bar);
        let work = wait::Work {
            client,
            window: window(session),
            json,
            timeout: arguments.wait_timeout,
            tally: &tally,
        };
        return wait::submit(work, tasks, waiter).await;
    }
    let tasks = tasks(&mut lines, arguments.on_error, &tally, &bar).map(|(publication, bytes)| {
        bar.inc(bytes);
        publication
    });
    let mut outcomes = pin!(client.submit_many(tasks, window(session)));
    while let Some(outcome) = outcomes.next().await {
        // The bar is not shown where the ids go to a terminal, so nothing has to make way.
        tell(&outcome, json);
        tally.borrow_mut().count(&outcome, json, &bar);
    }
    bar.finish_and_clear();
    let tally = tally.borrow();
    tally.tell(begun, json);
    ExitCode::from(tally.status)
}

fn window(session: &Session) -> NonZeroUsize {
    let window = usize::from(session.settings.broker.publish_window);
    NonZeroUsize::new(window).unwrap_or(NonZeroUsize::MIN)
}

/// The tasks of the lines, with their bytes. Lines that are none are told where it happens: they
/// never reach the outcomes.
fn tasks<'a>(
    lines: &'a mut mpsc::Receiver<Item>,
    on_error: OnError,
    tally: &'a RefCell<Tally>,
    bar: &'a ProgressBar,
) -> impl Stream<Item = (Publication, u64)> + use<'a> {
    let stop = on_error == OnError::Stop;
    stream::poll_fn(|cx| lines.poll_recv(cx))
        .take_while(move |item| {
            if let Err(error) = item {
                tally.borrow_mut().refuse_line(error, bar);
            }
            std::future::ready(!(stop && item.is_err()))
        })
        .filter_map(|item| std::future::ready(item.ok()))
}

fn progress(size: Option<u64>) -> ProgressBar {
    match size {
        Some(size) if std::io::stderr().is_terminal() && !std::io::stdout().is_terminal() => {
            let bar = ProgressBar::new(size);
            if let Ok(style) =
                ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {elapsed} eta {eta}")
            {
                bar.set_style(style);
            }
            bar
        }
        _ => ProgressBar::hidden(),
    }
}
