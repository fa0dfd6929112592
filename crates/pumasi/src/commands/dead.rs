//! `pumasi dead list|show|replay|purge`: dead letters are looked at where they are, and leave
//! only when they are replayed or purged.

mod list;
mod purge;
mod replay;
mod show;

use super::Session;
use crate::{
    cli::{Dead, Global},
    failure::Failure,
    settings::Settings,
};
use futures_util::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use pumasi_common::{
    Consumer, QueueName,
    broker::{AdminError, Delivery},
};
use std::{
    io::IsTerminal,
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

pub(super) async fn run(global: Global, command: Dead) -> Result<ExitCode, Failure> {
    let session = Session::open(global).await?;
    let code = match command {
        Dead::List {
            name,
            of,
            filter,
            limit,
        } => {
            let queue = name.unwrap_or(of.queue);
            list::run(&session, &queue, &filter, limit).await
        }
        Dead::Show { id, of, payload } => show::run(&session, &of.queue, &id, payload).await,
        Dead::Replay {
            selection,
            yes: true,
            rate,
            ..
        } => replay::run(&session, &selection, rate).await,
        Dead::Purge {
            selection,
            yes: true,
        } => purge::run(&session, &selection).await,
        Dead::Replay { selection, .. } => list::preview(&session, &selection, "replayed").await,
        Dead::Purge { selection, .. } => list::preview(&session, &selection, "purged").await,
    };
    session.close().await;
    code
}

/// One walk through the dead letters of a work queue.
struct Letters {
    /// The work queue.
    work: QueueName,
    /// The queue that holds them.
    dead: QueueName,
    consumer: Box<dyn Consumer>,
}

impl Letters {
    async fn open(session: &Session, queue: &QueueName) -> Result<Self, Failure> {
        let (work, dead) = resolve(&session.settings, queue);
        let consumer = session.broker.admin().browse(&dead).await?;
        Ok(Self {
            work,
            dead,
            consumer,
        })
    }

    /// The next one; dropped, it stays where it is.
    async fn next(&mut self) -> Option<Delivery> {
        self.consumer.next().await
    }

    /// Tells the broker what was settled; an error where not all were seen.
    async fn close(self) -> Result<(), Failure> {
        let lost = !self.consumer.is_live();
        self.consumer.close().await;
        if lost {
            return Err(AdminError::Failed {
                problem: format!("the connection was lost while `{}` was read", self.dead),
                source: None,
            }
            .into());
        }
        Ok(())
    }

    /// A bar over all that are there now, where somebody looks.
    async fn bar(&self, session: &Session) -> ProgressBar {
        if !std::io::stderr().is_terminal() || std::io::stdout().is_terminal() {
            return ProgressBar::hidden();
        }
        let Ok(status) = session.broker.admin().queue(&self.dead).await else {
            return ProgressBar::hidden();
        };
        let bar = ProgressBar::new(status.ready);
        let template = "{bar:40} {pos}/{len} {elapsed} eta {eta}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar
    }
}

/// The work queue that is meant and the queue that holds its dead letters. The latter's own name
/// stands for both.
fn resolve(settings: &Settings, queue: &QueueName) -> (QueueName, QueueName) {
    let configured = settings.queues.iter().find(|spec| spec.name == *queue);
    if let Some(spec) = configured {
        let dead = spec.dead_letter_queue.clone();
        return (queue.clone(), dead.unwrap_or_else(|| queue.dead()));
    }
    let work = queue.as_str().strip_suffix(".dead");
    match work.and_then(|name| QueueName::new(name).ok()) {
        Some(work) => (work, queue.clone()),
        None => (queue.clone(), queue.dead()),
    }
}

fn since_1970() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

fn now_ms() -> u64 {
    u64::try_from(since_1970().as_millis()).unwrap_or(u64::MAX)
}

/// There is no such dead letter.
fn missing(what: &str, dead: &QueueName) -> ExitCode {
    crate::say::note(format_args!("{what} is not in `{dead}`"));
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;
    use pumasi_common::QueueSpec;

    #[test]
    fn a_queue_is_named_by_itself_by_its_dead_letters_or_as_configured() {
        let name = |text: &str| QueueName::new(text).unwrap();
        let mut settings = Settings::default();
        let resolved = |settings: &Settings, text: &str| {
            let (work, dead) = resolve(settings, &name(text));
            format!("{work} {dead}")
        };
        assert_eq!(resolved(&settings, "mail"), "mail mail.dead");
        assert_eq!(resolved(&settings, "mail.dead"), "mail mail.dead");
        settings.queues.push(QueueSpec {
            dead_letter_queue: Some(name("graves")),
            ..QueueSpec::new(name("mail"))
        });
        settings.queues.push(QueueSpec::new(name("the.dead")));
        assert_eq!(resolved(&settings, "mail"), "mail graves");
        assert_eq!(resolved(&settings, "the.dead"), "the.dead the.dead.dead");
    }
}
