//! Making faults: at moments and on victims that follow from the seed, each noted with what it is,
//! with evidence that it took hold, and with its end.

use super::{
    Place,
    fleet::{Fleet, LIMIT, QUEUE, signal, until, wait},
    rows::{Row, Victim},
};
use crate::process::Result;
use pumasi_testkit::{
    faults::{
        ledger::{Event, Kind, Line, Target, now},
        orders::dice,
    },
    proxy::{Cut, Proxy},
    rabbitmq::RabbitMq,
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    path::Path,
    thread::sleep,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Shortest and longest pause before a fault, in milliseconds.
const PAUSE: (u64, u64) = (300, 900);
/// How long a stopped worker stays so: its heartbeat is 1 s, and the broker waits for two.
const STOPPED: Duration = Duration::from_millis(4_500);
/// How long a queue stays full.
const HELD: Duration = Duration::from_secs(3);
/// How long an alarm stays on: longer than the producer waits for an answer, which is 5 s.
const ALARMED: Duration = Duration::from_secs(6);

/// Where a row runs.
pub(super) struct Stage<'a> {
    pub(super) url: String,
    node: Option<&'a RabbitMq>,
    vhost: String,
    proxy: Option<Proxy>,
}

impl<'a> Stage<'a> {
    /// A fresh virtual host or file.
    pub(super) fn new(place: &'a Place, row: &Row, folder: &Path) -> Self {
        let Place::RabbitMq(node) = place else {
            return Self {
                url: format!("sqlite:{}", folder.join("queue.db").display()),
                node: None,
                vhost: String::new(),
                proxy: None,
            };
        };
        let vhost = node.new_vhost();
        let proxy = (row.kind == Kind::Reset).then(|| Proxy::to(node.port()));
        let port = proxy.as_ref().map_or(node.port(), Proxy::port);
        Self {
            url: format!("amqp://guest:guest@127.0.0.1:{port}/{vhost}"),
            node: Some(node),
            vhost,
            proxy,
        }
    }

    /// Makes every fault of a row.
    pub(super) fn break_things(&self, fleet: &mut Fleet<'_>, row: &Row, seed: u64) -> Result {
        if row.kind == Kind::Close {
            return self.close_all(fleet, row, seed);
        }
        for fault in 0..row.faults {
            let dice = |place: u64| dice(seed, (u64::from(fault) << 32) | (place << 16));
            pause(dice(0));
            let target = match row.victim {
                Victim::Producer => Target::Producer,
                Victim::Everyone => Target::All,
                Victim::Worker => {
                    let place = to_usize(dice(1)) % fleet.workers.len();
                    Target::Worker(fleet.workers[place].name.clone())
                }
            };
            if target == Target::Producer {
                in_mid_burst(fleet, dice(2))?;
            }
            self.prepare(row)?;
            let kind = row.kind;
            note(
                fleet,
                Event::Inject {
                    fault,
                    kind,
                    target: target.clone(),
                },
            )?;
            let proof = match (kind, &target) {
                (Kind::Kill, _) => kill(fleet, fault, &target),
                (Kind::Terminate | Kind::TerminateTwice, Target::Worker(name)) => {
                    terminate(fleet, fault, name, kind)
                }
                (Kind::Stop, Target::Worker(name)) => stop(fleet, fault, name),
                (Kind::Reset, _) => self.reset(fleet, fault),
                (Kind::Full, _) => self.fill(fleet, fault),
                (Kind::Alarm, _) => self.alarm(fleet, fault),
                (Kind::BrokerKill, _) => self.kill_broker(fleet, fault),
                _ => Err(format!("{kind:?} cannot hit {target:?}")),
            }?;
            note(fleet, Event::Bit { fault, proof })?;
        }
        Ok(())
    }

    /// How many tasks there are outside of the dead letters, whatever queue they wait in.
    pub(super) fn left(&self, fleet: &Fleet<'_>) -> Result<u64> {
        let Some(node) = self.node else {
            let mut left = 0;
            for status in fleet.ask(&["queue", "show", QUEUE])? {
                for part in ["ready", "in_flight", "delayed"] {
                    left += status[part].as_u64().unwrap_or(0);
                }
            }
            return Ok(left);
        };
        let queues = node.ctl(&["list_queues", "-p", &self.vhost, "name", "messages"]);
        let waiting = queues.lines().filter_map(|line| {
            let (name, messages) = line.split_once('\t')?;
            let messages: u64 = messages.trim().parse().ok()?;
            let is_work = name == QUEUE || name == format!("{QUEUE}.suspects");
            let counts = is_work || name.starts_with("pumasi.delay.");
            (counts && messages > 0).then_some((name, messages))
        });
        let waiting: Vec<_> = waiting.collect();
        if !waiting.is_empty() {
            eprintln!("still there: {waiting:?}");
        }
        Ok(waiting.iter().map(|(_, messages)| messages).sum())
    }

    /// What must be done before the fault's time is noted, because it takes long.
    fn prepare(&self, row: &Row) -> Result {
        if row.kind == Kind::BrokerKill {
            self.node()?.sync_directory();
        }
        Ok(())
    }

    fn node(&self) -> Result<&'a RabbitMq> {
        self.node.ok_or_else(|| "this row needs a node".to_owned())
    }

    /// Has the node close every connection again and again, and say when it did: the tool that
    /// tells it so takes seconds to start.
    fn close_all(&self, fleet: &Fleet<'_>, row: &Row, seed: u64) -> Result {
        let pauses: Vec<String> = (0..row.faults)
            .map(|fault| (800 + dice(seed, fault.into()) % 700).to_string())
            .collect();
        let said = self.node()?.ctl(&[
            "eval",
            &format!(
                "[begin timer:sleep(S), T = os:system_time(nanosecond), \
                   Cs = rabbit_networking:connections(), \
                   [rabbit_networking:close_connection(C, <<\"fault\">>) || C <- Cs], \
                   {{T, os:system_time(nanosecond), length(Cs)}} end || S <- [{}]].",
                pauses.join(",")
            ),
        ]);
        let numbers: Vec<u64> = said
            .split(|letter: char| !letter.is_ascii_digit())
            .filter_map(|word| word.parse().ok())
            .collect();
        let real = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(0));
        let boot = now();
        for (fault, told) in (0_u32..).zip(numbers.chunks(3)) {
            let [from, to, count] = told else {
                return Err(format!("the node said {said}"));
            };
            let at = |time: u64| (boot + time).saturating_sub(real);
            let (kind, target) = (row.kind, Target::All);
            let line = |at, event| {
                let line = Line { at, event };
                fleet
                    .ledger
                    .write_line(&line)
                    .map_err(|error| error.to_string())
            };
            line(
                at(*from),
                Event::Inject {
                    fault,
                    kind,
                    target,
                },
            )?;
            line(at(*to), Event::Healed { fault })?;
            if *count > 0 {
                let proof = format!("{count} connections closed");
                line(at(*to), Event::Bit { fault, proof })?;
            }
        }
        Ok(())
    }

    fn reset(&self, fleet: &Fleet<'_>, fault: u32) -> Result<String> {
        let proxy = self.proxy.as_ref().ok_or("this row needs a proxy")?;
        let before = proxy.taken();
        proxy.cut(Cut::Reset);
        note(fleet, Event::Healed { fault })?;
        until("a new connection", || proxy.taken() > before)?;
        Ok(format!("{} connections made again", proxy.taken() - before))
    }

    fn fill(&self, fleet: &Fleet<'_>, fault: u32) -> Result<String> {
        let node = self.node()?;
        let pattern = format!("^{QUEUE}$");
        let limit = r#"{"max-length":1,"overflow":"reject-publish"}"#;
        let set = ["set_policy", "-p", &self.vhost, "full", &pattern, limit];
        node.ctl(&[&set[..], &["--apply-to", "queues"]].concat());
        let refusals = || fleet.ledger_text().matches("\"refused\"").count();
        let policies = node.ctl(&["list_queues", "-p", &self.vhost, "name", "policy"]);
        sleep(HELD);
        node.ctl(&["clear_policy", "-p", &self.vhost, "full"]);
        note(fleet, Event::Healed { fault })?;
        if policies
            .lines()
            .any(|line| line == format!("{QUEUE}\tfull"))
        {
            return Ok(format!("the policy was in force: {} refusals", refusals()));
        }
        Err(format!("the policy was not in force: {policies}"))
    }

    fn alarm(&self, fleet: &Fleet<'_>, fault: u32) -> Result<String> {
        let node = self.node()?;
        let seen = node.ctl(&[
            "eval",
            "vm_memory_monitor:set_vm_memory_high_watermark({absolute, 1}), \
             timer:sleep(1500), rabbit_alarm:get_alarms().",
        ]);
        sleep(ALARMED);
        node.ctl(&["set_vm_memory_high_watermark", "absolute", "1GiB"]);
        note(fleet, Event::Healed { fault })?;
        if seen.contains("memory") {
            return Ok(seen.trim().to_owned());
        }
        Err(format!("the node has no alarm: {seen}"))
    }

    fn kill_broker(&self, fleet: &Fleet<'_>, fault: u32) -> Result<String> {
        let node = self.node()?;
        node.kill9();
        let is_gone = std::net::TcpStream::connect(("127.0.0.1", node.port())).is_err();
        node.restart();
        note(fleet, Event::Healed { fault })?;
        if is_gone {
            return Ok("its port refused".to_owned());
        }
        Err("the node was not killed".to_owned())
    }
}

/// Kills who is hit, and starts as many again.
fn kill(fleet: &mut Fleet<'_>, fault: u32, target: &Target) -> Result<String> {
    let hits_producer = !matches!(target, Target::Worker(_));
    let is_hit = |name: &str| match target {
        Target::Worker(hit) => name == hit,
        Target::Producer => false,
        Target::All => true,
    };
    let mut proof = Vec::new();
    let mut hit = Vec::new();
    for worker in std::mem::take(&mut fleet.workers) {
        if is_hit(&worker.name) {
            hit.push(worker.child);
        } else {
            fleet.workers.push(worker);
        }
    }
    let workers = hit.len();
    if hits_producer {
        hit.extend(fleet.producer.take());
    }
    for child in &mut hit {
        child.kill().map_err(|error| error.to_string())?;
    }
    for child in &mut hit {
        let id = child.id();
        let status = wait("the end of a killed process", child)?;
        if status.code().is_some() {
            return Err(format!("{id} had ended before: {status}"));
        }
        proof.push(format!("{id}: {status}"));
    }
    note(fleet, Event::Healed { fault })?;
    for _ in 0..workers {
        fleet.start_worker()?;
    }
    if hits_producer {
        fleet.start_producer()?;
    }
    Ok(proof.join(", "))
}

/// Tells a worker to stop, once or twice, and starts another.
fn terminate(fleet: &mut Fleet<'_>, fault: u32, name: &str, kind: Kind) -> Result<String> {
    let mut worker = take(fleet, name)?;
    // One that has just been started would be ended by its first signal.
    until("its start", || fleet.log(name).contains("worker started"))?;
    let begun = now();
    signal(&worker, Signal::TERM)?;
    if kind == Kind::TerminateTwice {
        until("its drain", || fleet.log(name).contains("drain started"))?;
        // It may have had nothing to finish.
        let _ = signal(&worker, Signal::TERM);
    }
    let status = wait("a worker's end", &mut worker)?;
    note(fleet, Event::Healed { fault })?;
    fleet.start_worker()?;
    if !status.success() {
        return Err(format!("{name} ended with {status}: {}", fleet.log(name)));
    }
    Ok(format!(
        "ended well after {} ms",
        (now() - begun) / 1_000_000
    ))
}

/// Takes a worker out of the fleet.
fn take(fleet: &mut Fleet<'_>, name: &str) -> Result<std::process::Child> {
    let place = fleet.workers.iter().position(|worker| worker.name == name);
    let place = place.ok_or_else(|| format!("{name} is gone"))?;
    Ok(fleet.workers.remove(place).child)
}

/// Stops a worker and its handlers for longer than its heartbeat.
fn stop(fleet: &Fleet<'_>, fault: u32, name: &str) -> Result<String> {
    let worker = fleet.workers.iter().find(|worker| worker.name == name);
    let worker = worker.ok_or_else(|| format!("{name} is gone"))?;
    signal(&worker.child, Signal::STOP)?;
    let id = worker.child.id();
    let handlers = children(id);
    for handler in &handlers {
        // One that has ended meanwhile is not there to be stopped.
        let _ = kill_process(*handler, Signal::STOP);
    }
    sleep(STOPPED);
    let state = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let is_stopped = state.contains(") T ");
    for handler in &handlers {
        let _ = kill_process(*handler, Signal::CONT);
    }
    signal(&worker.child, Signal::CONT)?;
    note(fleet, Event::Healed { fault })?;
    if is_stopped {
        return Ok(format!("{id} and {} handlers stood still", handlers.len()));
    }
    Err(format!("{name} was not stopped: {state}"))
}

fn children(parent: u32) -> Vec<Pid> {
    let tasks = std::fs::read_dir(format!("/proc/{parent}/task"));
    tasks
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|line| {
            line.split_whitespace()
                .filter_map(|word| word.parse().ok().and_then(Pid::from_raw))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Waits until the producer submits something, and a moment more.
fn in_mid_burst(fleet: &Fleet<'_>, dice: u64) -> Result {
    let invokes = || fleet.ledger_text().matches("\"invoke\"").count();
    let before = invokes();
    let end = std::time::Instant::now() + LIMIT;
    while invokes() == before {
        if std::time::Instant::now() > end {
            return Err("the producer submits nothing".to_owned());
        }
    }
    sleep(Duration::from_micros(dice % 10_000));
    Ok(())
}

fn pause(dice: u64) {
    let (shortest, longest) = PAUSE;
    sleep(Duration::from_millis(
        shortest + dice % (longest - shortest),
    ));
}

fn note(fleet: &Fleet<'_>, event: Event) -> Result {
    fleet.ledger.write(event).map_err(|error| error.to_string())
}

fn to_usize(dice: u64) -> usize {
    usize::try_from(dice % 1_000_000).unwrap_or(0)
}
