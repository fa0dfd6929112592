//! A disk of its own for a test: it loses power, and it is full, when the test says so.
//!
//! An image file with ext4 on it, mounted by a loop device. The journal is written every ten
//! minutes in place of every five seconds, so what nobody has synced stays in memory, and is gone
//! when the file system is shut down without writing it: what a power cut does, and `kill -9` does
//! not. Needs root, loop devices and `xfs_io`; [`Disk::available`] says what is missing.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a fixture that cannot start fails its test"
)]

use std::{
    fs::File,
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

/// What the folders of all disks begin with.
const PREFIX: &str = "pumasi-disk-";
/// Locked by the process that owns the disk, so that others can tell when it has gone.
const OWNER: &str = "owner";
/// Where the image is mounted, below the disk's folder.
const MOUNT: &str = "mnt";
/// The file that fills the disk.
const FILLER: &str = "filler";
/// The journal is not written by itself before this many seconds.
const COMMIT_SECONDS: u32 = 600;
/// How long a process that was killed may still hold its files.
const BUSY_LIMIT: Duration = Duration::from_secs(10);
/// How often a busy disk is tried again.
const POLL: Duration = Duration::from_millis(20);

/// A mounted disk. Unmounted and removed when dropped.
#[derive(Debug)]
pub struct Disk {
    image: PathBuf,
    mount: PathBuf,
    /// Closed, and by that unlocked, by the system however this process ends.
    _owner: File,
    /// Last, so that it is removed when nothing is mounted in it.
    _folder: tempfile::TempDir,
}

impl Disk {
    /// Whether such disks can be had here; says what is missing otherwise.
    ///
    /// # Errors
    /// A clause for a person.
    pub fn available() -> Result<(), String> {
        if !rustix::process::geteuid().is_root() {
            return Err("disks that lose power need root".to_owned());
        }
        if !Path::new("/dev/loop-control").exists() {
            return Err("disks that lose power need loop devices: no /dev/loop-control".to_owned());
        }
        for (tool, package) in [("mkfs.ext4", "e2fsprogs"), ("xfs_io", "xfsprogs")] {
            if Command::new(tool).arg("-V").output().is_err() {
                return Err(format!(
                    "disks that lose power need {tool}: apt-get install {package}"
                ));
            }
        }
        Ok(())
    }

    /// A disk of this size in the folder for temporary files.
    ///
    /// # Panics
    /// When it cannot be had.
    #[must_use]
    pub fn new(mebibytes: u64) -> Self {
        Self::new_in(&std::env::temp_dir(), mebibytes)
    }

    /// A disk of this size, image and mount point both below the folder.
    ///
    /// # Panics
    /// When it cannot be had.
    #[must_use]
    pub fn new_in(place: &Path, mebibytes: u64) -> Self {
        forget_orphans();
        let folder = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir_in(place)
            .expect("a folder for the disk");
        let owner = File::create(folder.path().join(OWNER)).expect("a file for the owner");
        owner.lock().expect("nobody else knows it");
        let image = folder.path().join("image");
        let sparse = File::create(&image).expect("an image");
        sparse.set_len(mebibytes << 20).expect("a sparse file");
        // No blocks are kept for root, and nothing is left for the kernel to do later.
        let options = "lazy_itable_init=0,lazy_journal_init=0";
        call("mkfs.ext4", &["-q", "-F", "-m", "0", "-E", options], &image);
        let mount = folder.path().join(MOUNT);
        std::fs::create_dir(&mount).expect("a mount point");
        let disk = Self {
            image,
            mount,
            _owner: owner,
            _folder: folder,
        };
        disk.mount();
        disk
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.mount
    }

    /// Cuts the power: from now on every call fails, and what was not synced never gets written.
    ///
    /// # Panics
    /// When the file system takes it for nothing.
    pub fn lose_power(&self) {
        // Without `-f`: the log is not flushed before.
        call("xfs_io", &["-x", "-c", "shutdown"], &self.mount);
        let probe = File::create(self.mount.join("probe"));
        assert!(probe.is_err(), "the disk is written after its power cut");
    }

    /// Writes everything that is not yet written, as the system does by itself within half a minute.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn sync(&self) {
        call("sync", &["-f"], &self.mount);
    }

    /// Gives the power back: mounts it again, as a restarted machine does. Who used it before has
    /// to be gone.
    ///
    /// # Panics
    /// When somebody still uses it, or it cannot be mounted.
    pub fn restore_power(&self) {
        let end = Instant::now() + BUSY_LIMIT;
        while let Err(problem) = tried("umount", &[], &self.mount) {
            assert!(Instant::now() < end, "{problem}");
            std::thread::sleep(POLL);
        }
        self.mount();
    }

    /// Takes all room that is left; gives how many bytes that was.
    ///
    /// # Panics
    /// When it cannot be written for another reason.
    pub fn fill(&self) -> u64 {
        let mut filler = File::options()
            .create(true)
            .append(true)
            .open(self.mount.join(FILLER))
            .expect("a file that fills the disk");
        let mut taken = 0;
        loop {
            // Ever smaller pieces, down to a block.
            let sizes = [1 << 20, 1 << 16, 1 << 12];
            let more: u64 = sizes.map(|size| fill_with(&mut filler, size)).iter().sum();
            // Blocks are set aside generously until they are written; then some are free again.
            filler.sync_all().expect("the filler is written");
            taken += more;
            if more == 0 {
                return taken;
            }
        }
    }

    /// Gives the room back.
    ///
    /// # Panics
    /// When it was not filled.
    pub fn make_room(&self) {
        std::fs::remove_file(self.mount.join(FILLER)).expect("a disk that was filled");
        // Blocks are free when the journal says so, which it would not for ten minutes.
        self.sync();
    }

    fn mount(&self) {
        let image = self.image.display().to_string();
        let options = format!("loop,commit={COMMIT_SECONDS}");
        call("mount", &["-o", &options, &image], &self.mount);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a process that still uses it keeps nobody else from ending.
        if let Err(problem) = tried("umount", &["-l"], &self.mount) {
            eprintln!("{problem}");
        }
    }
}

/// Unmounts what processes that were killed have left mounted.
fn forget_orphans() {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for line in mounts.lines().filter(|line| line.starts_with("/dev/loop")) {
        let point = Path::new(line.split(' ').nth(1).unwrap_or_default());
        let Some(folder) = point.parent().filter(|_| point.ends_with(MOUNT)) else {
            continue;
        };
        let is_ours = folder
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.starts_with(PREFIX));
        let is_orphan = || File::open(folder.join(OWNER)).is_ok_and(|file| file.try_lock().is_ok());
        if is_ours && is_orphan() && tried("umount", &["-l"], point).is_ok() {
            // What is left of it takes room, and no more.
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

/// Writes pieces of this size until there is no room; gives how many bytes that was.
fn fill_with(filler: &mut File, size: usize) -> u64 {
    let zeros = vec![0; size];
    let mut taken = 0;
    loop {
        match filler.write(&zeros) {
            Ok(0) => return taken,
            Ok(written) => taken += written as u64,
            Err(error) if error.kind() == ErrorKind::StorageFull => return taken,
            Err(error) => panic!("the disk is not filled: {error}"),
        }
    }
}

fn call(program: &str, arguments: &[&str], path: &Path) {
    if let Err(problem) = tried(program, arguments, path) {
        panic!("{problem}");
    }
}

fn tried(program: &str, arguments: &[&str], path: &Path) -> Result<(), String> {
    let output = Command::new(program).args(arguments).arg(path).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} {}: {}", path.display(), said.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> Option<Disk> {
        match Disk::available() {
            Ok(()) => Some(Disk::new(32)),
            Err(missing) => {
                println!("skipped: {missing}");
                None
            }
        }
    }

    #[test]
    fn a_power_cut_takes_what_was_not_synced_and_leaves_what_was() {
        let Some(disk) = disk() else { return };
        let at = |name: &str| disk.path().join(name);
        let text = "x".repeat(10_000);
        let mut synced = File::create(at("synced")).unwrap();
        synced.write_all(text.as_bytes()).unwrap();
        synced.sync_all().unwrap();
        drop(synced);
        std::fs::write(at("unsynced"), &text).unwrap();
        disk.lose_power();
        assert!(std::fs::write(at("after"), &text).is_err());
        disk.restore_power();
        assert_eq!(std::fs::read_to_string(at("synced")).unwrap(), text);
        let unsynced = std::fs::read_to_string(at("unsynced")).unwrap_or_default();
        assert_eq!(unsynced, "");
        assert!(!at("after").exists());
        std::fs::write(at("after"), &text).unwrap();
    }

    #[test]
    fn a_full_disk_refuses_until_it_has_room() {
        let Some(disk) = disk() else { return };
        let file = disk.path().join("file");
        let text = "x".repeat(100_000);
        assert!(disk.fill() > 1 << 20);
        let error = std::fs::write(&file, &text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        disk.make_room();
        std::fs::write(&file, &text).unwrap();
    }

    #[test]
    fn a_dropped_disk_is_unmounted_and_an_orphan_is_forgotten() {
        let Some(disk) = disk() else { return };
        let mounted = |path: &Path| {
            let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
            mounts.contains(path.to_str().unwrap())
        };
        let path = disk.path().to_owned();
        assert!(mounted(&path));
        drop(disk);
        assert!(!mounted(&path) && !path.exists());

        let orphan = Disk::new(32);
        let path = orphan.path().to_owned();
        forget_orphans();
        assert!(mounted(&path), "its owner lives");
        rustix::fs::flock(&orphan._owner, rustix::fs::FlockOperation::Unlock).unwrap();
        forget_orphans();
        assert!(!mounted(&path));
    }
}
