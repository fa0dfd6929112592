//! What the checker says of small histories, and of random ones.

use super::*;
use crate::faults::ledger::{Event, Nature, Outcome, Target};
use crate::faults::orders::dice;

const PLAN: Plan = Plan {
    tasks: 1,
    faults: 0,
    concurrency: 1,
    workers: 2,
    window: 1,
};

/// A history that is written down a word at a time: one line per second, `WHAT ID [WORKER]`.
fn history(text: &str) -> Vec<Line> {
    let lines = text
        .split(';')
        .map(str::trim)
        .filter(|line| !line.is_empty());
    (1..)
        .zip(lines)
        .map(|(second, line)| {
            let words: Vec<&str> = line.split(' ').collect();
            let id = words[1].to_owned();
            let run = format!("{id}{}", words.get(2).unwrap_or(&""));
            let fault = words[1].parse().unwrap_or(0);
            let target = |word: Option<&&str>| match word {
                Some(&"all") => Target::All,
                Some(&"producer") => Target::Producer,
                name => Target::Worker((*name.unwrap()).to_owned()),
            };
            let inject = |nature| Event::Inject {
                fault,
                name: words[0].to_owned(),
                nature,
                target: target(words.get(2)),
            };
            let end = |outcome| Event::End {
                id: id.clone(),
                run: run.clone(),
                outcome,
            };
            let event = match words[0] {
                "invoke" => Event::Invoke { id },
                "accepted" => Event::Accepted { id },
                "refused" => Event::Refused {
                    id,
                    reason: "full".to_owned(),
                },
                "unknown" => Event::Unknown { id },
                "start" => Event::Start {
                    id,
                    attempt: words.get(3).map_or(1, |word| word.parse().unwrap()),
                    worker: words[2].to_owned(),
                    run,
                },
                "effect" => Event::Effect { id, run },
                "record" => Event::Record { id, run },
                "held" => Event::Held {
                    worker: words[1].to_owned(),
                    deliveries: words[2].parse().unwrap(),
                    most: words[3].parse().unwrap(),
                },
                "done" => end(Outcome::Done),
                "failed" => end(Outcome::Failed),
                "rejected" => end(Outcome::Rejected),
                "kill" => inject(Nature::Kills),
                "stop" => inject(Nature::Severs),
                "term" => inject(Nature::Drains),
                "close" => inject(Nature::Severs),
                "delete" => inject(Nature::Deletes),
                "alarm" => inject(Nature::Blocks),
                "bit" => Event::Bit {
                    fault,
                    proof: "seen".to_owned(),
                },
                "healed" => Event::Healed { fault },
                other => panic!("{other}"),
            };
            Line {
                at: second * 1_000_000_000,
                event,
            }
        })
        .collect()
}

fn checked(text: &str, dead: &[&str], faults: usize) -> Report {
    let remains = Remains {
        left: 0,
        dead: dead.iter().map(|id| (*id).to_owned()).collect(),
    };
    check(&history(text), &remains, &Plan { faults, ..PLAN })
}

/// What is wrong, in short: `Lost a, ExtraRun b`.
fn wrong(report: &Report) -> String {
    let each = report.violations.iter();
    each.map(|(violation, ids)| format!("{violation:?} {}", ids.join(" ")))
        .collect::<Vec<_>>()
        .join(", ")
}

const RUN: &str = "start a w; effect a w; done a w;";
const KILLED: &str = "start a w; kill 1 w; bit 1; healed 1; start a v; effect a v; done a v;";

/// A history, its dead letters, how many faults it has, and what is wrong with it.
type Case<'a> = (String, &'a [&'a str], usize, &'a str);

/// Exactly this is wrong with each.
fn judge(cases: &[Case<'_>]) {
    for (text, dead, faults, expected) in cases {
        let report = checked(text, dead, *faults);
        assert_eq!(wrong(&report), *expected, "{text} {dead:?}");
        let is_red = report.verdict() == Verdict::Red;
        assert_eq!(is_red, !expected.is_empty(), "{text}: {report:?}");
        assert_eq!(report.timelines.is_empty(), expected.is_empty());
    }
}

#[test]
fn a_fault_is_over_when_what_it_cut_was_started_again() {
    let recoveries = |text: &str| -> Vec<Option<u64>> {
        let report = checked(text, &[], 1);
        let each = report.faults.iter();
        each.map(|fault| fault.took.map(|took| took.as_secs()))
            .collect()
    };
    let one = "invoke a; accepted a; start a w; kill 1 w; bit 1; healed 1; start a v;";
    assert_eq!(recoveries(one), [Some(3)]);
    // What had ended was not cut.
    assert_eq!(
        recoveries("start a w; done a w; invoke b; kill 1 w; healed 1; start a v"),
        [None]
    );
    // Whoever stands still goes on when another has it.
    let still = "start a w; stop 1 w; start a v; done a v; healed 1; done a w";
    assert_eq!(recoveries(still), [Some(1)]);
    // Nor does it help that it was done where nobody hears of it.
    let unheard = "start a w; stop 1 w; done a w; start a v; done a v; healed 1";
    assert_eq!(recoveries(unheard), [Some(2)]);
    let retried = "start a w; stop 1 w; healed 1; failed a w; start a v 2; done a v";
    assert_eq!(recoveries(retried), [None]);
    // Each fault counts its own; what was cut twice runs alone, which takes its time.
    let two = "start a w; start b w; kill 1 w; start a v; kill 2 v; start b v; start a u";
    assert_eq!(recoveries(two), [Some(3), None]);
    let everyone = "start a w; close 1 all; bit 1; healed 1; accepted b; start a w";
    assert_eq!(recoveries(everyone), [Some(2)]);
    let refused = "start a w; close 1 all; healed 1; refused b; start a w; bit 1; accepted c";
    assert_eq!(recoveries(refused), [Some(4)]);
}

#[test]
fn a_call_is_sent_again_once_and_once_more_for_each_node_that_was_tried() {
    let runs = |count| "start a w; effect a w; done a w;".repeat(count);
    let cut = |seconds: usize| {
        let waited = "bit 1;".repeat(seconds - 1);
        format!("invoke a; close 1 all; {waited} healed 1; accepted a;")
    };
    judge(&[
        (format!("{} {}", cut(4), runs(2)), &[][..], 1, ""),
        (format!("{} {}", cut(4), runs(3)), &[], 1, "ExtraRun a"),
        (format!("{} {}", cut(5), runs(3)), &[], 1, ""),
        (format!("{} {}", cut(5), runs(4)), &[], 1, "ExtraRun a"),
    ]);
}

#[test]
fn what_was_submitted_before_its_queue_was_deleted_may_be_gone_and_nothing_else() {
    let deleted = "delete 1 all; bit 1; healed 1;";
    judge(&[
        (format!("invoke a; accepted a; {deleted}"), &[][..], 1, ""),
        (format!("invoke a; {deleted} accepted a"), &[], 1, ""),
        (
            format!("invoke b; {deleted} invoke a; accepted a"),
            &[],
            1,
            "Lost a",
        ),
        (
            "invoke a; accepted a; close 1 all; bit 1; healed 1".to_owned(),
            &[],
            1,
            "Lost a",
        ),
    ]);
    let text = format!(
        "invoke a; accepted a; {deleted} invoke b; accepted b; start b w; effect b w; done b w"
    );
    let report = checked(&text, &[], 1);
    assert_eq!((report.accepted, report.deleted), (2, 1));
}

#[test]
fn each_task_comes_to_one_end() {
    let sent = "invoke a; accepted a;";
    judge(&[
        (format!("{sent}{RUN}"), &[][..], 0, ""),
        (sent.to_owned(), &[], 0, "Lost a"),
        // It began, and nothing came of it.
        (
            format!("{sent} start a w; kill 1 w; bit 1; healed 1"),
            &[],
            1,
            "Lost a",
        ),
        (format!("{sent} start a w; rejected a w"), &["a"], 0, ""),
        (format!("{sent} start a w; rejected a w"), &[], 0, "Lost a"),
        (format!("{sent}{RUN}"), &["a"], 0, "DoubleTerminal a"),
        (
            format!("{sent} start a w; rejected a w"),
            &["a", "a"],
            0,
            "DoubleTerminal a",
        ),
        (
            format!("{sent}{RUN} start b w; done b w"),
            &[],
            0,
            "Phantom b",
        ),
        (format!("{sent}{RUN}"), &["b"], 0, "Phantom b"),
        (
            format!("invoke a; refused a;{RUN}"),
            &[],
            0,
            "FalseFailure a",
        ),
        // Refused, then taken: no false failure.
        (format!("invoke a; refused a; {sent}{RUN}"), &[], 0, ""),
        (format!("invoke a; unknown a;{RUN}"), &[], 0, ""),
    ]);
}

#[test]
fn a_further_run_needs_a_fault_that_found_the_task_in_flight() {
    let sent = "invoke a; accepted a;";
    judge(&[
        (format!("{sent}{KILLED}"), &[], 1, ""),
        (
            format!("{sent}{RUN} start a v; effect a v; done a v"),
            &[],
            0,
            "ExtraRun a",
        ),
        // A failed run is followed by another, and one that succeeded is not.
        (
            format!("{sent} start a w; failed a w; start a v 2; effect a v; done a v"),
            &[],
            0,
            "",
        ),
        // The fault hit another worker.
        (
            format!(
                "{sent} start a w; effect a w; done a w; kill 1 v; bit 1; healed 1; start a u; done a u"
            ),
            &[],
            1,
            "ExtraRun a",
        ),
        // The broker had the acknowledgement long before the fault.
        (
            format!(
                "{sent}{RUN} invoke b; accepted b; kill 1 w; bit 1; healed 1; start a v; done a v; start b v; effect b v; done b v"
            ),
            &[],
            1,
            "ExtraRun a",
        ),
        (format!("{sent} start a w"), &["a"], 0, "Cut a"),
    ]);
}

#[test]
fn two_runs_at_once_need_a_fault_that_lets_the_earlier_one_go_on() {
    let sent = "invoke a; accepted a;";
    judge(&[
        (
            format!("{sent} start a w; start a v; effect a v; done a v; done a w"),
            &[],
            0,
            "ExtraRun a, Overlap a",
        ),
        (
            format!(
                "{sent} start a w; stop 1 w; bit 1; start a v; effect a v; done a v; healed 1; done a w"
            ),
            &[],
            1,
            "",
        ),
        (
            format!(
                "{sent} start a w; kill 1 w; bit 1; healed 1; start a v; effect a v; done a v; done a w"
            ),
            &[],
            1,
            "Overlap a, Survivor a",
        ),
        // The kill explains the third run, and the first one was cut off before.
        (
            format!(
                "{sent} start a w; close 1 w; healed 1; bit 1; start a v; kill 2 v; healed 2; bit 2; start a u; effect a u; done a u; done a w"
            ),
            &[],
            2,
            "",
        ),
        // Another run of an attempt that no failed run asked for.
        (
            format!(
                "{sent} start a w; failed a w; start a v 2; effect a v; done a v; start a u 2; done a u"
            ),
            &[],
            0,
            "ExtraRun a",
        ),
    ]);
}

#[test]
fn a_dead_letter_without_an_answer_may_be_there_twice() {
    let text = "invoke a; accepted a; start a w; rejected a w; close 1 all; healed 1; bit 1";
    let long = text.replace("healed 1;", &format!("{} healed 1;", "bit 1;".repeat(5)));
    judge(&[
        (text.to_owned(), &["a", "a"][..], 1, ""),
        (text.to_owned(), &["a", "a", "a"], 1, "DoubleTerminal a"),
        // A longer fault has it sent again more often.
        (long.clone(), &["a"; 3], 1, ""),
        (long, &["a"; 4], 1, "DoubleTerminal a"),
        // A killed worker repeats nothing.
        (
            text.replace("close 1 all", "kill 1 w"),
            &["a", "a"],
            1,
            "DoubleTerminal a",
        ),
    ]);
}

#[test]
fn a_stopped_worker_may_begin_what_others_have_done_by_now() {
    let sent = "invoke a; accepted a;";
    judge(&[(
        format!(
            "{sent} stop 1 w; start a v; effect a v; done a v; bit 1; healed 1; start a w; done a w"
        ),
        &[],
        1,
        "",
    )]);
}

#[test]
fn a_program_may_note_its_start_a_moment_after_its_worker_was_killed() {
    let text = "invoke a; accepted a; kill 1 w; bit 1; healed 1; start a w; start a v; effect a v; \
        done a v";
    for (late, expected) in [(50_000_000, ""), (150_000_000, "ExtraRun a, Cut a")] {
        let mut lines = history(text);
        // From the end of the kill, a second before.
        lines[5].at = lines[4].at + late;
        let report = check(&lines, &Remains::default(), &Plan { faults: 1, ..PLAN });
        assert_eq!(wrong(&report), expected, "{late} ns");
    }
}

#[test]
fn a_submit_without_an_answer_explains_one_further_run() {
    let sent = "invoke a; accepted a;";
    judge(&[
        // The library repeats what a fault finds under way.
        (
            format!("invoke a; close 1 all; bit 1; healed 1; accepted a;{RUN} start a v; done a v"),
            &[],
            1,
            "",
        ),
        // A submit without an answer explains one more run, not two.
        (
            format!("invoke a; unknown a; {sent}{RUN} start a v; done a v"),
            &[],
            0,
            "",
        ),
        (
            format!("invoke a; unknown a; {sent}{RUN} start a v; done a v; start a u; done a u"),
            &[],
            0,
            "ExtraRun a",
        ),
        // A worker that was asked to stop finishes what it runs.
        (
            format!("{sent}{}", KILLED.replace("kill", "term")),
            &[],
            1,
            "ExtraRun a",
        ),
    ]);
}

#[test]
fn a_fault_pays_for_no_more_runs_than_it_may_cost() {
    // A worker with one place cannot have held two.
    let text = "invoke a; accepted a; invoke b; accepted b; start a w; start b w; kill 1 w; bit 1; \
        healed 1; start a v; effect a v; done a v; start b v; effect b v; done b v";
    assert_eq!(wrong(&checked(text, &[], 1)), "ExtraRun b");
    let two = Plan {
        concurrency: 2,
        faults: 1,
        ..PLAN
    };
    let report = check(&history(text), &Remains::default(), &two);
    assert_eq!((report.verdict(), report.explained), (Verdict::Green, 2));
    // From the kill in second 7 until both were started again, in second 13.
    assert_eq!(report.recovered_within(99), Some(Duration::from_secs(6)));
}

#[test]
fn what_only_one_fault_explains_is_paid_by_that_one() {
    // The kill of one place explains both, the closing of everything before it only the first.
    let text = "invoke a; accepted a; invoke b; accepted b; start a w; close 1 all; healed 1; bit 1; \
        start b w; kill 2 w; healed 2; bit 2; start a v; effect a v; done a v; \
        start b v; effect b v; done b v";
    assert_eq!(wrong(&checked(text, &[], 2)), "");
}

#[test]
fn a_record_is_not_replaced_by_an_earlier_run() {
    let both = "invoke a; accepted a; start a w; stop 1 w; bit 1; start a v; effect a v; record a v; \
        done a v; healed 1; effect a w;";
    judge(&[
        (format!("{both} done a w"), &[], 1, ""),
        (format!("{both} record a w; done a w"), &[], 1, "Overwritten a"),
        // The later one comes last.
        (
            "invoke a; accepted a; start a w; stop 1 w; bit 1; start a v; healed 1; effect a w; record a w; \
             done a w; effect a v; record a v; done a v"
                .to_owned(),
            &[],
            1,
            "",
        ),
    ]);
}

#[test]
fn a_worker_holds_no_more_than_it_may() {
    let sent = format!("invoke a; accepted a; {RUN}");
    judge(&[
        (format!("{sent} held w 4 4"), &[], 0, ""),
        (format!("{sent} held w 5 4"), &[], 0, "Hoarding w"),
    ]);
}

#[test]
fn a_worker_does_not_stand_still_while_tasks_wait_and_only_submits_are_hit() {
    let task = |id: &str| format!("start {id} w; effect {id} w; done {id} w;");
    let sent = "invoke a; accepted a; invoke b; accepted b;";
    let (a, b, calm) = (task("a"), task("b"), "bit 1;".repeat(4));
    judge(&[
        (
            format!("{sent}{a} alarm 1 all; {calm} healed 1; {b}"),
            &[],
            1,
            "Idle b",
        ),
        // Time passes as well while one works.
        (
            format!("{sent} alarm 1 all; bit 1; {a} {b} healed 1;"),
            &[],
            1,
            "",
        ),
        // Nothing waits.
        (
            format!(
                "{sent}{a} {b} alarm 1 all; {calm} invoke c; accepted c; healed 1; {}",
                task("c")
            ),
            &[],
            1,
            "",
        ),
        // It holds as many failed tasks as it may, and nobody takes their copies.
        (
            format!(
                "invoke b; accepted b; invoke c; accepted c; alarm 1 all; start c w; failed c w; \
                 {calm} healed 1; {b} start c w 2; effect c w; done c w"
            ),
            &[],
            1,
            "",
        ),
        // The worker that stands still was killed; another takes what waits.
        (
            format!("{sent}{a} alarm 1 all; start b v; effect b v; {calm} done b v; healed 1;"),
            &[],
            1,
            "",
        ),
    ]);
}

#[test]
fn what_is_left_in_a_queue_makes_a_run_red() {
    let remains = Remains {
        left: 1,
        dead: Vec::new(),
    };
    let report = check(
        &history(&format!("invoke a; accepted a; {RUN}")),
        &remains,
        &PLAN,
    );
    assert_eq!(report.verdict(), Verdict::Red);
}

#[test]
fn a_run_in_which_little_happened_says_nothing() {
    let sent = "invoke a; accepted a;";
    for (text, faults, reason) in [
        (String::new(), 0, "0 of 1 planned tasks were accepted"),
        (format!("{sent}{RUN}"), 1, "0 of 1 planned faults were made"),
        (
            format!("{sent}{}", KILLED.replace("bit 1; ", "")),
            1,
            "fault 1 did not bite",
        ),
        (
            format!("{sent}{RUN} kill 1 w; bit 1; healed 1"),
            1,
            "0 of 1 faults found something in flight",
        ),
    ] {
        let report = checked(&text, &[], faults);
        assert_eq!(report.verdict(), Verdict::Invalid, "{text}");
        assert!(
            report.invalid.iter().any(|told| told == reason),
            "{:?}",
            report.invalid
        );
    }
}

/// A history in which some tasks are hit by kills, and every one comes to its end.
fn random(seed: u64) -> String {
    let mut text = String::new();
    let mut fault = 0;
    for task in 0..8 {
        let dice = dice(seed, task);
        text += &format!("invoke t{task}; accepted t{task}; ");
        for kill in 0..dice % 3 {
            fault += 1;
            let worker = format!("w{task}x{kill}");
            text += &format!(
                "start t{task} {worker}; kill {fault} {worker}; bit {fault}; healed {fault}; "
            );
        }
        text += &format!("start t{task} w; effect t{task} w; done t{task} w; ");
    }
    text
}

#[test]
fn in_random_histories_whatever_is_taken_away_is_missed() {
    for seed in 0..300 {
        let text = random(seed);
        let whole = checked(&text, &[], 0);
        assert_eq!(whole.verdict(), Verdict::Green, "{text}: {whole:?}");
        let victim = dice(seed, 99) % 8;
        for (part, by, expected) in [
            (format!("effect t{victim} w; "), "", "Lost"),
            (format!("accepted t{victim}; "), "refused", "FalseFailure"),
            (format!("done t{victim} w; "), "", "Cut"),
        ] {
            let other = match by {
                "" => String::new(),
                word => format!("{word} t{victim}; "),
            };
            let report = checked(&text.replacen(&part, &other, 1), &[], 0);
            assert_eq!(
                wrong(&report).split(' ').next(),
                Some(expected),
                "{part}: {text}"
            );
        }
        // Run once more for no reason.
        let again = format!("{text} start t{victim} v; done t{victim} v");
        assert_eq!(
            wrong(&checked(&again, &[], 0)),
            format!("ExtraRun t{victim}")
        );
    }
}
