//! One list of cases that every broker passes; the files mirror the contract.
//!
//! A case gets a fresh, empty broker and panics when the contract is broken. It names the
//! capability it needs, never the broker.

mod browse;
mod competing;
mod control;
mod delay;
mod once;
mod priority;
mod publish;
mod replies;
mod settle;
mod topology;

use futures_util::StreamExt;
use pumasi_common::{
    Broker, Destination, PublishOutcome, QueueName, Task, Topology,
    broker::{BoxFuture, ConsumeOptions, Consumer, Delivery, Publication},
};
use std::{num::NonZeroU16, sync::Arc, time::Duration};

/// How long a case waits for anything.
pub const LIMIT: Duration = Duration::from_secs(60);

/// A broker under test.
pub type Subject = Arc<dyn Broker>;

/// One sentence of the contract, as a check.
pub struct Case {
    /// The sentence.
    pub name: &'static str,
    /// The check.
    pub run: fn(Subject) -> BoxFuture<'static, ()>,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

macro_rules! cases {
    ($($module:ident :: $name:ident),* $(,)?) => {
        vec![$(Case {
            name: stringify!($name),
            run: |subject| Box::pin($module::$name(subject)),
        }),*]
    };
}

/// Every case.
#[must_use]
pub fn cases() -> Vec<Case> {
    cases![
        publish::an_accepted_task_arrives_with_every_property,
        publish::a_task_for_a_queue_that_does_not_exist_is_refused_alone,
        publish::a_payload_over_the_limit_is_refused_before_it_is_sent,
        publish::many_publishes_at_once_arrive_once_each,
        publish::tasks_published_together_arrive_in_their_order,
        publish::an_event_reaches_every_subscription,
        settle::an_acked_task_is_gone,
        settle::a_released_task_is_delivered_again,
        settle::a_dropped_delivery_is_released,
        settle::a_task_that_waited_too_long_is_a_dead_letter_and_waits_on,
        settle::a_dead_letter_keeps_its_payload_and_gets_a_reason,
        settle::closing_a_consumer_gives_back_what_it_held,
        settle::a_retried_task_comes_back_as_itself_and_as_the_next_attempt,
        delay::a_delayed_task_comes_when_it_is_due_and_never_early,
        delay::a_task_of_an_hour_does_not_hold_back_one_of_a_second,
        delay::what_cannot_be_kept_back_is_refused_by_name,
        replies::a_settlement_sends_its_reply_first,
        replies::a_requester_that_is_gone_does_not_hold_up_the_settlement,
        replies::a_closed_reply_queue_is_gone,
        competing::no_consumer_holds_more_than_its_prefetch,
        competing::idle_consumers_take_turns,
        priority::tasks_of_higher_priority_come_first_and_equal_ones_in_order,
        priority::a_low_priority_waits_for_as_long_as_higher_ones_come,
        once::an_id_that_is_given_twice_is_accepted_twice,
        browse::browsing_shows_each_ready_task_once_and_leaves_it_where_it_is,
        browse::a_browsed_task_that_is_acked_is_gone_and_the_others_stay,
        browse::browsing_an_empty_queue_ends_and_a_missing_one_is_told,
        control::a_paused_queue_is_told_to_who_comes_later_and_so_is_its_resuming,
        control::a_cancelled_task_is_gone_or_workers_are_told,
        control::a_worker_is_asked_to_drain_by_its_name,
        topology::ensuring_twice_changes_nothing,
        topology::everything_of_a_new_topic_is_missing_until_it_is_ensured,
        topology::a_difference_is_reported_and_nothing_is_changed,
        topology::a_queue_that_is_purged_is_empty,
    ]
}

/// The queue that cases use.
pub(crate) fn queue() -> QueueName {
    QueueName::new("conformance").unwrap()
}

pub(crate) async fn with_queue(subject: &Subject) -> QueueName {
    subject
        .ensure_topology(&Topology::of_queues([queue()]))
        .await
        .unwrap();
    queue()
}

pub(crate) async fn publish(subject: &Subject, queue: &QueueName, task: Task) {
    let id = task.id.clone();
    let destination = Destination::Queue(queue.clone());
    match subject.publish(Publication::new(destination, task)).await {
        PublishOutcome::Accepted(accepted) => assert_eq!(accepted, id),
        other => panic!("not accepted: {other:?}"),
    }
}

pub(crate) async fn consume(
    subject: &Subject,
    queue: &QueueName,
    prefetch: u16,
) -> Box<dyn Consumer> {
    let prefetch = NonZeroU16::new(prefetch).unwrap();
    let options = ConsumeOptions {
        queue: queue.clone(),
        prefetch,
        consumer: "case".to_owned(),
        ack_timeout: None,
    };
    subject.consume(options).await.unwrap()
}

pub(crate) async fn next(consumer: &mut Box<dyn Consumer>) -> Delivery {
    tokio::time::timeout(LIMIT, consumer.next())
        .await
        .expect("no delivery came in time")
        .expect("the consumer ended")
}

/// Waits until the queue has this many ready tasks.
pub(crate) async fn until_ready(subject: &Subject, queue: &QueueName, ready: u64) {
    let end = tokio::time::Instant::now() + LIMIT;
    loop {
        let status = subject.admin().queue(queue).await.unwrap();
        if status.ready == ready {
            return;
        }
        assert!(
            tokio::time::Instant::now() < end,
            "{queue} has {status:?}, not {ready} ready"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
