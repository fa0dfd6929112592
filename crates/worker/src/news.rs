//! News: how far a task is, on its way to whoever waits for it.

use pumasi_common::{Broker, Task, outcome::Outcome};
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, task::JoinHandle};

/// News of one task leave no faster than this.
const PAUSE: Duration = Duration::from_millis(250);

/// Where a handler's progress goes. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct News(Arc<watch::Sender<Option<String>>>);

impl News {
    /// Takes the place of what was not told yet.
    pub(crate) fn tell(&self, text: String) {
        self.0.send_replace(Some(text));
    }
}

/// Forwards the news of one run until it is dropped: what is not out by then is overtaken by the
/// outcome.
#[derive(Debug)]
pub(crate) struct Forwarder(JoinHandle<()>);

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Begins to forward the news of a task, where anybody wants them.
pub(crate) fn forward(broker: &Arc<dyn Broker>, task: &Arc<Task>) -> Option<(News, Forwarder)> {
    if task.reply_to.is_none() || !task.wants_progress {
        return None;
    }
    let (sender, mut texts) = watch::channel(None);
    let (broker, task) = (Arc::clone(broker), Arc::clone(task));
    let publish = async move {
        let tell = async |outcome: Outcome| {
            if let Some(message) = outcome.message(&task) {
                // Best effort: the outcome is what counts.
                let _ = broker.publish(message).await;
            }
        };
        tell(Outcome::Started).await;
        while texts.changed().await.is_ok() {
            let text = texts.borrow_and_update().clone();
            if let Some(text) = text {
                tell(Outcome::Progress(text)).await;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    Some((News(Arc::new(sender)), Forwarder(tokio::spawn(publish))))
}
