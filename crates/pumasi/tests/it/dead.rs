//! `pumasi dead`: what was moved aside is looked at, submitted again, deleted, and never lost.

pub(crate) mod store;

use crate::{
    broker::{TestBroker, on_every_broker, on_every_rabbitmq},
    process::{Worker, lines, pumasi, ready, run, until},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::{
    collections::HashSet,
    io::{BufRead, BufReader},
    process::{Output, Stdio},
    time::Duration,
};
use store::Store;

/// Ends as its payload says, complaining.
const FAIL: &str = r#"read -r status; echo "no route for $PUMASI_TASK_ID" >&2; exit "$status""#;

/// Runs a worker until there are so many dead letters.
fn until_dead(url: &str, queue: &str, count: u64) {
    let mut worker = Worker::start(url, &["-q", queue, "--exec", "sh", "-c", FAIL]);
    until("dead letters", || {
        ready(url, &format!("{queue}.dead")) == count
    });
    worker.terminate();
    assert_eq!(worker.wait(), Some(0));
}

/// Three dead letters: `rejected`, of kind `mail.send`, and twice `attempts-spent`.
fn three_dead(url: &str) {
    for (id, status, kind) in [("a", "65", "mail.send"), ("b", "7", "x"), ("c", "8", "x")] {
        let submit = [
            "submit",
            "-q",
            "work",
            "--id",
            id,
            "-k",
            kind,
            "--attempts",
            "1",
        ];
        lines(
            url,
            &[&submit[..], &["--header", "colour=red", status]].concat(),
        );
    }
    until_dead(url, "work", 3);
}

/// What a command prints as JSON, and its note at the end.
fn told(url: &str, arguments: &[&str]) -> (Vec<Value>, Value) {
    let output = run(url, &[&["--json"], arguments].concat());
    assert!(output.status.success(), "{output:?}");
    let objects = |bytes: &[u8]| -> Vec<Value> {
        let text = String::from_utf8_lossy(bytes);
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let note = objects(&output.stderr)
        .into_iter()
        .next()
        .unwrap_or_default();
    (objects(&output.stdout), note)
}

fn ids(lines: &[Value]) -> Vec<&str> {
    let mut ids: Vec<&str> = lines
        .iter()
        .map(|line| line["id"].as_str().unwrap())
        .collect();
    ids.sort_unstable();
    ids
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn fails(output: &Output, status: i32, words: &str) {
    assert_eq!(output.status.code(), Some(status), "{output:?}");
    assert!(text(&output.stderr).contains(words), "{output:?}");
}

#[test]
fn dead_letters_are_listed_shown_and_filtered_without_being_moved() {
    on_every_broker(|broker| {
        let url = &broker.url;
        three_dead(url);
        let (all, note) = told(url, &["dead", "list", "work"]);
        assert_eq!(ids(&all), ["a", "b", "c"], "{url}");
        assert_eq!(note, serde_json::json!({ "matched": 3, "of": 3 }));
        let a = all.iter().find(|line| line["id"] == "a").unwrap();
        assert_eq!(
            (&a["reason"], &a["attempts"]),
            (&"rejected".into(), &1.into())
        );
        assert_eq!(
            (&a["queue"], &a["kind"]),
            (&"work".into(), &"mail.send".into())
        );
        assert!(
            a["error"].as_str().unwrap().contains("no route for a"),
            "{a}"
        );
        for (filter, expected) in [
            (&["--reason", "rejected"][..], &["a"][..]),
            (&["--kind", "x"], &["b", "c"]),
            (&["--error", "ROUTE FOR C"], &["c"]),
            (&["--younger", "1h"], &["a", "b", "c"]),
            (&["--older", "1h"], &[]),
            (&["--kind", "x", "--limit", "1"], &["b"]),
        ] {
            let (found, _) = told(url, &[&["dead", "list", "-q", "work"], filter].concat());
            assert_eq!(found.len(), expected.len(), "{filter:?}");
            assert!(ids(&found).iter().all(|id| expected.contains(id)) || filter.len() == 4);
        }
        let shown = run(url, &["dead", "list", "-q", "work", "--reason", "rejected"]);
        let table = text(&shown.stdout);
        assert!(
            table.contains("AGE") && table.contains("mail.send"),
            "{table}"
        );
        assert!(text(&shown.stderr).contains("1 of 3 dead letters"));

        let shown = lines(url, &["dead", "show", "-q", "work", "a"]).join("\n");
        for word in [
            "rejected",
            "colour=red",
            "mail.send",
            "no route for a",
            "2 bytes",
        ] {
            assert!(shown.contains(word), "{word} in {shown}");
        }
        let payload = run(url, &["dead", "show", "-q", "work", "a", "--payload"]);
        assert_eq!(payload.stdout, b"65");
        fails(
            &run(url, &["dead", "show", "-q", "work", "z"]),
            1,
            "`z` is not in `work.dead`",
        );
        fails(&run(url, &["dead", "list", "nowhere"]), 69, "PU3001");
        assert_eq!(ready(url, "work.dead"), 3);
    });
}

#[test]
fn a_replayed_task_is_a_new_one_with_a_memory() {
    on_every_broker(|broker| {
        let url = &broker.url;
        three_dead(url);
        for dry in [&["--dry-run"][..], &[]] {
            let arguments = [&["dead", "replay", "-q", "work", "--kind", "x"], dry].concat();
            let output = run(url, &arguments);
            assert!(
                text(&output.stderr).contains("nothing was replayed"),
                "{output:?}"
            );
            assert!(
                text(&output.stderr).contains("2 of 3 dead letters"),
                "{output:?}"
            );
        }
        assert_eq!((ready(url, "work.dead"), ready(url, "work")), (3, 0));
        assert_eq!(
            lines(url, &["dead", "replay", "-q", "work", "--yes", "b"]),
            ["b"]
        );
        until("the task to be ready", || {
            (ready(url, "work.dead"), ready(url, "work")) == (2, 1)
        });
        until_dead(url, "work", 3);
        let (shown, _) = told(url, &["dead", "show", "-q", "work", "b"]);
        let [before] = &shown[0]["history"].as_array().unwrap()[..] else {
            panic!("{shown:?}");
        };
        assert_eq!(before["reason"], "attempts-spent");
        assert_eq!(before["attempts"], 1);
        assert_eq!(shown[0]["headers"]["colour"], "red");
        assert_eq!(shown[0]["attempts"], 1);
    });
}

#[test]
fn a_purge_deletes_what_was_selected_and_nothing_else() {
    on_every_broker(|broker| {
        let url = &broker.url;
        three_dead(url);
        let purge = ["dead", "purge", "-q", "work", "--reason", "attempts-spent"];
        let output = run(url, &purge);
        assert!(
            text(&output.stderr).contains("nothing was purged"),
            "{output:?}"
        );
        assert_eq!(ready(url, "work.dead"), 3);
        let mut purged = lines(url, &[&purge[..], &["--yes"]].concat());
        purged.sort_unstable();
        assert_eq!(purged, ["b", "c"]);
        until("the others to be gone", || ready(url, "work.dead") == 1);
        assert_eq!(ids(&told(url, &["dead", "list", "work"]).0), ["a"]);
    });
}

#[test]
fn what_dies_again_at_once_is_replayed_once() {
    on_every_broker(|broker| {
        let url = &broker.url;
        let store = Store::open(url);
        store.kill("work", 30);
        let _worker = Worker::start(url, &["-q", "work", "--exec", "sh", "-c", "exit 65"]);
        let replayed = lines(
            url,
            &["dead", "replay", "-q", "work", "--yes", "--rate", "50"],
        );
        assert_eq!(replayed.len(), 30);
        until("all to be dead again", || ready(url, "work.dead") == 30);
    });
}

#[test]
fn what_rabbitmq_moved_aside_by_itself_is_told_and_replayed_like_any_other() {
    on_every_rabbitmq(|broker| {
        let url = &broker.url;
        lines(
            url,
            &[
                "submit",
                "-q",
                "work",
                "--id",
                "late",
                "--expires",
                "1ms",
                "x",
            ],
        );
        until("it to expire", || ready(url, "work.dead") == 1);
        let (listed, _) = told(url, &["dead", "list", "work"]);
        assert_eq!(listed[0]["reason"], "expired");
        assert_eq!(
            (&listed[0]["queue"], &listed[0]["attempts"]),
            (&"work".into(), &0.into())
        );
        assert!(listed[0]["dead_at"].as_u64().unwrap() > 1_700_000_000);
        lines(url, &["dead", "replay", "-q", "work", "--yes", "late"]);
        until("the task to be ready", || ready(url, "work") == 1);
    });
}

/// Starts a replay and kills it some time after it has told of so many tasks.
fn replay_and_kill(url: &str, told: usize, after: Duration) {
    let mut child = pumasi(url, &REPLAY)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..told {
        lines.next().expect("it goes on").unwrap();
    }
    // Anywhere between two publishes, which are nothing to wait for.
    std::thread::sleep(after);
    child.kill().unwrap();
    child.wait().unwrap();
}

const REPLAY: [&str; 7] = ["dead", "replay", "-q", "work", "--yes", "--rate", "1000000"];

#[test]
fn a_replay_that_is_killed_in_the_middle_loses_nothing() {
    const LETTERS: usize = 2_000;
    const KILLS: usize = 5;
    on_every_broker(|broker| {
        let url = &broker.url;
        let store = Store::open(url);
        let all = store.kill("work", LETTERS);
        for kill in 1..=KILLS {
            let after = Duration::from_micros(900) * u32::try_from(kill).unwrap();
            replay_and_kill(url, LETTERS / 10, after);
            let (mut again, mut dead) = (Vec::new(), Vec::new());
            until("the broker to notice, and all to be there", || {
                (again, dead) = (store.ids("work"), store.ids("work.dead"));
                again.len() + dead.len() >= LETTERS
            });
            let both = again.len() + dead.len() - LETTERS;
            println!(
                "{url}: {} replayed, {both} of them still dead, too",
                again.len()
            );
            assert!(both <= kill, "one for each kill at most");
            assert!(again.len() >= kill * LETTERS / 10 && !dead.is_empty());
            assert_eq!(again.into_iter().chain(dead).collect::<HashSet<_>>(), all);
        }
        // Another one does the rest.
        lines(url, &REPLAY);
        until("the rest", || ready(url, "work.dead") == 0);
        assert_eq!(store.ids("work").into_iter().collect::<HashSet<_>>(), all);
    });
}

#[test]
fn a_replay_that_is_interrupted_says_how_far_it_is() {
    let broker = TestBroker::embedded();
    Store::open(&broker.url).kill("work", 50);
    let replay = ["dead", "replay", "-q", "work", "--yes", "--rate", "1"];
    let mut child = pumasi(&broker.url, &replay)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.next().expect("the first, at once").unwrap();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    fails(&output, 130, "replayed ");
    assert!(
        text(&output.stderr).contains("not replayed 0, of "),
        "{output:?}"
    );
    let again = usize::try_from(ready(&broker.url, "work")).unwrap();
    assert_eq!(again, 1 + lines.count());
    assert_eq!(
        ready(&broker.url, "work.dead"),
        50 - u64::try_from(again).unwrap()
    );
}

#[test]
fn a_replay_into_a_queue_that_is_full_stops_and_keeps_the_rest() {
    let broker = TestBroker::embedded();
    let url = &broker.url;
    let store = Store::open(url);
    let config = broker.config("[[queues]]\nname = 'small'\nlength_max = 4\n");
    lines(url, &["--config", &config, "topology", "apply"]);
    store.kill("small", 10);
    let output = run(url, &["dead", "replay", "-q", "small", "--yes"]);
    fails(&output, 75, "is full");
    assert_eq!((ready(url, "small"), ready(url, "small.dead")), (4, 6));
}
