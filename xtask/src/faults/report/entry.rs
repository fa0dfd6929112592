//! The figures of rows, kept beside the page that is written from them: rows are run at different
//! times, and each says when, from which version, and with which seed.

use super::super::{Done, IS_RELEASE, Profile};
use crate::process::{Result, said};
use pumasi_testkit::{
    faults::checker::{Report, Verdict, Violation},
    percentile::percentile,
};
use serde::{Deserialize, Serialize};
use std::{path::Path, time::Duration};

/// Where they are kept.
const FILE: &str = "docs/reliability.json";

/// The figures of a row on a broker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) profile: Profile,
    pub(super) name: String,
    pub(super) title: String,
    pub(super) broker: String,
    /// How often the row was run for these figures.
    pub(super) rounds: u32,
    /// What is wrong; nothing in a green row.
    pub(super) wrong: Vec<String>,
    pub(super) tasks: usize,
    pub(super) faults: usize,
    pub(super) caught: usize,
    pub(super) lost: usize,
    pub(super) extra: usize,
    pub(super) overlaps: usize,
    pub(super) dead: usize,
    /// Each measured recovery, in milliseconds, in order of size.
    pub(super) recoveries: Vec<u64>,
    /// What was aimed at, in milliseconds.
    pub(super) goal: Option<u64>,
    pub(super) seed: u64,
    pub(super) version: String,
    pub(super) date: String,
}

impl Entry {
    /// The figures of a row that was run, unsigned.
    pub(super) fn of(done: &Done) -> Self {
        let report = &done.report;
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let took = report.faults.iter().filter_map(|fault| fault.took);
        let mut recoveries: Vec<u64> = took.map(millis).collect();
        recoveries.sort_unstable();
        Self {
            profile: Profile::Ci,
            name: done.row.name.to_owned(),
            title: done.row.title.to_owned(),
            broker: done.broker.name().to_owned(),
            rounds: 1,
            wrong: wrong(report),
            tasks: report.accepted,
            faults: report.faults.len(),
            caught: report.caught,
            lost: report.count(Violation::Lost),
            extra: report.explained,
            overlaps: report.overlaps,
            dead: report.dead,
            recoveries,
            goal: done.row.goal.map(millis),
            seed: 0,
            version: String::new(),
            date: String::new(),
        }
    }

    /// Whether the two are of the same row, so that the later takes the earlier's place.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let is_soak = |entry: &Self| entry.profile == Profile::Soak;
        (is_soak(self), &self.name, &self.broker) == (is_soak(other), &other.name, &other.broker)
    }

    /// Adds a further round.
    pub(super) fn add(&mut self, other: &Self) {
        self.rounds += other.rounds;
        self.wrong.extend(other.wrong.iter().cloned());
        self.tasks += other.tasks;
        self.faults += other.faults;
        self.caught += other.caught;
        self.lost += other.lost;
        self.extra += other.extra;
        self.overlaps += other.overlaps;
        self.dead += other.dead;
        self.recoveries.extend(&other.recoveries);
        self.recoveries.sort_unstable();
    }

    /// Says from what the figures are.
    pub(super) fn sign(&mut self, seed: u64) {
        self.seed = seed;
        self.version = format!(
            "{} ({}{})",
            env!("CARGO_PKG_VERSION"),
            said("git", &["rev-parse", "--short=12", "HEAD"]),
            if IS_RELEASE { ", release build" } else { "" },
        );
        self.date = said("date", &["-u", "+%Y-%m-%d"]);
    }

    /// p50 and p99 of the recoveries, and what was aimed at: `0.05 s / 0.07 s (goal 1 s)`. A
    /// machine that does other things besides misses it, so that is told and not judged.
    pub(super) fn recovery(&self) -> String {
        let within = |percent| percentile(&self.recoveries, percent);
        let seconds = |ms: u64| format!("{:.2} s", Duration::from_millis(ms).as_secs_f64());
        let shown = |ms: Option<u64>| ms.map_or_else(|| "–".to_owned(), seconds);
        let (half, most) = (within(50), within(99));
        let goal = self.goal.map_or_else(String::new, |goal| {
            let is_missed = most.is_some_and(|most| most > goal);
            let missed = if is_missed { ", **missed**" } else { "" };
            format!(
                " (goal {} s{missed})",
                Duration::from_millis(goal).as_secs_f64()
            )
        });
        format!("{} / {}{goal}", shown(half), shown(most))
    }
}

/// What makes a row red or invalid.
fn wrong(report: &Report) -> Vec<String> {
    let each = report.violations.iter();
    let mut parts: Vec<String> = each
        .map(|(violation, ids)| format!("{} × {violation:?}", ids.len()))
        .collect();
    if report.left > 0 {
        parts.push(format!("{} tasks still waited at the end", report.left));
    }
    if report.verdict() == Verdict::Invalid {
        parts.push(format!("invalid: {}", report.invalid.join("; ")));
    }
    parts
}

/// Puts new figures in the place of earlier ones, keeps them, and gives all.
pub(super) fn keep(new: Vec<Entry>) -> Result<Vec<Entry>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(FILE);
    let mut all: Vec<Entry> = match std::fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text).map_err(|error| format!("{FILE}: {error}"))?,
        // The first run begins the file.
        Err(_) => Vec::new(),
    };
    for entry in new {
        match all.iter_mut().find(|known| known.is_like(&entry)) {
            Some(known) => *known = entry,
            None => all.push(entry),
        }
    }
    let line = |entry| serde_json::to_string(entry).map_err(|error| error.to_string());
    let lines = all.iter().map(line).collect::<Result<Vec<String>>>()?;
    std::fs::write(&path, format!("[\n{}\n]\n", lines.join(",\n")))
        .map_err(|error| format!("cannot write {FILE}: {error}"))?;
    Ok(all)
}
