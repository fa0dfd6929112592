//! A task that takes its worker down each time, among two hundred that do nothing wrong.

use crate::{
    broker::{TestBroker, on_every_broker},
    process::{lines, pumasi, ready, submit_lines, until},
};
use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    process::{Child, Stdio},
    sync::{Arc, Mutex},
};

type Said = Arc<Mutex<BTreeSet<String>>>;

/// A worker as a supervisor keeps it: started again whenever it ends. Killed when dropped.
struct Supervised {
    url: String,
    said: Said,
    worker: Child,
    deaths: u32,
}

impl Supervised {
    fn start(url: &str) -> Self {
        let said = Said::default();
        Self {
            url: url.to_owned(),
            worker: start(url, &said),
            said,
            deaths: 0,
        }
    }

    /// Starts it again where it has ended.
    fn look(&mut self) {
        if self.worker.try_wait().unwrap().is_some() {
            self.deaths += 1;
            assert!(self.deaths < 20, "it dies for ever");
            self.worker = start(&self.url, &self.said);
        }
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        let _ = self.worker.kill();
        let _ = self.worker.wait();
    }
}

fn start(url: &str, said: &Said) -> Child {
    let mut worker = pumasi(
        url,
        &["worker", "-q", "poison", "-c", "4", "--prefetch", "20"],
    )
    .stdin(Stdio::null())
    .stdout(Stdio::piped())
    .stderr(Stdio::null())
    .spawn()
    .unwrap();
    let stdout = BufReader::new(worker.stdout.take().unwrap());
    let said = Arc::clone(said);
    std::thread::spawn(move || {
        for line in stdout.lines().map_while(Result::ok) {
            said.lock().unwrap().insert(line);
        }
    });
    worker
}

fn only_the_killer_dies(broker: &TestBroker) {
    let url = &broker.url;
    lines(url, &["queue", "declare", "poison"]);
    let innocent = |number| format!("{{\"text\":\"innocent {number}\"}}\n");
    let killer = "{\"text\":\"abort\",\"kind\":\"fail\"}\n";
    let mut input: String = (0..100).map(innocent).collect();
    input.push_str(killer);
    input.extend((100..200).map(innocent));
    submit_lines(url, "poison", &input);

    let mut supervised = Supervised::start(url);
    until("the killer's end", || {
        supervised.look();
        ready(url, "poison.dead") == 1
    });
    until("the innocents' work", || {
        supervised.look();
        supervised.said.lock().unwrap().len() == 200
    });
    until("the end of all", || {
        supervised.look();
        ready(url, "poison") == 0 && ready(url, "poison.suspects") == 0
    });
    println!(
        "{}: the worker died {} times",
        broker.url, supervised.deaths
    );
    assert_eq!(supervised.deaths, 5, "two among others, three alone");
    let said = supervised.said.lock().unwrap();
    let expected: BTreeSet<String> = (0..200)
        .map(|number| format!("innocent {number}"))
        .collect();
    assert_eq!(*said, expected);
    let dead = lines(url, &["--json", "dead", "list", "poison"]);
    let dead: serde_json::Value = serde_json::from_str(&dead[0]).unwrap();
    assert_eq!(dead["reason"], "crashed");
    assert_eq!(dead["kind"], "fail");
}

#[test]
fn a_task_that_kills_its_workers_is_dead_in_the_end_and_every_other_one_is_done() {
    on_every_broker(only_the_killer_dies);
}
