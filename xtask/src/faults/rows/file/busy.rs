//! Another program writes to the file, too, and does not queue where ours do.

use crate::{
    faults::{fleet::Fleet, making::Making},
    process::Result,
};
use pumasi_testkit::faults::ledger::Target;
use std::{
    io::Write,
    process::{Child, Command, Stdio},
};

/// How many programs take the write lock in turns.
const HOLDERS: u64 = 7;
/// How often each takes it.
const TIMES: usize = 12;

/// Says what is missing for it.
pub(super) fn available() -> Result {
    match Command::new("sqlite3").arg("-version").output() {
        Ok(_) => Ok(()),
        Err(_) => Err("sqlite3 is not installed: apt-get install sqlite3".to_owned()),
    }
}

/// Has the write lock of the database taken by others, again and again.
pub(super) fn hold(making: &Making<'_>, fleet: &mut Fleet<'_>) -> Result {
    let path = making.stage.url.trim_start_matches("sqlite:");
    let mark = making.begin(fleet, Target::All)?;
    let holders = (0..HOLDERS).map(|_| {
        let (held, free) = (20 + making.below(150), 1 + making.below(30));
        start(path, held, free)
    });
    let holders = holders.collect::<Result<Vec<_>>>()?;
    let mut taken = 0;
    for holder in holders {
        let output = holder.wait_with_output().map_err(text)?;
        let said = String::from_utf8_lossy(&output.stdout);
        taken += said.matches("held").count();
    }
    making.healed(fleet, mark)?;
    if taken == 0 {
        return Err("nobody got the lock".to_owned());
    }
    making.bit(fleet, mark, format!("others held the lock {taken} times"))
}

/// A program that holds the write lock for so many milliseconds and lets it go for so many.
fn start(path: &str, held: u64, free: u64) -> Result<Child> {
    let mut child = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--", "sqlite3", path])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(text)?;
    let round = format!(
        "BEGIN IMMEDIATE;\nSELECT 'held';\n.shell sleep {}\nCOMMIT;\n.shell sleep {}\n",
        seconds(held),
        seconds(free)
    );
    let script = format!(".timeout 60000\n{}", round.repeat(TIMES));
    let mut input = child.stdin.take().ok_or("no input")?;
    input.write_all(script.as_bytes()).map_err(text)?;
    Ok(child)
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1_000, ms % 1_000)
}

fn text(error: impl ToString) -> String {
    error.to_string()
}
