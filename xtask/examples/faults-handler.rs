//! A handler that notes in a ledger what it does. Started by workers under `cargo xtask faults`
//! with `LEDGER WORKER`, and one more word where it is to start a child; the payload says how long it works and how it ends: `25 done`.

use pumasi_testkit::faults::{
    ledger::{Event, Ledger, Outcome, now},
    orders::{CHILD_OF, Work},
};
use std::{
    env,
    io::Read,
    path::Path,
    process::{Command, ExitCode, Stdio},
    time::Duration,
};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [path, worker, more @ ..] = arguments.as_slice() else {
        eprintln!("started by: cargo xtask faults");
        return ExitCode::FAILURE;
    };
    let variable = |name| env::var(name).unwrap_or_default();
    let id = variable("PUMASI_TASK_ID");
    let attempt = variable("PUMASI_ATTEMPT").parse().unwrap_or(0);
    let run = format!("{}-{}", std::process::id(), now());
    let ledger = Ledger::open(Path::new(path)).expect("the ledger opens");
    let note = |event| ledger.write(event).expect("the ledger takes a line");
    note(Event::Start {
        id: id.clone(),
        attempt,
        worker: worker.clone(),
        run: run.clone(),
    });
    let mut payload = String::new();
    std::io::stdin()
        .read_to_string(&mut payload)
        .expect("a payload");
    let _child = more.first().map(|_| {
        // It holds none of our pipes, so the run ends before it does.
        Command::new("sleep")
            .arg("1000")
            .env(CHILD_OF, format!("{path}:{worker}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a child starts")
    });
    let Work { ms, outcome, .. } = Work::of(&payload, attempt);
    std::thread::sleep(Duration::from_millis(ms));
    let status = match outcome {
        Outcome::Rejected => 65,
        Outcome::Failed => 1,
        Outcome::Done => 0,
    };
    if outcome == Outcome::Done {
        note(Event::Effect {
            id: id.clone(),
            run: run.clone(),
        });
    }
    note(Event::End { id, run, outcome });
    ExitCode::from(status)
}
