//! A handler that notes in a ledger what it does. Started by workers under `cargo xtask faults`
//! with `LEDGER WORKER`; the payload says how long it works and how it ends: `25 done`.

use pumasi_testkit::faults::ledger::{Event, Ledger, Outcome, now};
use std::{env, io::Read, path::Path, process::ExitCode, time::Duration};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [ledger, worker] = arguments.as_slice() else {
        eprintln!("started by: cargo xtask faults");
        return ExitCode::FAILURE;
    };
    let variable = |name| env::var(name).unwrap_or_default();
    let id = variable("PUMASI_TASK_ID");
    let attempt = variable("PUMASI_ATTEMPT").parse().unwrap_or(0);
    let run = format!("{}-{}", std::process::id(), now());
    let ledger = Ledger::open(Path::new(ledger)).expect("the ledger opens");
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
    let (work, end) = payload.split_once(' ').unwrap_or(("0", "done"));
    std::thread::sleep(Duration::from_millis(work.parse().unwrap_or(0)));
    let (outcome, status) = match end {
        "rejected" => (Outcome::Rejected, 65),
        "flaky" if attempt <= 1 => (Outcome::Failed, 1),
        _ => (Outcome::Done, 0),
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
