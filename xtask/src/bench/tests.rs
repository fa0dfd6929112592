//! What is chosen, and every work once on real brokers.

use super::*;
use std::time::Duration;

fn options(only: Option<&str>) -> Options {
    Options {
        count: 100,
        rounds: 2,
        only: only.map(str::to_owned),
        json: false,
        write: false,
        debug: true,
    }
}

#[test]
fn only_what_is_named_so_is_measured_and_a_wrong_name_is_told_the_right_ones() {
    let names = |only| {
        let wanted = Wanted::of(&options(Some(only))).unwrap();
        let names: Vec<&str> = wanted.works.iter().map(|work| work.name).collect();
        (names, wanted.rest)
    };
    let drains = ["drain-256", "drain-1000"];
    assert_eq!(names("drain-256"), (vec![drains[0]], false));
    assert_eq!(names("rest"), (Vec::new(), true));
    let all = Wanted::of(&options(None)).unwrap();
    assert!(all.rest && all.works.len() > 15);
    let wrong = Wanted::of(&options(Some("speed"))).err().unwrap();
    assert!(
        wrong.contains("`speed`") && wrong.contains("drain-256"),
        "{wrong}"
    );
}

#[test]
#[ignore = "a minute; needs a C compiler and librabbitmq: cargo test -p xtask every_work -- --ignored"]
fn every_work_is_done_by_every_side() {
    let programs = Programs::build(Build::Debug).unwrap();
    let (options, all) = (options(None), works::works());
    let wanted = Wanted {
        works: all,
        rest: false,
    };
    let measured = measure(&programs, &wanted, &options).unwrap();
    for (row, work) in measured.rows.iter().zip(&wanted.works) {
        assert_eq!(row.sides.len(), work.sides.len(), "{}", row.name);
        for (cost, side) in row.sides.iter().zip(&work.sides) {
            let count = (work.count(options.count) / side.part).max(1);
            assert_eq!(cost.tasks, count, "{}: {}", row.name, side.name);
            assert!(cost.rate > 0.0 && cost.peak_rss_mib > 0.0, "{cost:?}");
        }
        let goals = row.comparisons.iter().filter(|one| one.goal.is_some());
        assert_eq!(goals.count(), work.goals.len(), "{}", row.name);
    }
    let stage = Stage::set(&programs, true).unwrap();
    let facts = rest::measure(&stage, &programs, 1, Duration::from_millis(200)).unwrap();
    assert_eq!(facts.len(), 9, "{facts:?}");
}
