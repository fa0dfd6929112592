//! Waking a worker of another process that has nothing to do: from the call of submit to the start
//! of the handler.

use super::{
    both::stamp,
    drain::work,
    place::{accepted, open, queue, task},
};
use pumasi_producer::Client;
use pumasi_testkit::bench::{Latency, Measured, Order, Watch};
use pumasi_worker::Context;
use rustix::time::{ClockId, clock_gettime};
use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// How long the worker has nothing to do before each task.
const PAUSE: Duration = Duration::from_millis(50);
/// What the worker says when it has had its first task.
const AWAKE: &str = "awake";

/// Submits one task at a time to a worker that it starts; what is measured is the worker's.
pub async fn submit(order: &Order) -> Measured {
    let broker = open(order).await;
    let client = Client::new(Arc::clone(&broker));
    let mut worker = Command::new(std::env::current_exe().unwrap())
        .args(["wake-worker", &order.at])
        // The first finds it starting and does not count.
        .args([order.count + 1, order.bytes, order.window.into()].map(|word| word.to_string()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(worker.stdout.take().unwrap()).lines();
    submit_one(&client, order).await;
    assert_eq!(said.next().unwrap().unwrap(), AWAKE);
    for _ in 0..order.count {
        tokio::time::sleep(PAUSE).await;
        submit_one(&client, order).await;
    }
    let measured = serde_json::from_str(&said.next().unwrap().unwrap()).unwrap();
    assert!(worker.wait().unwrap().success());
    broker.close().await;
    measured
}

/// The other process.
pub async fn worker(order: &Order) -> Measured {
    let broker = open(order).await;
    let times = Arc::new(Mutex::new(None));
    let known = Arc::clone(&times);
    let handler = move |context: Context| {
        let waited = now().saturating_sub(stamp(&context.task.payload));
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *known {
            None => {
                println!("{AWAKE}");
                *known = Some(Vec::new());
            }
            Some(times) => times.push(waited),
        }
        async { Ok(()) }
    };
    let watch = Watch::start();
    work(&broker, order, 1, handler).await;
    let measured = watch.stop(order.count - 1);
    broker.close().await;
    let times = times.lock().unwrap_or_else(PoisonError::into_inner).take();
    Measured {
        latency: Latency::of(times.unwrap_or_default()),
        ..measured
    }
}

async fn submit_one(client: &Client, order: &Order) {
    let mut payload = u64::try_from(now().as_nanos())
        .unwrap()
        .to_le_bytes()
        .to_vec();
    payload.resize(payload.len().max(order.bytes), 0);
    accepted(&client.submit(task(&queue(), payload.into())).await);
}

/// The time that all processes of the machine share.
fn now() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::try_from(now).unwrap()
}
