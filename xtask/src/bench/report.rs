//! What the rounds gave: a table for a person, an object for a machine.

use super::{Options, programs::Work};
use comfy_table::{Cell, CellAlignment, Table, presets};
use pumasi_testkit::bench::Measured;
use serde::Serialize;

/// One comparison.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    broker: String,
    work: String,
    against: &'static str,
    tasks: usize,
    /// Tasks per second, the median of the rounds.
    rate: f64,
    rate_plain: f64,
    /// CPU microseconds of the client per task, the median of the rounds.
    cpu_us: f64,
    cpu_us_plain: f64,
    /// Our rate by the plain one, the median of the rounds' ratios.
    ratio: f64,
    ratio_min: f64,
    ratio_max: f64,
    target: Option<f64>,
}

impl Row {
    /// From the rounds: the plain loop's measurement and ours.
    pub(super) fn new(
        broker: &str,
        work: Work,
        (against, target): (&'static str, Option<f64>),
        tasks: usize,
        rounds: &[(Measured, Measured)],
    ) -> Self {
        let per_round = |value: &dyn Fn(&(Measured, Measured)) -> f64| {
            let mut values: Vec<f64> = rounds.iter().map(value).collect();
            values.sort_by(f64::total_cmp);
            values
        };
        let count = tasks as f64;
        let ratios = per_round(&|(plain, ours)| plain.seconds / ours.seconds);
        Self {
            broker: broker.to_owned(),
            work: work.to_string(),
            against,
            tasks,
            rate: median(&per_round(&|(_, ours)| count / ours.seconds)),
            rate_plain: median(&per_round(&|(plain, _)| count / plain.seconds)),
            cpu_us: median(&per_round(&|(_, ours)| ours.cpu_seconds * 1e6 / count)),
            cpu_us_plain: median(&per_round(&|(plain, _)| plain.cpu_seconds * 1e6 / count)),
            ratio: median(&ratios),
            ratio_min: ratios.first().copied().unwrap_or(f64::NAN),
            ratio_max: ratios.last().copied().unwrap_or(f64::NAN),
            target,
        }
    }
}

fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    match (sorted.get(middle.wrapping_sub(1)), sorted.get(middle)) {
        (Some(low), Some(high)) if sorted.len().is_multiple_of(2) => f64::midpoint(*low, *high),
        (_, Some(high)) => *high,
        _ => f64::NAN,
    }
}

/// Prints the rows to standard output.
pub(super) fn print(rows: &[Row], options: &Options) {
    if options.json {
        println!(
            "{}",
            serde_json::json!({
                "machine": machine(),
                "payload_bytes": options.bytes,
                "window": options.window,
                "rounds": options.rounds,
                "rows": rows,
            })
        );
        return;
    }
    println!("\n{}", machine());
    println!(
        "{} B payloads, window and prefetch {}, {} rounds of both sides in turn; medians",
        options.bytes, options.window, options.rounds
    );
    println!("{}", table(rows));
    println!("ratio: our rate by the plain one. CPU: of the client, broker not included.");
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_header([
        "broker", "work", "against", "tasks", "/s", "plain /s", "CPU µs", "plain", "ratio",
        "min..max", "target",
    ]);
    for row in rows {
        let target = row.target.map_or_else(String::new, |target| {
            let met = if row.ratio >= target { "met" } else { "MISSED" };
            format!("≥ {target} {met}")
        });
        table.add_row(
            [
                row.broker.clone(),
                row.work.clone(),
                row.against.to_owned(),
                row.tasks.to_string(),
                format!("{:.0}", row.rate),
                format!("{:.0}", row.rate_plain),
                format!("{:.1}", row.cpu_us),
                format!("{:.1}", row.cpu_us_plain),
                format!("{:.2}", row.ratio),
                format!("{:.2}..{:.2}", row.ratio_min, row.ratio_max),
                target,
            ]
            .map(Cell::new),
        );
    }
    for column in table.column_iter_mut().skip(3).take(7) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// The machine in one line.
fn machine() -> String {
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
