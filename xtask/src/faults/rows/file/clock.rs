//! The clock of the machine is set by an hour, for all that use the file.
//!
//! `libfaketime` tells the processes another time than it is; the clock that cannot be set goes
//! on. A task that is kept back is due by the clock of the machine. So the clock is set forward for
//! good, and back for a while only: what was kept back for 200 ms would have to wait for an hour.

use crate::{
    faults::{
        fleet::{Fleet, QUEUE, until},
        making::Making,
    },
    process::Result,
};
use pumasi_testkit::faults::ledger::Target;
use std::{
    path::Path,
    thread::sleep,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// What makes a process read its clock from the file `clock` in its folder.
pub(super) const ENVIRONMENT: &[(&str, &str)] = &[
    ("LD_PRELOAD", LIBRARY),
    ("FAKETIME_TIMESTAMP_FILE", FILE),
    ("FAKETIME_NO_CACHE", "1"),
    ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ("DONT_FAKE_MONOTONIC", "1"),
    ("NO_FAKE_STAT", "1"),
];

/// The system's linker puts the folder of the machine's kind in place of `$LIB`.
const LIBRARY: &str = "/usr/$LIB/faketime/libfaketimeMT.so.1";
const FILE: &str = "clock";
const HOUR: i64 = 3_600;
/// How far the clock of a dead letter may be from the one that was set.
const NEAR: u64 = 600;
/// How long the clock is wrong before it is set back.
const WRONG: Duration = Duration::from_secs(2);

/// Says what is missing for it.
pub(super) fn available() -> Result {
    let folder = Path::new("/usr/lib");
    let is_there = |part: &Path| part.join("faketime/libfaketimeMT.so.1").exists();
    let mut parts = folder.read_dir().into_iter().flatten().flatten();
    if is_there(folder) || parts.any(|part| is_there(&part.path())) {
        return Ok(());
    }
    Err("libfaketime is not installed: apt-get install faketime".to_owned())
}

/// Sets the clock an hour forward; or an hour back, and forward again.
pub(super) fn set(making: &Making<'_>, fleet: &mut Fleet<'_>) -> Result {
    let before = std::fs::read_to_string(fleet.folder.join(FILE));
    let before = before.map_or(0, |text| text.trim().parse::<i64>().unwrap_or(0));
    let is_forward = making.below(2) == 0;
    let offset = before + if is_forward { HOUR } else { -HOUR };
    let mark = making.begin(fleet, Target::All)?;
    write(fleet, offset)?;
    // Some are rejected all the time; their letters say when.
    let seen = until("a dead letter of the new time", || {
        latest(fleet).is_ok_and(|at| at.iter().any(|at| is_near(*at, offset)))
    });
    sleep(WRONG);
    if !is_forward {
        write(fleet, before)?;
    }
    making.healed(fleet, mark)?;
    seen?;
    making.bit(fleet, mark, format!("a dead letter {offset} s from now"))
}

fn write(fleet: &Fleet<'_>, offset: i64) -> Result {
    let (path, part) = (fleet.folder.join(FILE), fleet.folder.join("clock.part"));
    let written = std::fs::write(&part, format!("{offset:+}\n"));
    let moved = written.and_then(|()| std::fs::rename(part, path));
    moved.map_err(|error| error.to_string())
}

/// When the dead letters died, in seconds since 1970.
fn latest(fleet: &Fleet<'_>) -> Result<Vec<u64>> {
    let letters = fleet.ask(&["dead", "list", QUEUE, "--limit", "1000000"])?;
    Ok(letters
        .iter()
        .filter_map(|letter| letter["dead_at"].as_u64())
        .collect())
}

/// Whether a time is this far from the present one, nearly.
fn is_near(at: u64, offset: i64) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let told = now
        .unwrap_or_default()
        .as_secs()
        .saturating_add_signed(offset);
    told.abs_diff(at) < NEAR
}
