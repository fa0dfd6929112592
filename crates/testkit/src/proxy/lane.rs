//! One direction of one connection: what comes in goes out, as fast and as far as it may.

use super::{
    Cut, Way,
    frames::Frames,
    orders::{Orders, Pace},
    trap::Traps,
};
use std::{collections::VecDeque, sync::Arc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::tcp::{ReadHalf, WriteHalf},
    sync::watch,
    time::{Instant, sleep_until},
};

/// What comes at once: as much as an Ethernet frame holds, so that late ones come one by one.
const SEGMENT: usize = 1_448;
/// Most segments on their way.
const WINDOW: usize = 1_024;

/// Why a direction ends before its stream does.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stop {
    /// A trap sprang.
    Cut(Cut),
    /// One of the two sides is gone.
    Gone,
}

pub(super) struct Lane<'a> {
    way: Way,
    from: ReadHalf<'a>,
    to: WriteHalf<'a>,
    orders: watch::Receiver<Orders>,
    traps: Arc<Traps>,
    frames: Frames,
    /// How often directions like this one had been ended when it began.
    finished: u64,
    /// What was read and not yet passed on, with the time from which it may be.
    waiting: VecDeque<(Instant, Vec<u8>)>,
    /// How many segments were read, and how many bytes were passed on.
    segments: u64,
    carried: u64,
    /// The beginning of a frame that may be one that is waited for.
    held: Vec<u8>,
    /// How much of a frame goes through before the cut.
    last: Option<(u64, Cut)>,
}

impl<'a> Lane<'a> {
    pub(super) fn new(
        way: Way,
        (from, to): (ReadHalf<'a>, WriteHalf<'a>),
        orders: watch::Receiver<Orders>,
        traps: Arc<Traps>,
    ) -> Self {
        let finished = orders.borrow().finished[way.index()];
        Self {
            way,
            from,
            to,
            orders,
            traps,
            frames: match way {
                Way::ToServer => Frames::from_client(),
                Way::ToClient => Frames::from_server(),
            },
            finished,
            waiting: VecDeque::new(),
            segments: 0,
            carried: 0,
            held: Vec::new(),
            last: None,
        }
    }

    /// Carries until the stream ends.
    pub(super) async fn run(mut self) -> Result<(), Stop> {
        let mut buffer = vec![0; SEGMENT];
        let mut is_open = true;
        loop {
            let orders = *self.orders.borrow_and_update();
            let pace = orders.paces[self.way.index()];
            if orders.finished[self.way.index()] > self.finished {
                return self.discard(&mut buffer).await;
            }
            self.pass_on_what_is_due(pace).await?;
            if !is_open && self.waiting.is_empty() {
                return self.end().await;
            }
            let due = self.waiting.front().map(|(at, _)| *at);
            let due = due.filter(|_| pace != Pace::Swallow);
            let room = match pace {
                Pace::Drip { bytes, .. } => bytes.clamp(1, SEGMENT),
                _ => SEGMENT,
            };
            tokio::select! {
                biased;
                changed = self.orders.changed() => changed.map_err(|_| Stop::Gone)?,
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
                read = self.from.read(&mut buffer[..room]), if is_open && self.may_read(pace) => {
                    match read.map_err(|_| Stop::Gone)? {
                        0 => is_open = false,
                        count => self.take(&buffer[..count]),
                    }
                }
            }
        }
    }

    fn may_read(&self, pace: Pace) -> bool {
        match pace {
            Pace::Forward | Pace::Late(_) => self.waiting.len() < WINDOW,
            Pace::Drip { .. } => self.waiting.is_empty(),
            Pace::Swallow => false,
        }
    }

    /// Notes what was read, and from when on it may be passed on by what is ordered now.
    fn take(&mut self, bytes: &[u8]) {
        let now = Instant::now();
        let earliest = self.waiting.back().map_or(now, |(at, _)| now.max(*at));
        let at = match self.orders.borrow().paces[self.way.index()] {
            Pace::Forward | Pace::Swallow => earliest,
            Pace::Late(latency) => earliest.max(now + latency.of(self.segments)),
            Pace::Drip { every, .. } => earliest + every,
        };
        self.segments += 1;
        self.waiting.push_back((at, bytes.to_vec()));
    }

    async fn pass_on_what_is_due(&mut self, pace: Pace) -> Result<(), Stop> {
        if pace == Pace::Swallow {
            return Ok(());
        }
        while self
            .waiting
            .front()
            .is_some_and(|(at, _)| *at <= Instant::now())
        {
            if let Some((_, bytes)) = self.waiting.pop_front() {
                self.pass_on(bytes).await?;
            }
        }
        Ok(())
    }

    /// Passes these bytes on, up to where the connection is to be cut.
    async fn pass_on(&mut self, bytes: Vec<u8>) -> Result<(), Stop> {
        let mut bytes = [std::mem::take(&mut self.held), bytes].concat();
        let wanted = self.traps.method(self.way);
        let found = self.frames.follow(&bytes);
        // One whose first bytes have gone through cannot be held.
        let whole = bytes.len().checked_sub(self.frames.unknown());
        if let (Some(known), Some(_), None) = (whole, wanted, self.last) {
            self.held = bytes.split_off(known);
            self.frames.forget_unknown();
        }
        if self.last.is_none() {
            let wanted = found.iter().find(|it| Some(it.method) == wanted);
            let frame = wanted.and_then(|it| Some((it.at?, it.size)));
            self.last = self.sprung(bytes.len() as u64, frame);
        }
        let cut = self.last.filter(|(left, _)| *left <= bytes.len() as u64);
        if let Some((left, _)) = cut {
            bytes.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        }
        self.traps.note(self.way, bytes.len());
        self.carried += bytes.len() as u64;
        self.to.write_all(&bytes).await.map_err(|_| Stop::Gone)?;
        if let Some((left, _)) = &mut self.last {
            *left -= bytes.len() as u64;
        }
        cut.map_or(Ok(()), |(_, how)| Err(Stop::Cut(how)))
    }

    /// How much goes through before the cut, where these bytes spring the trap. `frame` is where
    /// the one that is waited for begins, and its size.
    fn sprung(&self, bytes: u64, frame: Option<(u64, u64)>) -> Option<(u64, Cut)> {
        let begins = frame.map(|(at, _)| at);
        let (after, how) = self.traps.spring(self.way, (self.carried, bytes), begins)?;
        let most = frame.map_or(after, |(at, size)| at + size);
        Some((after.min(most), how))
    }

    /// Ends this direction: what is still said is lost.
    async fn discard(mut self, buffer: &mut [u8]) -> Result<(), Stop> {
        // Who has gone needs no end.
        let _ = self.to.shutdown().await;
        while self.from.read(buffer).await.map_err(|_| Stop::Gone)? > 0 {}
        Ok(())
    }

    async fn end(mut self) -> Result<(), Stop> {
        let held = std::mem::take(&mut self.held);
        let written = self.to.write_all(&held).await;
        written.map_err(|_| Stop::Gone)?;
        self.to.shutdown().await.map_err(|_| Stop::Gone)
    }
}
