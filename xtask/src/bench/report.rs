//! What a bench run tells: tables for a person, an object for a machine, docs/performance.md.

mod kept;
mod page;
mod plot;

use super::{Measurements, Options, figures::Row, rest::Fact, works::Bound};
use crate::process::Result;
use comfy_table::{Cell, CellAlignment, Table, presets};
use std::path::Path;

/// Prints what was measured to standard output.
pub(super) fn print(measured: &Measurements, options: &Options) {
    let Measurements { rows, facts } = measured;
    let machine = machine();
    if options.json {
        let all = serde_json::json!({"machine": machine, "rows": rows, "rest": facts});
        println!("{all}");
        return;
    }
    println!("\n{machine}");
    if options.debug {
        println!("programs that are not optimised: the figures say nothing");
    }
    if !rows.is_empty() {
        println!("{} rounds of all sides in turn; medians\n", options.rounds);
        println!("{}", ratios(rows));
        println!("\nPer task; CPU and memory of the client, not of the broker\n");
        println!("{}", costs(rows));
    }
    if !facts.is_empty() {
        println!("\n{}", at_rest(facts));
    }
}

/// Keeps the figures in this repository, and writes the page of all that are kept.
pub(super) fn write(root: &Path, measured: Measurements) -> Result {
    page::write(root, &kept::keep(root, measured)?)
}

fn at_rest(facts: &[Fact]) -> Table {
    let mut table = table(&["at rest", "value", "unit", "goal"]);
    for fact in facts {
        table.add_row([
            fact.name.clone(),
            format!("{:.2}", fact.value),
            fact.unit.clone(),
            verdict(fact.goal, fact.value, "MISSED"),
        ]);
    }
    right(&mut table, &[1]);
    table
}

/// What is aimed at, and whether it is reached.
fn verdict(goal: Option<Bound>, value: f64, missed: &str) -> String {
    goal.map_or_else(String::new, |goal| {
        let met = if goal.is_met(value) { "met" } else { missed };
        format!("{goal} {met}")
    })
}

fn ratios(rows: &[Row]) -> Table {
    let header = [
        "work", "B", "window", "against", "by", "ratio", "min..max", "goal",
    ];
    let mut table = table(&header);
    for row in rows {
        for one in &row.comparisons {
            let goal = verdict(one.goal, one.ratio, "MISSED");
            table.add_row([
                row.name.clone(),
                row.bytes.to_string(),
                row.window.to_string(),
                one.against.clone(),
                one.measure.title().to_owned(),
                format!("{:.2}", one.ratio),
                format!("{:.2}..{:.2}", one.min, one.max),
                goal,
            ]);
        }
    }
    right(&mut table, &[1, 2, 5, 6]);
    table
}

fn costs(rows: &[Row]) -> Table {
    let header = [
        "work",
        "side",
        "tasks",
        "/s",
        "CPU µs",
        "broker CPU µs",
        "switches",
        "system calls",
        "peak MiB",
        "p50 µs",
        "p99 µs",
    ];
    let mut table = table(&header);
    for row in rows {
        for side in &row.sides {
            table.add_row([
                row.name.clone(),
                side.name.clone(),
                side.tasks.to_string(),
                format!("{:.0}", side.rate),
                format!("{:.1}", side.cpu_us),
                shown(side.broker_cpu_us, 1, "–"),
                format!("{:.2}", side.switches),
                shown(side.system_calls, 2, "not counted"),
                format!("{:.1}", side.peak_rss_mib),
                shown(side.p50_us, 0, "–"),
                shown(side.p99_us, 0, "–"),
            ]);
        }
    }
    right(&mut table, &[2, 3, 4, 5, 6, 7, 8, 9, 10]);
    table
}

/// A number with so many decimals, or what stands for none.
fn shown(value: Option<f64>, decimals: usize, none: &str) -> String {
    value.map_or_else(|| none.to_owned(), |value| format!("{value:.decimals$}"))
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_HORIZONTAL_ONLY)
        .set_header(header.iter().map(Cell::new));
    table
}

fn right(table: &mut Table, columns: &[usize]) {
    for (place, column) in table.column_iter_mut().enumerate() {
        if columns.contains(&place) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

/// The machine in one line.
pub(super) fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        text.lines()
            .find(|line| line.starts_with(name))
            .and_then(|line| line.split_once(':'))
            .map_or_else(|| "?".to_owned(), |(_, value)| value.trim().to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let model = field(&read("/proc/cpuinfo"), "model name");
    let memory: u64 = field(&read("/proc/meminfo"), "MemTotal")
        .trim_end_matches(" kB")
        .parse()
        .unwrap_or(0);
    let load = read("/proc/loadavg");
    format!(
        "{model}, {cores} cores, {} GiB; load at the end {}",
        memory.div_ceil(1024 * 1024),
        load.split(' ').next().unwrap_or("?")
    )
}
