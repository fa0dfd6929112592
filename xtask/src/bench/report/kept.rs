//! The figures of works, kept beside the page that is written from them: works are measured at
//! different times, and each says when, on what, and from which version.

use super::super::{Measurements, figures::Row, rest::Fact};
use crate::process::{Result, said};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Where they are kept.
const FILE: &str = "docs/performance.json";

/// All that is kept.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Kept {
    pub(super) works: Vec<Entry<Row>>,
    pub(super) rest: Vec<Entry<Fact>>,
}

/// Something measured, and where it comes from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Entry<T> {
    #[serde(flatten)]
    pub(super) measured: T,
    pub(super) machine: String,
    pub(super) version: String,
    pub(super) date: String,
}

/// What takes the place of an earlier one of its name.
trait Named {
    fn name(&self) -> &str;
}

impl Named for Row {
    fn name(&self) -> &str {
        &self.name
    }
}

impl Named for Fact {
    fn name(&self) -> &str {
        &self.name
    }
}

/// Puts new figures in the place of earlier ones, keeps them, and gives all.
pub(super) fn keep(root: &Path, measured: Measurements) -> Result<Kept> {
    let path = root.join(FILE);
    let known: Kept = match std::fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text).map_err(|error| format!("{FILE}: {error}"))?,
        // The first run begins the file.
        Err(_) => Kept::default(),
    };
    let signature = Signature::now();
    let all = Kept {
        works: merged(known.works, measured.rows, &signature),
        rest: merged(known.rest, measured.facts, &signature),
    };
    let (works, rest) = (lines(&all.works)?, lines(&all.rest)?);
    let text = format!("{{\"works\": [\n{works}\n],\n\"rest\": [\n{rest}\n]}}\n");
    std::fs::write(&path, text).map_err(|error| format!("cannot write {FILE}: {error}"))?;
    Ok(all)
}

/// On what, from which version, and when.
struct Signature {
    machine: String,
    version: String,
    date: String,
}

impl Signature {
    fn now() -> Self {
        let revision = said("git", &["rev-parse", "--short=12", "HEAD"]);
        Self {
            machine: super::machine(),
            version: format!("{} ({revision})", env!("CARGO_PKG_VERSION")),
            date: said("date", &["-u", "+%Y-%m-%d"]),
        }
    }
}

/// One entry a line, so that a change is seen where it is.
fn lines<T: Serialize>(entries: &[Entry<T>]) -> Result<String> {
    let line = |entry| serde_json::to_string(entry).map_err(|error| error.to_string());
    let lines = entries.iter().map(line).collect::<Result<Vec<String>>>()?;
    Ok(lines.join(",\n"))
}

/// New ones take the places of those of their names, or come last.
fn merged<T: Named>(mut known: Vec<Entry<T>>, new: Vec<T>, signature: &Signature) -> Vec<Entry<T>> {
    for measured in new {
        let place = known
            .iter()
            .position(|known| known.measured.name() == measured.name());
        let entry = Entry {
            measured,
            machine: signature.machine.clone(),
            version: signature.version.clone(),
            date: signature.date.clone(),
        };
        match place.and_then(|place| known.get_mut(place)) {
            Some(known) => *known = entry,
            None => known.push(entry),
        }
    }
    known
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An entry as it is kept.
    pub(in super::super) fn entry(name: &str, ratio: f64) -> Entry<Row> {
        serde_json::from_value(serde_json::json!({
            "name": name, "title": "submit", "place": "here", "bytes": 1, "window": 2, "rounds": 3,
            "sides": [{
                "name": "Pumasi", "tasks": 10, "rate": 1234.5, "cpu_us": 7.25, "broker_cpu_us": null,
                "switches": 0.5, "system_calls": null, "peak_rss_mib": 12.0, "p50_us": 800.0,
                "p99_us": null,
            }],
            "comparisons": [{
                "against": "C", "measure": "rate", "ratio": ratio, "min": ratio - 0.1,
                "max": ratio + 0.1, "goal": {"at_least": 0.97},
            }],
            "machine": "m", "version": "v", "date": "d",
        }))
        .unwrap()
    }

    #[test]
    fn new_figures_take_the_place_of_those_of_the_same_work_and_say_where_they_come_from() {
        let known = vec![entry("one", 1.0), entry("two", 2.0)];
        let new = vec![entry("two", 5.0).measured, entry("three", 3.0).measured];
        let signature = Signature {
            machine: "m".to_owned(),
            version: "v".to_owned(),
            date: "later".to_owned(),
        };
        let all = merged(known, new, &signature);
        let shown: Vec<(&str, f64, &str)> = all
            .iter()
            .map(|entry| {
                let Row {
                    name, comparisons, ..
                } = &entry.measured;
                (name.as_str(), comparisons[0].ratio, entry.date.as_str())
            })
            .collect();
        assert_eq!(
            shown,
            [
                ("one", 1.0, "d"),
                ("two", 5.0, "later"),
                ("three", 3.0, "later")
            ]
        );
    }

    #[test]
    fn what_is_kept_is_read_again() {
        let works = lines(&[entry("one", 1.0)]).unwrap();
        let text = format!("{{\"works\": [{works}]}}");
        let kept: Kept = serde_json::from_str(&text).unwrap();
        assert_eq!(kept.works.len(), 1);
        assert!(kept.rest.is_empty());
        assert_eq!(lines(&kept.works).unwrap(), works);
    }
}
