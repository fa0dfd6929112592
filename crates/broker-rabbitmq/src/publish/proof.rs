//! After a loss, one publish goes first.
//!
//! A node that takes connections again may not lead its queues yet. RabbitMQ keeps what a channel
//! publishes to such a queue, and may look for the leader again only after ten seconds, while
//! another channel would find it at once. So a channel that follows a lost one gets one publish,
//! and has a short time to confirm it: either all others follow, or the next channel is tried. That
//! keeps small what may arrive twice, too. Each silent channel gives the next one four times the
//! time, since a broker may also be that slow, and may keep each sending until a majority is back.

use std::time::Duration;
use tokio::time::Instant;

/// How long the first channel after a loss has for its first confirm.
const PATIENCE: Duration = Duration::from_secs(1);
/// How much more time each further one has, and how often it is given more.
const GROWTH: u32 = 4;
const GROWN_MAX: u32 = 3;

/// Whether a channel has shown that it works.
#[derive(Debug)]
pub(super) struct Proof {
    /// How many channels before it were silent.
    silent: u32,
    /// How long it has for that; `None` where nothing is to be shown.
    patience: Option<Duration>,
    /// Until when, once something was sent.
    until: Option<Instant>,
}

impl Proof {
    /// Of a channel that follows a number of silent ones, or of the first channel of all.
    pub(super) fn new(silent: Option<u32>) -> Self {
        let patience = silent.map(|silent| PATIENCE * GROWTH.pow(silent.min(GROWN_MAX)));
        Self {
            silent: silent.unwrap_or(0),
            patience,
            until: None,
        }
    }

    /// How many silent channels there are before the next one.
    pub(super) fn silent(&self) -> u32 {
        match self.patience {
            None => 0,
            Some(_) => self.silent.saturating_add(u32::from(self.is_late())),
        }
    }

    /// Whether more than one publish may be under way.
    pub(super) fn is_given(&self) -> bool {
        self.patience.is_none()
    }

    /// A confirm came.
    pub(super) fn give(&mut self) {
        self.patience = None;
    }

    /// Something was sent.
    pub(super) fn begin(&mut self) {
        if let Some(patience) = self.patience {
            self.until.get_or_insert_with(|| Instant::now() + patience);
        }
    }

    /// Whether the time is over. A broker that reads nothing has all the time.
    pub(super) fn is_late(&self) -> bool {
        self.patience.is_some() && self.until.is_some_and(|until| until <= Instant::now())
    }

    /// A broker that has read nothing so far has its time from now on.
    pub(super) fn put_off(&mut self) {
        if let (Some(patience), Some(until)) = (self.patience, &mut self.until) {
            *until = Instant::now() + patience;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_silent_channel_gives_the_next_one_four_times_the_time() {
        for (silent, seconds) in [(0, 1), (1, 4), (2, 16), (3, 64), (60, 64)] {
            let mut proof = Proof::new(Some(silent));
            tokio::time::advance(Duration::from_secs(100)).await;
            assert!(!proof.is_late(), "nothing was sent yet");
            assert_eq!(proof.silent(), silent);
            proof.begin();
            tokio::time::advance(Duration::from_millis(seconds * 1000 - 1)).await;
            proof.begin();
            assert!(!proof.is_late(), "{silent} silent ones");
            tokio::time::advance(Duration::from_millis(1)).await;
            assert!(proof.is_late(), "{silent} silent ones");
            assert_eq!(proof.silent(), silent + 1);
            proof.give();
            assert!(!proof.is_late() && proof.is_given());
            assert_eq!(proof.silent(), 0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_of_a_block_does_not_count() {
        let mut proof = Proof::new(Some(0));
        proof.begin();
        tokio::time::advance(PATIENCE).await;
        proof.put_off();
        assert!(!proof.is_late());
        tokio::time::advance(PATIENCE).await;
        assert!(proof.is_late());
    }

    #[test]
    fn the_first_channel_of_all_has_nothing_to_prove() {
        let mut proof = Proof::new(None);
        proof.begin();
        assert!(proof.is_given() && !proof.is_late());
    }
}
