//! docs/performance.md and its plots, written from the figures that are kept.

use super::{
    super::{
        figures::{Comparison, Measure, Row},
        rest::Fact,
    },
    kept::{Entry, Kept},
    plot::{self, Bar},
    shown, verdict,
};
use crate::process::Result;
use std::{collections::BTreeSet, fmt::Write, path::Path};

/// Where the page is, and the folder of its plots beside it.
const PAGE: &str = "docs/performance.md";
const PLOTS: &str = "docs/performance";

/// What stands before the figures.
const BEGIN: &str = "\
# Performance, measured

Written by `cargo xtask bench --write`; do not edit it.

RabbitMQ's own work is the floor under every task. What Pumasi adds is measured beside the least
that a client can do: a minimal C client with librabbitmq, which publishes with confirms and
acknowledges by hand and does nothing else; SQLite alone; a bare loop that starts programs. All use
the same queue (quorum, durable), the same bytes and as many in flight.

A rate depends on the machine and on what else it does, so what counts is the ratio of two rates of
the same minute: each round measures every side once, in processes of their own, in an order that
turns around, and the ratio is the median over the rounds, with the least and the greatest beside
it. A goal is what we aim at; a machine that does other things besides may miss it, so that is told
and not judged.

- **rate**: tasks per second, ours by theirs; more is better
- **client CPU**, **p50**, **p99**, **peak memory**: CPU time of the client per task, times of single
  tasks, memory of the client; ours by theirs; less is better
- **broker CPU**: what the node spent meanwhile, per task
- **switches**, **system calls**: of the client, per task. System calls are counted in a run of
  their own, and include the program's start
";

/// How everybody can do the same.
const END: &str = "
## How to repeat it

On Debian or Ubuntu, as root or with these installed (RabbitMQ 4.3 is unpacked into a folder of its
own): `gcc`, `librabbitmq-dev`, `debootstrap`, and `perf` for the system calls.

    cargo xtask bench                     # everything, some tens of minutes
    cargo xtask bench --only drain-256    # one work
    cargo xtask bench --write             # keep the figures and write this page

It starts a private node on a free port and ends it; no other broker is touched. Nothing else should
run meanwhile: client and broker share the processors. Tasks, rounds and the form of the output are
options: `cargo xtask bench --help`. The C client is in `bench/c`.
";

/// Writes the page and the plots.
pub(super) fn write(root: &Path, kept: &Kept) -> Result {
    let put = |path: &str, text: String| {
        std::fs::write(root.join(path), text)
            .map_err(|error| format!("cannot write {path}: {error}"))
    };
    std::fs::create_dir_all(root.join(PLOTS)).map_err(|error| error.to_string())?;
    for (name, svg) in plots(&kept.works) {
        put(&format!("{PLOTS}/{name}.svg"), svg)?;
    }
    put(PAGE, page(kept))
}

/// By what the sides are compared, in a plot each.
const MEASURES: [(Measure, &str); 5] = [
    (Measure::Rate, "rate"),
    (Measure::Cpu, "cpu"),
    (Measure::P50, "p50"),
    (Measure::P99, "p99"),
    (Measure::Memory, "memory"),
];

fn plots(entries: &[Entry<Row>]) -> Vec<(&'static str, String)> {
    let drawn = MEASURES.iter().filter_map(|(measure, name)| {
        let bars: Vec<Bar> = entries
            .iter()
            .flat_map(|entry| comparisons(entry, *measure).map(move |one| bar(entry, one)))
            .collect();
        let better = if *measure == Measure::Rate {
            "more"
        } else {
            "less"
        };
        let title = format!("{}, ours by theirs: {better} is better", measure.title());
        (!bars.is_empty()).then(|| (*name, plot::svg(&title, &bars)))
    });
    drawn.collect()
}

fn comparisons(entry: &Entry<Row>, measure: Measure) -> impl Iterator<Item = &Comparison> {
    let all = entry.measured.comparisons.iter();
    all.filter(move |one| one.measure == measure)
}

fn bar(entry: &Entry<Row>, one: &Comparison) -> Bar {
    Bar {
        label: format!("{} by {}", entry.measured.name, one.against),
        ratio: one.ratio,
        min: one.min,
        max: one.max,
        goal: one.goal,
    }
}

fn page(kept: &Kept) -> String {
    let entries = &kept.works;
    let mut page = BEGIN.to_owned();
    page += "\n## Ratios\n";
    for (name, _) in plots(entries) {
        let _ = writeln!(page, "\n![{name}, ours by theirs](performance/{name}.svg)");
    }
    page += "\n| work | against | by | ratio | min..max | goal |\n|---|---|---|--:|--:|---|\n";
    for entry in entries {
        for one in &entry.measured.comparisons {
            page += &ratio(entry, one);
        }
    }
    if !kept.rest.is_empty() {
        page += &at_rest(&kept.rest);
    }
    page += "\n## What each side takes\n\nMedians, per task.\n";
    page += "\n| work | side | tasks/s | CPU µs | broker CPU µs | switches | system calls | peak MiB | p50 µs | p99 µs |\n";
    page += "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|\n";
    for entry in entries {
        page += &costs(entry);
    }
    page += "\n## The runs\n\n| work | what | place | bytes | window | rounds | version | date |\n";
    page += "|---|---|---|--:|--:|--:|---|---|\n";
    for entry in entries {
        let (row, version, date) = (&entry.measured, &entry.version, &entry.date);
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} | {} | {} | {version} | {date} |",
            row.name, row.title, row.place, row.bytes, row.window, row.rounds
        );
    }
    let machines: BTreeSet<&str> = entries.iter().map(|entry| entry.machine.as_str()).collect();
    page += "\n";
    for machine in machines {
        let _ = writeln!(page, "- {machine}");
    }
    page + END
}

fn ratio(entry: &Entry<Row>, one: &Comparison) -> String {
    let goal = verdict(one.goal, one.ratio, "**missed**");
    format!(
        "| `{}` | {} | {} | {:.2} | {:.2}..{:.2} | {goal} |\n",
        entry.measured.name,
        one.against,
        one.measure.title(),
        one.ratio,
        one.min,
        one.max
    )
}

fn at_rest(entries: &[Entry<Fact>]) -> String {
    let mut table = "\n## At rest\n\n| | value | goal | version | date |\n".to_owned();
    table += "|---|--:|---|---|---|\n";
    for entry in entries {
        let (fact, version, date) = (&entry.measured, &entry.version, &entry.date);
        let goal = verdict(fact.goal, fact.value, "**missed**");
        let _ = writeln!(
            table,
            "| {} | {:.2} {} | {goal} | {version} | {date} |",
            fact.name, fact.value, fact.unit
        );
    }
    table
}

fn costs(entry: &Entry<Row>) -> String {
    let mut lines = String::new();
    for side in &entry.measured.sides {
        let _ = writeln!(
            lines,
            "| `{}` | {} | {:.0} | {:.1} | {} | {:.2} | {} | {:.1} | {} | {} |",
            entry.measured.name,
            side.name,
            side.rate,
            side.cpu_us,
            shown(side.broker_cpu_us, 1, "–"),
            side.switches,
            shown(side.system_calls, 2, "not counted"),
            side.peak_rss_mib,
            shown(side.p50_us, 0, "–"),
            shown(side.p99_us, 0, "–"),
        );
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::{super::kept::tests::entry, *};
    use crate::bench::Measurements;

    fn kept() -> Kept {
        let rest = serde_json::json!({
            "name": "memory", "value": 17.5, "unit": "MiB", "goal": {"at_most": 16.0},
            "machine": "m", "version": "v", "date": "d",
        });
        Kept {
            works: vec![entry("one", 1.0), entry("two", 0.5)],
            rest: vec![serde_json::from_value(rest).unwrap()],
        }
    }

    #[test]
    fn the_page_says_what_is_met_and_what_is_missed() {
        let page = page(&kept());
        assert!(
            page.contains("| `one` | C | rate | 1.00 | 0.90..1.10 | ≥ 0.97 met |"),
            "{page}"
        );
        assert!(page.contains("| `two` | C | rate | 0.50 | 0.40..0.60 | ≥ 0.97 **missed** |"));
        assert!(
            page.contains(
                "| `one` | Pumasi | 1234 | 7.2 | – | 0.50 | not counted | 12.0 | 800 | – |"
            )
        );
    }

    #[test]
    fn figures_are_kept_beside_the_page_and_its_plots_and_later_ones_join_them() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("docs")).unwrap();
        for name in ["one", "two"] {
            let measured = Measurements {
                rows: vec![entry(name, 1.0).measured],
                facts: Vec::new(),
            };
            super::super::write(root.path(), measured).unwrap();
        }
        let read = |path: &str| std::fs::read_to_string(root.path().join(path)).unwrap();
        let page = read("docs/performance.md");
        assert!(page.contains("| `one` | C |") && page.contains("| `two` | C |"));
        assert!(read("docs/performance/rate.svg").contains("two by C"));
        assert_eq!(read("docs/performance.json").matches("\"date\"").count(), 2);
    }

    #[test]
    fn the_page_shows_the_plots_that_are_drawn() {
        let kept = kept();
        let names: Vec<&str> = plots(&kept.works).iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["rate"]);
        assert!(page(&kept).contains("(performance/rate.svg)"));
    }
}
