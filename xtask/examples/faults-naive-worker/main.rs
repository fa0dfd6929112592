//! A worker in plain AMQP, as careful as it can be, but for the mistake that it is told to make.
//! Started by `cargo xtask faults` and its tests with its orders as JSON.

#[path = "../plain/link.rs"]
mod link;
mod run;
#[path = "../plain/topology.rs"]
mod topology;
mod tutorial;

use futures_util::StreamExt;
use lapin::{
    Channel, Consumer,
    options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions},
    types::FieldTable,
};
use link::{AGAIN, ANSWER, Outcome};
use pumasi_testkit::faults::{
    ledger::Ledger,
    plain::{WorkerBug, WorkerOrders},
};
use run::{Copies, run};
use std::sync::Arc;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinSet,
    time::timeout,
};

/// The name of a channel's consumer.
const TAG: &str = "work";

/// What all runs share.
struct Worker {
    orders: WorkerOrders,
    ledger: Ledger,
}

impl Worker {
    fn has(&self, bug: WorkerBug) -> bool {
        self.orders.plain.worker == Some(bug)
    }
}

#[tokio::main]
async fn main() -> Outcome {
    let Some(orders) = std::env::args().nth(1) else {
        return Err("started by: cargo xtask faults".into());
    };
    let orders: WorkerOrders = serde_json::from_str(&orders)?;
    let ledger = Ledger::open(&orders.ledger)?;
    let worker = Arc::new(Worker { orders, ledger });
    if worker.has(WorkerBug::Tutorial) {
        return tutorial::run(&worker).await;
    }
    let stopped = stop_signal(&worker)?;
    let mut running = JoinSet::new();
    let mut was_consuming = false;
    while !*stopped.borrow() {
        match session(&worker, &mut running, stopped.clone(), &mut was_consuming).await {
            Ok(()) => break,
            Err(error) => eprintln!("session lost: {error}"),
        }
        tokio::time::sleep(AGAIN).await;
    }
    Ok(())
}

/// Becomes true with the first SIGTERM.
fn stop_signal(worker: &Worker) -> Outcome<watch::Receiver<bool>> {
    let (stop, stopped) = watch::channel(false);
    let mut signals = signal(SignalKind::terminate())?;
    let at_once = worker.has(WorkerBug::NoDrain);
    tokio::spawn(async move {
        signals.recv().await;
        if at_once {
            std::process::exit(0);
        }
        eprintln!("drain started");
        stop.send_replace(true);
        // The second one.
        signals.recv().await;
        std::process::exit(0);
    });
    Ok(stopped)
}

/// Consumes on new connections until it is told to stop, and lets what runs come to its end.
async fn session(
    worker: &Arc<Worker>,
    running: &mut JoinSet<()>,
    mut stopped: watch::Receiver<bool>,
    was_consuming: &mut bool,
) -> Outcome {
    let consuming = Arc::new(link::connect(&worker.orders.url).await?);
    let publishing = if worker.has(WorkerBug::OneConnection) {
        Arc::clone(&consuming)
    } else {
        Arc::new(link::connect(&worker.orders.url).await?)
    };
    let channel = consuming.create_channel().await?;
    topology::declare(&channel, &worker.orders.queue, worker.orders.plain).await?;
    if !*was_consuming || !worker.has(WorkerBug::PrefetchOnce) {
        let prefetch = worker.orders.concurrency;
        channel
            .basic_qos(prefetch, BasicQosOptions::default())
            .await?;
    }
    let copies = Arc::new(Copies {
        to: publishing,
        from: channel.clone(),
    });
    let mut consumer = consume(worker, &channel).await?;
    if !std::mem::replace(was_consuming, true) {
        eprintln!("worker started");
    }
    loop {
        let delivery = tokio::select! {
            delivery = consumer.next() => delivery,
            _ = stopped.wait_for(|stopped| *stopped) => break,
        };
        match delivery {
            Some(delivery) => {
                running.spawn(run(Arc::clone(worker), Arc::clone(&copies), delivery?));
            }
            None if worker.has(WorkerBug::EndIgnored) => {
                drop(stopped.wait_for(|stopped| *stopped).await);
                break;
            }
            None => {
                // Whoever was cancelled must not keep what it was sent, nor its name.
                drop(timeout(ANSWER, channel.close(200, "cancelled".into())).await);
                return Err("the consumer was cancelled".into());
            }
        }
    }
    let cancel = channel.basic_cancel(TAG.into(), BasicCancelOptions::default());
    drop(timeout(ANSWER, cancel).await);
    while running.join_next().await.is_some() {}
    // What came after the signal is the broker's again once the connection is closed.
    drop(timeout(ANSWER, consuming.close(200, "drained".into())).await);
    Ok(())
}

async fn consume(worker: &Worker, channel: &Channel) -> Outcome<Consumer> {
    let options = BasicConsumeOptions {
        no_ack: worker.has(WorkerBug::AutoAck),
        ..BasicConsumeOptions::default()
    };
    let queue = worker.orders.queue.as_str().into();
    let consuming = channel.basic_consume(queue, TAG.into(), options, FieldTable::default());
    Ok(consuming.await?)
}
