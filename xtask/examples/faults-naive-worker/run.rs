//! One run of a task, and what becomes of its delivery.

use super::{
    Worker,
    link::{AGAIN, ANSWER, MANDATORY, Outcome},
    topology,
};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection,
    message::Delivery,
    options::{BasicAckOptions, BasicRejectOptions, ConfirmSelectOptions},
    types::{AMQPValue, FieldTable},
};
use pumasi_testkit::faults::{
    ledger::{Event, Outcome as End, now},
    orders::Work,
    plain::WorkerBug,
};
use std::{
    fs::File,
    io::{Read, Seek, Write},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};
use tokio::time::{sleep, timeout};

/// Longest wait for the confirm of a copy: longer than alarms last here.
const WHILE_BLOCKED: Duration = Duration::from_secs(15);
/// Pause before a task is tried again.
const DELAY: Duration = Duration::from_millis(500);

/// What copies of tasks go out on, and the channel of the originals.
pub(super) struct Copies {
    pub(super) to: Arc<Connection>,
    pub(super) from: Channel,
}

impl Copies {
    /// Publishes a copy and waits until the broker has it, for as long as the queue is full. Without
    /// an answer the channel of the original is given up, so that the broker offers it again.
    async fn put(&self, queue: &str, payload: &[u8], properties: BasicProperties) -> bool {
        // On a channel of its own each time: once refused, one may be refused for good.
        loop {
            let put = self.try_put(queue, payload, properties.clone());
            match timeout(WHILE_BLOCKED, put).await {
                Ok(Ok(Confirmation::Ack(None))) => return true,
                Ok(Ok(Confirmation::Nack(_))) => sleep(AGAIN).await,
                _ => break,
            }
        }
        drop(timeout(ANSWER, self.from.close(200, "no copy".into())).await);
        false
    }

    async fn try_put(
        &self,
        queue: &str,
        payload: &[u8],
        properties: BasicProperties,
    ) -> Outcome<Confirmation> {
        let channel = self.to.create_channel().await?;
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await?;
        let confirm = channel
            .basic_publish("".into(), queue.into(), MANDATORY, payload, properties)
            .await?;
        Ok(confirm.await?)
    }
}

/// Runs a task, then tells the broker.
pub(super) async fn run(worker: Arc<Worker>, copies: Arc<Copies>, delivery: Delivery) {
    if worker.has(WorkerBug::AckFirst) {
        ack(&delivery).await;
    }
    let attempt = attempt(&delivery);
    let end = if worker.has(WorkerBug::Orphans) {
        in_a_program(&worker, &delivery, attempt).await
    } else {
        work(&worker, &delivery, attempt).await
    };
    settle(
        &worker,
        &copies,
        &delivery,
        end.unwrap_or(End::Failed),
        attempt,
    )
    .await;
}

async fn settle(worker: &Worker, copies: &Copies, delivery: &Delivery, end: End, attempt: u32) {
    let properties = delivery.properties.clone();
    match end {
        End::Done => {}
        End::Rejected if worker.has(WorkerBug::DeadLettersToNowhere) => {
            drop(delivery.reject(BasicRejectOptions::default()).await);
            return;
        }
        End::Rejected => {
            if !copies
                .put(
                    &topology::dead(&worker.orders.queue),
                    &delivery.data,
                    properties,
                )
                .await
            {
                return;
            }
        }
        End::Failed if worker.has(WorkerBug::Requeue) => {
            drop(delivery.reject(BasicRejectOptions { requeue: true }).await);
            return;
        }
        End::Failed => {
            let mut headers = FieldTable::default();
            headers.insert("attempt".into(), i64::from(attempt + 1).into());
            let properties = properties.with_headers(headers);
            if worker.has(WorkerBug::AckThenPublish) {
                ack(delivery).await;
            }
            sleep(DELAY).await;
            let queue = &worker.orders.queue;
            if !copies.put(queue, &delivery.data, properties).await {
                return;
            }
        }
    }
    ack(delivery).await;
}

/// What was acknowledged before, or is of a channel that is gone, is not acknowledged: lapin
/// says so with `Ok(false)`.
async fn ack(delivery: &Delivery) {
    drop(delivery.ack(BasicAckOptions::default()).await);
}

/// The work of a task, noted while it is done.
pub(super) async fn work(worker: &Worker, delivery: &Delivery, attempt: u32) -> Outcome<End> {
    let note = |event| worker.ledger.write(event);
    let id = id(delivery);
    let run = format!("{}-{}", std::process::id(), now());
    note(Event::Start {
        id: id.clone(),
        attempt,
        worker: worker.orders.name.clone(),
        run: run.clone(),
    })?;
    let asked = Work::of(&String::from_utf8_lossy(&delivery.data), attempt);
    sleep(Duration::from_millis(asked.ms)).await;
    let outcome = asked.outcome;
    if outcome == End::Done {
        record(worker, delivery, &id, &run)?;
        let (id, run) = (id.clone(), run.clone());
        note(Event::Effect { id, run })?;
    }
    note(Event::End { id, run, outcome })?;
    Ok(outcome)
}

/// Writes down who has done a task, in place of an earlier one and never of a later one: the
/// broker counts how often it had to give the task to another.
fn record(worker: &Worker, delivery: &Delivery, id: &str, run: &str) -> Outcome {
    let fence = number(delivery, "x-delivery-count").unwrap_or(0);
    let folder = worker.orders.ledger.with_file_name("records");
    std::fs::create_dir_all(&folder)?;
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(folder.join(id))?;
    file.lock()?;
    let mut before = String::new();
    file.read_to_string(&mut before)?;
    let is_superseded = before.parse().is_ok_and(|before: u64| before > fence);
    if is_superseded && !worker.has(WorkerBug::Unfenced) {
        return Ok(());
    }
    file.rewind()?;
    file.set_len(0)?;
    write!(file, "{fence}")?;
    let (id, run) = (id.to_owned(), run.to_owned());
    worker.ledger.write(Event::Record { id, run })?;
    Ok(())
}

/// The same work by a program that nothing ties to this one.
async fn in_a_program(worker: &Worker, delivery: &Delivery, attempt: u32) -> Outcome<End> {
    let mut child = Command::new(std::env::current_exe()?.with_file_name("faults-handler"))
        .arg(&worker.orders.ledger)
        .arg(&worker.orders.name)
        .env("PUMASI_TASK_ID", id(delivery))
        .env("PUMASI_ATTEMPT", attempt.to_string())
        .stdin(Stdio::piped())
        .spawn()?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(&delivery.data)?;
    }
    let status = tokio::task::spawn_blocking(move || child.wait()).await??;
    Ok(match status.code() {
        Some(0) => End::Done,
        Some(65) => End::Rejected,
        _ => End::Failed,
    })
}

fn id(delivery: &Delivery) -> String {
    let id = delivery.properties.message_id().as_ref();
    id.map(ToString::to_string).unwrap_or_default()
}

fn attempt(delivery: &Delivery) -> u32 {
    let attempt = number(delivery, "attempt").unwrap_or(1);
    u32::try_from(attempt).unwrap_or(u32::MAX)
}

/// A header that is a number.
fn number(delivery: &Delivery, name: &str) -> Option<u64> {
    let headers = delivery.properties.headers().as_ref()?;
    let number = match headers.inner().get(name)? {
        AMQPValue::LongLongInt(number) => *number,
        AMQPValue::LongInt(number) => i64::from(*number),
        AMQPValue::LongUInt(number) => i64::from(*number),
        AMQPValue::ShortInt(number) => i64::from(*number),
        AMQPValue::ShortShortUInt(number) => i64::from(*number),
        AMQPValue::ShortShortInt(number) => i64::from(*number),
        _ => return None,
    };
    u64::try_from(number).ok()
}
