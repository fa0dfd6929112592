//! What the rounds gave, as figures: medians, and ratios of the same round.

use super::works::{Bound, Goal, Work};
use pumasi_testkit::bench::Measured;
use serde::{Deserialize, Serialize};

/// One run of one side.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) measured: Measured,
    /// What the broker spent meanwhile, where it is a process of its own.
    pub(super) broker_cpu_seconds: Option<f64>,
    /// From the start of its process to the end.
    pub(super) process_seconds: f64,
}

/// What two sides are compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Measure {
    Rate,
    Cpu,
    P50,
    P99,
    Memory,
}

impl Measure {
    /// For a person.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Cpu => "client CPU",
            Self::P50 => "p50",
            Self::P99 => "p99",
            Self::Memory => "peak memory",
        }
    }

    fn of(self, run: &Run) -> Option<f64> {
        let Measured {
            seconds,
            cpu_seconds,
            peak_rss_kib,
            latency,
            ..
        } = run.measured;
        let tasks = run.measured.tasks as f64;
        match self {
            Self::Rate => Some(tasks / seconds),
            Self::Cpu => Some(cpu_seconds * 1e6 / tasks),
            Self::P50 => Some(latency?.p50_us),
            Self::P99 => Some(latency?.p99_us),
            Self::Memory => Some(peak_rss_kib as f64),
        }
    }
}

/// One work, measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) title: String,
    pub(super) place: String,
    pub(super) bytes: usize,
    pub(super) window: u16,
    pub(super) rounds: usize,
    /// Ours first.
    pub(super) sides: Vec<Cost>,
    pub(super) comparisons: Vec<Comparison>,
}

/// What a side took, in medians of the rounds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Cost {
    pub(super) name: String,
    pub(super) tasks: usize,
    /// Tasks per second.
    pub(super) rate: f64,
    /// CPU microseconds of the client per task.
    pub(super) cpu_us: f64,
    /// CPU microseconds of the broker per task, where it is a process of its own.
    pub(super) broker_cpu_us: Option<f64>,
    /// Context switches of the client per task.
    pub(super) switches: f64,
    /// System calls of the client per task, its start included, where they were counted.
    pub(super) system_calls: Option<f64>,
    /// The most memory of the client, in MiB.
    pub(super) peak_rss_mib: f64,
    /// Microseconds.
    pub(super) p50_us: Option<f64>,
    /// Microseconds.
    pub(super) p99_us: Option<f64>,
}

/// Ours by theirs: the median of the rounds' ratios, and between which they were.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Comparison {
    pub(super) against: String,
    pub(super) measure: Measure,
    pub(super) ratio: f64,
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) goal: Option<Bound>,
}

impl Row {
    /// From the rounds: in each a run of every side, in their order; and the system calls of each
    /// side per task.
    pub(super) fn new(work: &Work, rounds: &[Vec<Run>], calls: &[Option<f64>]) -> Self {
        let of_side = |side: usize| -> Vec<Run> {
            let runs = rounds.iter().filter_map(|round| round.get(side));
            runs.copied().collect()
        };
        let ours = of_side(0);
        let mut row = Self {
            name: work.name.to_owned(),
            title: work.title.to_owned(),
            place: work.place.title().to_owned(),
            bytes: work.bytes,
            window: work.window,
            rounds: rounds.len(),
            sides: Vec::new(),
            comparisons: Vec::new(),
        };
        for (place, side) in work.sides.iter().enumerate() {
            let runs = of_side(place);
            let calls = calls.get(place).copied().flatten();
            row.sides.push(Cost::new(side.name, &runs, calls));
            if place > 0 {
                let goals = work.goals.iter().filter(|goal| goal.against == side.name);
                row.comparisons.extend(compare(
                    side.name,
                    (&ours, &runs),
                    &goals.collect::<Vec<_>>(),
                ));
            }
        }
        row
    }
}

/// By rate, by CPU, and by whatever else there is a goal for.
fn compare(against: &str, (ours, theirs): (&[Run], &[Run]), goals: &[&Goal]) -> Vec<Comparison> {
    let mut measures = vec![Measure::Rate, Measure::Cpu];
    for goal in goals {
        if !measures.contains(&goal.measure) {
            measures.push(goal.measure);
        }
    }
    let comparison = |measure: Measure| {
        let pairs = ours.iter().zip(theirs);
        let ratios = pairs
            .map(|(ours, theirs)| Some(measure.of(ours)? / measure.of(theirs)?))
            .collect::<Option<Vec<f64>>>()?;
        let ratios = sorted(ratios);
        let goal = goals.iter().find(|goal| goal.measure == measure);
        Some(Comparison {
            against: against.to_owned(),
            measure,
            ratio: median(&ratios)?,
            min: *ratios.first()?,
            max: *ratios.last()?,
            goal: goal.map(|goal| goal.bound),
        })
    };
    measures.into_iter().filter_map(comparison).collect()
}

impl Cost {
    fn new(name: &str, runs: &[Run], system_calls: Option<f64>) -> Self {
        let optional = |value: &dyn Fn(&Run) -> Option<f64>| {
            let values = runs.iter().map(value).collect::<Option<Vec<f64>>>()?;
            median(&sorted(values))
        };
        let always =
            |value: &dyn Fn(&Run) -> f64| optional(&|run| Some(value(run))).unwrap_or(f64::NAN);
        let tasks = runs.first().map_or(0, |run| run.measured.tasks);
        let each = tasks as f64;
        Self {
            name: name.to_owned(),
            tasks,
            rate: always(&|run| each / run.measured.seconds),
            cpu_us: always(&|run| run.measured.cpu_seconds * 1e6 / each),
            broker_cpu_us: optional(&|run| Some(run.broker_cpu_seconds? * 1e6 / each)),
            switches: always(&|run| run.measured.switches as f64 / each),
            system_calls,
            peak_rss_mib: always(&|run| run.measured.peak_rss_kib as f64 / 1024.0),
            p50_us: optional(&|run| Measure::P50.of(run)),
            p99_us: optional(&|run| Measure::P99.of(run)),
        }
    }
}

pub(super) fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

/// The middle of sorted values; `None` where there are none.
pub(super) fn median(sorted: &[f64]) -> Option<f64> {
    let high = *sorted.get(sorted.len() / 2)?;
    if !sorted.len().is_multiple_of(2) {
        return Some(high);
    }
    let low = *sorted.get(sorted.len() / 2 - 1)?;
    Some(f64::midpoint(low, high))
}

#[cfg(test)]
mod tests;
