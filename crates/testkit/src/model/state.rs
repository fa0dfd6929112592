//! Everything the model knows, and each thing that can happen to it.

use super::Shared;
use pumasi_common::{
    DeadLetter, DeadReason, Delivery, Destination, Publication, QueueName, QueueSpec, Refusal,
    Settlement, Task, TaskId, TopicName, Topology,
    broker::{BoxFuture, Control, SettleError, Settler},
    outcome::Outcome,
    queue::DELIVERY_LIMIT,
    topology::{Difference, QueueDeclaration},
    wire,
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, Weak},
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::{
    sync::{mpsc::UnboundedSender, watch},
    time::Instant,
};

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) queues: BTreeMap<QueueName, Queue>,
    pub(crate) topics: BTreeMap<TopicName, BTreeSet<QueueName>>,
    pub(crate) consumers: BTreeMap<u64, Consumer>,
    pub(crate) paused: BTreeSet<QueueName>,
    cancelled: Vec<Control>,
    listeners: Vec<UnboundedSender<Control>>,
    once: HashSet<(QueueName, String)>,
    /// Whether what is given back is counted like what a dead worker held.
    pub(crate) counts_releases: bool,
    /// How many answers and settlements are lost from now on.
    pub(crate) answers_lost: u32,
    next: u64,
    /// Every step that a task took, in order.
    pub(crate) steps: Vec<Step>,
    /// The state of each task.
    pub(crate) states: HashMap<TaskId, &'static str>,
    /// How many there are, for who waits for one.
    pub(crate) count: watch::Sender<usize>,
}

/// One step of a task, from one state of its life to another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Step {
    /// The task.
    pub id: TaskId,
    /// The state that it left; `submitted` for the first.
    pub from: &'static str,
    /// The state that it reached.
    pub to: &'static str,
}

/// The state of a task that waits in this queue.
pub(crate) fn waiting_in(queue: &QueueName) -> &'static str {
    if queue.as_str().ends_with(".suspects") {
        "suspect"
    } else if queue.as_str().ends_with(".dead") {
        "dead"
    } else {
        "ready"
    }
}

#[derive(Debug)]
pub(crate) struct Queue {
    spec: QueueSpec,
    declared: QueueDeclaration,
    /// By rank (0 first), then in order.
    pub(crate) ready: BTreeMap<(u8, u64), Entry>,
    pub(crate) delayed: BTreeMap<u64, Entry>,
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) task: Task,
    seq: u64,
    delivery_count: u32,
    redelivered: bool,
    expires_at: Option<Instant>,
}

#[derive(Debug)]
pub(crate) struct Consumer {
    pub(crate) name: String,
    pub(crate) queue: Arc<QueueName>,
    pub(crate) prefetch: usize,
    pub(crate) held: BTreeMap<u64, Entry>,
    pub(crate) stream: Option<UnboundedSender<Delivery>>,
    pub(crate) settler: Option<Arc<ModelSettler>>,
    pub(crate) turn: u64,
}

/// Settles what one consumer holds.
#[derive(Debug)]
pub(crate) struct ModelSettler {
    pub(crate) shared: Weak<Shared>,
    pub(crate) consumer: u64,
}

impl Entry {
    fn new(task: Task, seq: u64) -> Self {
        Self {
            expires_at: task.expires_after.map(|wait| Instant::now() + wait),
            task,
            seq,
            delivery_count: 0,
            redelivered: false,
        }
    }

    fn place(&self) -> (u8, u64) {
        (9 - self.task.priority.unwrap_or(4).min(9), self.seq)
    }
}

/// Stores a task in every queue behind its destination, now or later; it comes from this state.
pub(crate) fn publish(
    shared: &Arc<Shared>,
    publication: Publication,
    from: &'static str,
) -> Option<Refusal> {
    let Publication {
        destination,
        task,
        delay,
        once,
    } = publication;
    let mut state = shared.state();
    let targets: Vec<QueueName> = match &destination {
        Destination::Queue(queue) => vec![queue.clone()],
        Destination::Topic(topic) => state
            .topics
            .get(topic)
            .into_iter()
            .flatten()
            .cloned()
            .collect(),
        Destination::Reply(name) => QueueName::new(name).into_iter().collect(),
    };
    let known: Vec<QueueName> = targets
        .into_iter()
        .filter(|queue| state.queues.contains_key(queue))
        .collect();
    if known.is_empty() {
        return Some(Refusal::Unroutable { destination });
    }
    for queue in known {
        if once && !state.once.insert((queue.clone(), task.id.to_string())) {
            continue;
        }
        let seq = state.tick();
        if delay.is_zero() {
            state.step(&task, from, waiting_in(&queue));
            state.add(&queue, Entry::new(task.clone(), seq));
            continue;
        }
        state.step(&task, from, "delayed");
        let entry = Entry::new(task.clone(), seq);
        state.queue(&queue).delayed.insert(seq, entry);
        let later = Arc::downgrade(shared);
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            if let Some(shared) = later.upgrade() {
                let mut state = shared.state();
                if let Some(due) = state.queue(&queue).delayed.remove(&seq) {
                    state.step(&due.task, "delayed", "ready");
                    state.add(&queue, Entry::new(due.task, due.seq));
                    state.assign(&queue);
                }
            }
        });
    }
    let touched: Vec<QueueName> = state.queues.keys().cloned().collect();
    touched.iter().for_each(|queue| state.assign(queue));
    None
}

impl State {
    pub(crate) fn tick(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Whether this answer or settlement is lost.
    pub(crate) fn loses_answer(&mut self) -> bool {
        let is_lost = self.answers_lost > 0;
        self.answers_lost = self.answers_lost.saturating_sub(1);
        is_lost
    }

    pub(crate) fn queue(&mut self, name: &QueueName) -> &mut Queue {
        self.queues.get_mut(name).unwrap()
    }

    pub(crate) fn step(&mut self, task: &Task, from: &'static str, to: &'static str) {
        let id = task.id.clone();
        self.states.insert(id.clone(), to);
        self.steps.push(Step { id, from, to });
        self.count.send_replace(self.steps.len());
    }

    /// Where a published task comes from: a replay is published before the dead letter goes.
    pub(crate) fn origin(&self, id: &TaskId) -> &'static str {
        let mut dead = self
            .queues
            .iter()
            .filter(|(name, _)| waiting_in(name) == "dead");
        let replayed = dead.any(|(_, queue)| queue.ready.values().any(|it| it.task.id == *id));
        if replayed { "dead" } else { "submitted" }
    }

    fn add(&mut self, queue: &QueueName, entry: Entry) {
        // A queue that was deleted meanwhile takes nothing.
        if let Some(queue) = self.queues.get_mut(queue) {
            queue.ready.insert(entry.place(), entry);
        }
    }

    /// Hands ready tasks to consumers with room, in turn.
    pub(crate) fn assign(&mut self, name: &QueueName) {
        while let Some(id) = self.idle(name)
            && let Some((_, entry)) = self
                .queues
                .get_mut(name)
                .and_then(|queue| queue.ready.pop_first())
        {
            if entry.expires_at.is_some_and(|at| at <= Instant::now()) {
                let letter =
                    DeadLetter::new(DeadReason::Expired, "it waited too long", "the model");
                self.step(&entry.task, waiting_in(name), "dead");
                self.bury(name, entry.task, &letter);
                continue;
            }
            self.step(&entry.task, waiting_in(name), "in flight");
            let (token, turn) = (self.tick(), self.tick());
            let consumer = self.consumers.get_mut(&id).unwrap();
            consumer.turn = turn;
            consumer.held.insert(token, entry.clone());
            let settler = consumer.settler.clone().unwrap();
            let delivery = Delivery::new(entry.task, Arc::clone(&consumer.queue), token, settler)
                .with_history(entry.redelivered, entry.delivery_count);
            if let Some(stream) = &consumer.stream {
                // Nobody closes it while its consumer is known.
                let _ = stream.send(delivery);
            }
        }
    }

    fn idle(&self, queue: &QueueName) -> Option<u64> {
        let free = self.consumers.iter().filter(|(_, it)| {
            *it.queue == *queue && it.stream.is_some() && it.held.len() < it.prefetch
        });
        free.min_by_key(|(_, it)| it.turn).map(|(id, _)| *id)
    }

    pub(crate) fn bury(&mut self, queue: &QueueName, mut task: Task, letter: &DeadLetter) {
        let at = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs();
        wire::mark_dead(&mut task, queue, letter, at);
        task.expires_after = None;
        let dead = self.queue(queue).spec.dead_letters();
        let seq = self.tick();
        self.add(&dead, Entry::new(task, seq));
        self.assign(&dead);
    }

    /// Gives back what a consumer holds, and forgets it.
    pub(crate) fn leave(&mut self, consumer: u64, counted: u32) {
        let Some(gone) = self.consumers.remove(&consumer) else {
            return;
        };
        for mut entry in gone.held.into_values() {
            entry.redelivered = true;
            entry.delivery_count += counted.max(u32::from(self.counts_releases));
            self.step(&entry.task, "in flight", waiting_in(&gone.queue));
            if entry.delivery_count > DELIVERY_LIMIT {
                let letter = DeadLetter::new(DeadReason::Crashed, "returned too often", &gone.name);
                self.bury(&gone.queue, entry.task, &letter);
            } else {
                self.add(&gone.queue, entry);
            }
        }
        self.assign(&gone.queue);
    }

    /// The connection of a worker is lost and made anew: what it held is ready again, and counted.
    pub(crate) fn reset(&mut self, worker: &str) {
        let theirs = self.consumers.values_mut().filter(|it| it.name == worker);
        let lost: Vec<(Arc<QueueName>, Entry)> = theirs
            .flat_map(|it| {
                let queue = Arc::clone(&it.queue);
                let held = std::mem::take(&mut it.held).into_values();
                held.map(move |entry| (Arc::clone(&queue), entry))
            })
            .collect();
        for (queue, mut entry) in lost {
            entry.redelivered = true;
            entry.delivery_count += 1;
            self.step(&entry.task, "in flight", waiting_in(&queue));
            self.add(&queue, entry);
            self.assign(&queue);
        }
    }

    pub(crate) fn crash(&mut self, worker: &str) {
        let theirs: Vec<u64> = self
            .consumers
            .iter()
            .filter(|(_, consumer)| consumer.name == worker)
            .map(|(id, _)| *id)
            .collect();
        theirs.into_iter().for_each(|id| self.leave(id, 1));
    }

    pub(crate) fn declare(&mut self, spec: QueueSpec) {
        let declared = QueueDeclaration::of(&spec);
        self.queues
            .entry(spec.name.clone())
            .or_insert_with(|| Queue {
                spec,
                declared,
                ready: BTreeMap::new(),
                delayed: BTreeMap::new(),
            });
    }

    pub(crate) fn ensure(&mut self, topology: &Topology) {
        let with_dead_letters = |state: &mut Self, spec: QueueSpec| {
            let dead = QueueSpec::new(spec.dead_letters());
            if !state.queues.contains_key(&dead.name) {
                let declared = QueueDeclaration::dead_letters_of(&spec);
                state.declare(dead.clone());
                state.queue(&dead.name).declared = declared;
            }
            state.declare(spec);
        };
        for spec in &topology.queues {
            with_dead_letters(self, spec.clone());
        }
        for topic in &topology.topics {
            self.topics.entry(topic.name.clone()).or_default();
            for subscription in &topic.subscriptions {
                let queue = QueueName::of_subscription(&topic.name, subscription).unwrap();
                with_dead_letters(self, QueueSpec::new(queue.clone()));
                self.topics.get_mut(&topic.name).unwrap().insert(queue);
            }
        }
    }

    /// Whether the queue is there, and how it differs.
    pub(crate) fn compare(&self, wanted: &QueueDeclaration) -> (bool, Option<Difference>) {
        let Some(queue) = self.queues.get(&wanted.name) else {
            return (false, None);
        };
        let have = &queue.declared;
        let value = |all: &QueueDeclaration, name: &str| {
            let found = all.arguments.iter().find(|(have, _)| *have == name);
            found.map_or_else(|| "none".to_owned(), |(_, value)| value.to_string())
        };
        let names = wanted.arguments.iter().chain(&have.arguments);
        let differs = names
            .map(|(name, _)| *name)
            .find(|name| value(have, name) != value(wanted, name));
        let difference = differs.map(|name| Difference {
            object: format!("queue `{}`", wanted.name),
            argument: name.to_owned(),
            have: value(have, name),
            want: value(wanted, name),
        });
        (true, difference)
    }

    pub(crate) fn listen(&mut self, queues: &[QueueName], listener: UnboundedSender<Control>) {
        let paused = queues.iter().filter(|queue| self.paused.contains(*queue));
        let in_force = paused
            .cloned()
            .map(Control::Pause)
            .chain(self.cancelled.iter().cloned());
        for order in in_force {
            let _ = listener.send(order);
        }
        self.listeners.push(listener);
    }

    pub(crate) fn order(&mut self, order: &Control) {
        match order {
            Control::Cancel { .. } => self.cancelled.push(order.clone()),
            Control::Pause(queue) => drop(self.paused.insert(queue.clone())),
            Control::Resume(queue) => drop(self.paused.remove(queue)),
            Control::Drain(_) => {}
        }
        self.listeners
            .retain(|listener| listener.send(order.clone()).is_ok());
    }

    pub(crate) fn count_of(&self, queue: &QueueName) -> usize {
        let kept = self.queues.get(queue);
        let kept = kept.map_or(0, |it| it.ready.len() + it.delayed.len());
        let theirs = self.consumers.values().filter(|it| *it.queue == *queue);
        kept + theirs.map(|it| it.held.len()).sum::<usize>()
    }

    pub(crate) fn tasks(&self, queue: &QueueName) -> Vec<Task> {
        let Some(kept) = self.queues.get(queue) else {
            return Vec::new();
        };
        let held = self.consumers.values().filter(|it| *it.queue == *queue);
        let held = held.flat_map(|consumer| consumer.held.values());
        let all = kept.ready.values().chain(kept.delayed.values()).chain(held);
        all.map(|entry| entry.task.clone()).collect()
    }
}

/// A settlement that did not arrive: its copy did, and the task comes back.
fn lose(shared: &Arc<Shared>, queue: &QueueName, mut entry: Entry, settlement: Settlement) {
    entry.redelivered = true;
    entry.delivery_count += 1;
    let task = entry.task.clone();
    let mut state = shared.state();
    state.step(&task, "in flight", waiting_in(queue));
    state.add(queue, entry);
    match settlement {
        Settlement::Ack | Settlement::Release => {}
        Settlement::DeadLetter(letter) => state.bury(queue, task, &letter),
        Settlement::Retry(copy) => {
            drop(state);
            // Without its queue there is no copy either.
            let _ = publish(shared, *copy, "in flight");
            state = shared.state();
        }
    }
    state.assign(queue);
}

impl Settler for ModelSettler {
    fn settle(
        &self,
        token: u64,
        task: &Arc<Task>,
        settlement: Settlement,
        reply: Option<Box<Publication>>,
    ) -> Result<(), SettleError> {
        let shared = self.shared.upgrade().ok_or(SettleError::Superseded)?;
        let mut state = shared.state();
        let consumer = state.consumers.get_mut(&self.consumer);
        let consumer = consumer.ok_or(SettleError::Superseded)?;
        let queue = Arc::clone(&consumer.queue);
        let held = consumer.held.remove(&token);
        let mut entry = held.ok_or(SettleError::Superseded)?;
        if state.loses_answer() {
            drop(state);
            lose(&shared, &queue, entry, settlement);
            return Ok(());
        }
        match settlement {
            Settlement::Ack => {
                let said = reply.as_ref().and_then(|it| Outcome::read(&it.task));
                let cancelled = said.is_some_and(|(_, it)| it == Outcome::Cancelled);
                let over = if cancelled { "cancelled" } else { "done" };
                state.step(task, "in flight", over);
            }
            Settlement::Release => {
                entry.redelivered = true;
                entry.delivery_count += u32::from(state.counts_releases);
                state.step(task, "in flight", waiting_in(&queue));
                state.add(&queue, entry);
            }
            Settlement::DeadLetter(letter) => {
                state.step(task, "in flight", "dead");
                state.bury(&queue, Task::clone(task), &letter);
            }
            Settlement::Retry(copy) => {
                drop(state);
                if let Some(refusal) = publish(&shared, *copy, "in flight") {
                    println!("the model gives back what cannot be retried: {refusal}");
                    shared.state().add(&queue, entry);
                }
                state = shared.state();
            }
        }
        drop(state);
        if let Some(reply) = reply {
            publish(&shared, *reply, "submitted");
        }
        shared.state().assign(&queue);
        Ok(())
    }

    fn is_current(&self, token: u64) -> bool {
        self.shared.upgrade().is_some_and(|shared| {
            let state = shared.state();
            let consumer = state.consumers.get(&self.consumer);
            consumer.is_some_and(|consumer| consumer.held.contains_key(&token))
        })
    }

    fn flush(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}
