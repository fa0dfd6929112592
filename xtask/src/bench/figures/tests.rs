//! Figures of made-up rounds.

use super::*;
use crate::bench::works::works;
use pumasi_testkit::bench::Latency;

fn run(seconds: f64, cpu_seconds: f64, p50_us: f64) -> Run {
    Run {
        measured: Measured {
            tasks: 100,
            seconds,
            cpu_seconds,
            switches: 250,
            peak_rss_kib: 2048,
            latency: Some(Latency {
                p50_us,
                p99_us: 9.0,
            }),
        },
        broker_cpu_seconds: Some(0.01),
        process_seconds: 1.0,
    }
}

fn work(name: &str) -> Work {
    works().into_iter().find(|work| work.name == name).unwrap()
}

#[test]
fn a_median_is_the_middle_or_between_the_two() {
    assert_eq!(median(&[]), None);
    assert_eq!(median(&[3.0]), Some(3.0));
    assert_eq!(median(&[1.0, 3.0]), Some(2.0));
    assert_eq!(median(&sorted(vec![9.0, 1.0, 2.0])), Some(2.0));
}

#[test]
fn ratios_are_of_the_same_round_and_rates_grow_as_times_shrink() {
    // The machine was twice as slow in the second round, for both.
    let rounds = [
        vec![run(1.0, 0.1, 8.0), run(2.0, 0.1, 10.0)],
        vec![run(2.0, 0.2, 8.0), run(4.0, 0.1, 10.0)],
        vec![run(1.0, 0.3, 5.0), run(4.0, 0.1, 10.0)],
    ];
    let row = Row::new(&work("submit-one"), &rounds, &[Some(2.5), None]);
    let by = |measure| {
        let mut all = row.comparisons.iter();
        all.find(|one| one.measure == measure).unwrap()
    };
    let rate = by(Measure::Rate);
    assert_eq!((rate.min, rate.ratio, rate.max), (2.0, 2.0, 4.0));
    assert_eq!(rate.goal, None);
    let cpu = by(Measure::Cpu);
    assert!((cpu.ratio - 2.0).abs() < 1e-9 && (cpu.max - 3.0).abs() < 1e-9);
    let p50 = by(Measure::P50);
    assert!((p50.ratio - 0.8).abs() < 1e-9);
    assert_eq!(p50.goal, Some(Bound::AtMost(1.1)));
    assert!(
        row.comparisons
            .iter()
            .all(|one| one.measure != Measure::P99)
    );
}

#[test]
fn costs_are_medians_per_task() {
    let rounds = [
        vec![run(1.0, 0.1, 8.0), run(2.0, 0.1, 10.0)],
        vec![run(2.0, 0.2, 6.0), run(2.0, 0.1, 10.0)],
    ];
    let row = Row::new(&work("submit-one"), &rounds, &[Some(2.5), None]);
    let [ours, theirs] = row.sides.try_into().unwrap();
    assert_eq!((ours.rate, ours.p50_us), (75.0, Some(7.0)));
    assert!((ours.cpu_us - 1500.0).abs() < 1e-6, "{ours:?}");
    assert!((ours.broker_cpu_us.unwrap() - 100.0).abs() < 1e-6);
    assert_eq!((ours.switches, ours.peak_rss_mib), (2.5, 2.0));
    assert_eq!((ours.system_calls, theirs.system_calls), (Some(2.5), None));
}

#[test]
fn every_goal_is_about_a_side_that_is_measured() {
    for work in works() {
        assert_eq!(work.sides.first().unwrap().name, "Pumasi", "{}", work.name);
        for goal in &work.goals {
            let sides = work.sides.iter().skip(1);
            let known = sides.filter(|side| side.name == goal.against).count();
            assert_eq!(known, 1, "{}: {goal:?}", work.name);
        }
    }
}
