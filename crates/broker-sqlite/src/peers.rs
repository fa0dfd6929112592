//! Processes that share a store: who lives, how one wakes another, who takes back what a dead or
//! stalled one held.
//!
//! A process with consumers has two files in the peers folder. `I.alive` is locked as long as the
//! process lives, and holds a counter that moves as long as it runs. `I.wake` is a pipe; a byte
//! in it says what has happened ([`Signal`]). All are watched in a ring: each by the one before it.

mod watch;

pub(crate) use watch::Reap;

use crate::{reader::Ask, store::Paths, writer::Command};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread,
    time::Duration,
};
use uuid::Uuid;

const ALIVE: &str = "alive";
const WAKE: &str = "wake";

/// What one process tells another, as a byte in its pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Something was assigned to it.
    Assigned = 1,
    /// A task is kept back and due before all others.
    Delayed = 2,
    /// Operators asked something of workers.
    Control = 3,
}

/// How often a process shows that it runs and looks at its neighbour, at most.
const TICK: Duration = Duration::from_millis(250);

/// The entry of this process; dropped, it is gone.
#[derive(Debug)]
pub(crate) struct Presence {
    pub(crate) instance: String,
    folder: PathBuf,
    /// Whether the store may still know a consumer of it.
    remembered: AtomicBool,
    ended: Arc<AtomicBool>,
    pipe: Arc<File>,
    /// Held locked until the entry is gone.
    _alive: Arc<File>,
    _stop: Sender<()>,
}

/// What a presence talks to.
pub(crate) struct Links {
    pub(crate) writer: Sender<Command>,
    pub(crate) reader: Sender<Ask>,
    pub(crate) stall_timeout: Duration,
}

impl Presence {
    /// Makes the entry and starts its two threads: one waits in the pipe, one ticks.
    pub(crate) fn start(paths: &Paths, links: Links) -> io::Result<Arc<Self>> {
        let folder = paths.peers.clone();
        fs::create_dir_all(&folder)?;
        let instance = Uuid::now_v7().simple().to_string();
        let wake = file_of(&folder, &instance, WAKE);
        rustix::fs::mknodat(CWD, &wake, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
        // Open in both directions it never sees an end.
        let pipe = Arc::new(OpenOptions::new().read(true).write(true).open(&wake)?);
        let alive = Arc::new(locked(&folder, &instance)?);
        let ended = Arc::new(AtomicBool::new(false));
        let (stop, stopped) = mpsc::channel();
        let tell = (links.reader.clone(), links.writer.clone());
        listen(Arc::clone(&pipe), Arc::clone(&ended), tell)?;
        let watch = watch::Watch::new(&folder, &instance, links.stall_timeout);
        tick(Arc::clone(&alive), stopped, watch, links)?;
        Ok(Arc::new(Self {
            instance,
            folder,
            remembered: AtomicBool::new(false),
            ended,
            pipe,
            _alive: alive,
            _stop: stop,
        }))
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        // An entry without a lock tells the others to take back what the store still thinks is held.
        if !self.remembered.load(Ordering::Acquire) {
            remove(&self.folder, &self.instance);
        }
        self.ended.store(true, Ordering::Release);
        // The listener ends at its next byte.
        let _ = (&*self.pipe).write(&[0]);
    }
}

/// A consumer's way out of its process's entry.
#[derive(Debug)]
pub(crate) struct Leaving {
    presence: Arc<Presence>,
    forgotten: bool,
}

impl Leaving {
    pub(crate) fn new(presence: Arc<Presence>) -> Self {
        Self {
            presence,
            forgotten: false,
        }
    }

    /// The store has forgotten the consumer.
    pub(crate) fn done(mut self) {
        self.forgotten = true;
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        if !self.forgotten {
            self.presence.remembered.store(true, Ordering::Release);
        }
    }
}

fn locked(folder: &Path, instance: &str) -> io::Result<File> {
    let fresh = file_of(folder, instance, "new");
    let file = OpenOptions::new()
        .create_new(true)
        .read(true)
        .write(true)
        .open(&fresh)?;
    file.lock()?;
    file.write_all_at(&0_u64.to_le_bytes(), 0)?;
    fs::rename(&fresh, file_of(folder, instance, ALIVE))?;
    Ok(file)
}

fn listen(
    pipe: Arc<File>,
    ended: Arc<AtomicBool>,
    (reader, writer): (Sender<Ask>, Sender<Command>),
) -> io::Result<()> {
    let run = move || {
        let mut bytes = [0; 4096];
        loop {
            match (&*pipe).read(&mut bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    // The tick looks as well, only later.
                    tracing::debug!(%error, "wake pipe not readable");
                    return;
                }
                Ok(_) if ended.load(Ordering::Acquire) => return,
                Ok(count) => {
                    // As much as fits: there was room for no more, whatever it would have said.
                    let full = count == bytes.len();
                    let said = |signal: Signal| {
                        let mut said = bytes.iter().take(count);
                        full || said.any(|byte| *byte == signal as u8)
                    };
                    let sent = [
                        said(Signal::Assigned).then(|| reader.send(Ask::Refresh).is_ok()),
                        said(Signal::Delayed).then(|| writer.send(Command::Look).is_ok()),
                        said(Signal::Control).then(|| reader.send(Ask::Control).is_ok()),
                    ];
                    if sent.contains(&Some(false)) {
                        return;
                    }
                }
            }
        }
    };
    thread::Builder::new()
        .name("pumasi-wake".to_owned())
        .spawn(run)
        .map(drop)
}

fn tick(
    alive: Arc<File>,
    stopped: mpsc::Receiver<()>,
    mut watch: watch::Watch,
    links: Links,
) -> io::Result<()> {
    let pause = TICK.min(links.stall_timeout / 4);
    let run = move || {
        let mut beat = 0_u64;
        while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
            beat += 1;
            if let Err(error) = alive.write_all_at(&beat.to_le_bytes(), 0) {
                tracing::debug!(%error, "sign of life not written");
            }
            if links.reader.send(Ask::Beat).is_err() {
                return;
            }
            for reap in watch.look() {
                if links.writer.send(Command::Reap(reap)).is_err() {
                    return;
                }
            }
        }
    };
    thread::Builder::new()
        .name("pumasi-beat".to_owned())
        .spawn(run)
        .map(drop)
}

/// The instances that have such a file.
fn entries(folder: &Path, what: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            let instance = name.strip_suffix(what)?.strip_suffix('.')?;
            Some(instance.to_owned())
        })
        .collect()
}

/// Whether any instance has a living process.
pub(crate) fn any_alive(folder: &Path) -> bool {
    entries(folder, ALIVE)
        .iter()
        .any(|instance| is_alive(folder, instance))
}

fn file_of(folder: &Path, instance: &str, what: &str) -> PathBuf {
    folder.join(format!("{instance}.{what}"))
}

fn remove(folder: &Path, instance: &str) {
    for what in [ALIVE, WAKE] {
        match fs::remove_file(file_of(folder, instance, what)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::debug!(%error, instance, "peer entry not removed");
            }
            Ok(()) | Err(_) => {}
        }
    }
}

/// Whether the instance has a living process: its entry is locked.
pub(crate) fn is_alive(folder: &Path, instance: &str) -> bool {
    match File::open(file_of(folder, instance, ALIVE)) {
        Ok(file) => matches!(file.try_lock_shared(), Err(fs::TryLockError::WouldBlock)),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

fn counter(folder: &Path, instance: &str) -> Option<u64> {
    let mut bytes = [0; 8];
    let file = File::open(file_of(folder, instance, ALIVE)).ok()?;
    file.read_exact_at(&mut bytes, 0).ok()?;
    Some(u64::from_le_bytes(bytes))
}

/// The pipes of other processes, kept open.
#[derive(Debug)]
pub(crate) struct Wakers {
    folder: PathBuf,
    pipes: HashMap<String, File>,
}

/// Most pipes kept open.
const PIPES_MAX: usize = 256;

impl Wakers {
    pub(crate) fn new(paths: &Paths) -> Self {
        Self {
            folder: paths.peers.clone(),
            pipes: HashMap::new(),
        }
    }

    /// Tells every living process, this one too.
    pub(crate) fn wake_all(&mut self, signal: Signal) {
        for instance in entries(&self.folder, WAKE) {
            self.wake(&instance, signal);
        }
    }

    /// Tells an instance. One that is not there is not missed: its neighbour takes its tasks back.
    pub(crate) fn wake(&mut self, instance: &str, signal: Signal) {
        if !self.pipes.contains_key(instance) {
            if self.pipes.len() >= PIPES_MAX {
                self.pipes.clear();
            }
            let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let path = file_of(&self.folder, instance, WAKE);
            match rustix::fs::open(&path, flags, Mode::empty()) {
                Ok(pipe) => self.pipes.insert(instance.to_owned(), File::from(pipe)),
                Err(_) => return,
            };
        }
        let Some(mut pipe) = self.pipes.get(instance) else {
            return;
        };
        match pipe.write(&[signal as u8]) {
            // Full: it is going to wake anyway.
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                self.pipes.remove(instance);
            }
            Ok(_) | Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_stays_for_the_others_where_the_store_still_knows_a_consumer() {
        for forgotten in [true, false] {
            let folder = tempfile::tempdir().unwrap();
            let paths = Paths::new(&folder.path().join("q.db"));
            let links = Links {
                writer: mpsc::channel().0,
                reader: mpsc::channel().0,
                stall_timeout: Duration::from_secs(10),
            };
            let presence = Presence::start(&paths, links).unwrap();
            let alive = file_of(&paths.peers, &presence.instance, ALIVE);
            let leaving = Leaving::new(presence);
            if forgotten {
                leaving.done();
            } else {
                drop(leaving);
            }
            assert_eq!(alive.exists(), !forgotten);
        }
    }
}
