//! Whatever is done in whatever order, the store's counts stay those of its rows, and every task
//! ends once.

use crate::support::{LIMIT, consume, open, queue, to_queue};
use futures_util::{FutureExt, StreamExt};
use pumasi_broker_sqlite::SqliteBroker;
use pumasi_common::{
    Broker, Consumer, DeadLetter, DeadReason, Delivery, Destination, Publication, PublishOutcome,
    QueueSpec, Settlement, Task, TaskId, Topology,
};
use rusqlite::Connection;
use std::{
    path::Path,
    time::{Duration, Instant},
};
use tempfile::tempdir;

const STEPS: usize = 3_000;
/// So few that ids come again.
const IDS: u64 = 400;

struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn delay(&mut self) -> Duration {
        let ms = [0, 0, 1, 5, 3_600_000][usize::try_from(self.below(5)).unwrap()];
        Duration::from_millis(ms)
    }

    fn publication(&mut self) -> Publication {
        let id = TaskId::new(&self.below(IDS).to_string()).unwrap();
        let payload = vec![0; usize::try_from(self.below(50)).unwrap()];
        let mut task = Task::with_id(id, payload);
        task.priority = u8::try_from(self.below(12)).ok();
        let once = self.below(3) == 0;
        Publication {
            once,
            ..to_queue(task).after(self.delay())
        }
    }

    fn settlement(&mut self, task: &Task) -> Settlement {
        match self.below(6) {
            0 => Settlement::Release,
            1 => {
                let letter = DeadLetter::new(DeadReason::Rejected, "no", "w");
                Settlement::DeadLetter(Box::new(letter))
            }
            2 | 3 => {
                let mut copy = task.clone();
                copy.payload = vec![1; usize::try_from(self.below(50)).unwrap()].into();
                let other = [queue(), queue().suspects()];
                let to = other[usize::try_from(self.below(2)).unwrap()].clone();
                let copy = Publication::new(Destination::Queue(to), copy);
                Settlement::Retry(Box::new(copy.after(self.delay())))
            }
            _ => Settlement::Ack,
        }
    }
}

#[derive(Default)]
struct Held {
    consumers: Vec<Box<dyn Consumer>>,
    deliveries: Vec<Delivery>,
}

impl Held {
    fn take(&mut self) {
        for consumer in &mut self.consumers {
            while let Some(Some(delivery)) = consumer.next().now_or_never() {
                self.deliveries.push(delivery);
            }
        }
    }

    fn settle_some(&mut self, chance: &mut Chance) {
        while !self.deliveries.is_empty() && chance.below(4) > 0 {
            let count = u64::try_from(self.deliveries.len()).unwrap();
            let index = usize::try_from(chance.below(count)).unwrap();
            let delivery = self.deliveries.swap_remove(index);
            let settlement = chance.settlement(delivery.task());
            // Superseded where its consumer is closed.
            let _ = delivery.settle(settlement);
        }
    }
}

async fn step(broker: &SqliteBroker, chance: &mut Chance, held: &mut Held) {
    match chance.below(20) {
        0..10 => {
            let outcome = broker.publish(chance.publication()).await;
            assert!(
                matches!(outcome, PublishOutcome::Accepted(_)),
                "{outcome:?}"
            );
        }
        10..14 => {
            held.take();
            held.settle_some(chance);
        }
        14..16 => {
            let id = TaskId::new(&chance.below(IDS).to_string()).unwrap();
            broker.admin().cancel(&id).await.unwrap();
        }
        16 if held.consumers.len() < 4 => {
            let of = [queue(), queue().suspects()];
            let of = &of[usize::try_from(chance.below(2)).unwrap()];
            let prefetch = u16::try_from(1 + chance.below(20)).unwrap();
            held.consumers.push(consume(broker, of, prefetch).await);
        }
        17 if !held.consumers.is_empty() => held.consumers.remove(0).close().await,
        18 => {
            let mut browser = broker.admin().browse(&queue()).await.unwrap();
            while let Some(delivery) = browser.next().await {
                if chance.below(10) == 0 {
                    delivery.settle(Settlement::Ack).unwrap();
                }
            }
            browser.close().await;
        }
        19 if chance.below(20) == 0 => {
            broker.admin().purge(&queue()).await.unwrap();
        }
        _ => {}
    }
}

/// Every count that does not fit: of a queue its tasks and bytes, of a consumer its room.
fn wrong(path: &Path) -> Vec<String> {
    let sql = Connection::open(path).unwrap();
    let mut find = sql
        .prepare(
            "SELECT name || ' ' || length || ' ' || bytes FROM queues q \
             WHERE length <> (SELECT count(*) FROM tasks WHERE queue_id = q.id) \
             OR bytes <> (SELECT coalesce(sum(length(payload)), 0) FROM tasks WHERE queue_id = q.id) \
             UNION ALL \
             SELECT 'consumer ' || free FROM consumers c \
             WHERE free <> prefetch - (SELECT count(*) FROM tasks WHERE consumer = c.id) \
             UNION ALL \
             SELECT 'task ' || seq FROM tasks WHERE bytes <> length(payload) \
             OR (consumer > 0) <> (delivery > 0) OR (consumer = -1) <> (ready_at IS NOT NULL) \
             OR consumer > 0 AND consumer NOT IN (SELECT id FROM consumers) \
             UNION ALL \
             SELECT 'ready beside room in ' || queue_id FROM tasks t WHERE consumer = 0 \
             AND EXISTS (SELECT 1 FROM consumers c WHERE c.queue_id = t.queue_id AND free > 0)",
        )
        .unwrap();
    let rows = find.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn after_thousands_of_random_steps_every_count_is_that_of_its_rows() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("s.db");
    let broker = open(&path).await;
    let topology = Topology {
        queues: vec![QueueSpec::new(queue()), QueueSpec::new(queue()).suspects()],
        topics: vec![],
    };
    broker.ensure_topology(&topology).await.unwrap();
    let seed = uuid::Uuid::new_v4().as_u64_pair().0;
    println!("seed {seed}");
    let mut chance = Chance(seed);
    let mut held = Held::default();
    for number in 0..STEPS {
        step(&broker, &mut chance, &mut held).await;
        if number % 100 == 0 {
            // What is due is only counted as kept back until it is made ready.
            assert_eq!(wrong(&path), [""; 0], "seed {seed}, step {number}");
        }
    }
    drop(held.deliveries);
    for consumer in held.consumers {
        consumer.close().await;
    }
    assert_eq!(wrong(&path), [""; 0], "seed {seed}");
    // What is left can all be worked off, but for what is kept back for an hour.
    for of in [queue(), queue().suspects()] {
        let mut consumer = consume(&broker, &of, 50).await;
        let end = Instant::now() + LIMIT;
        loop {
            while let Some(Some(delivery)) = consumer.next().now_or_never() {
                delivery.settle(Settlement::Ack).unwrap();
            }
            let status = broker.admin().queue(&of).await.unwrap();
            if (status.ready, status.in_flight) == (0, Some(0)) {
                break;
            }
            assert!(Instant::now() < end, "seed {seed}: {status:?}");
        }
        consumer.close().await;
    }
    assert_eq!(wrong(&path), [""; 0], "seed {seed}");
}
