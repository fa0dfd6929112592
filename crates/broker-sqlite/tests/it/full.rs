//! A full disk: needs the right to mount a small one, and is passed over without.

use crate::support::{consume, next, open, publish, queue, submit, until};
use pumasi_common::{Broker, PublishOutcome, Refusal, Settlement, broker::Health};
use pumasi_testkit::disk::Disk;
use std::{fs, path::Path, process::Command};
use tempfile::tempdir;

struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn mount(at: &'a Path) -> Option<Self> {
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"])
            .arg(at)
            .status();
        status
            .is_ok_and(|status| status.success())
            .then_some(Self(at))
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_on_a_full_disk_is_refused_and_what_was_accepted_is_kept() {
    let dir = tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(dir.path()) else {
        println!("passed over: no right to mount");
        return;
    };
    let broker = open(&disk.0.join("s.db")).await;
    let text = "x".repeat(50_000);
    let mut accepted = 0;
    let refusal = loop {
        match publish(&broker, &text).await {
            PublishOutcome::Accepted(_) => accepted += 1,
            PublishOutcome::Refused(_, refusal) => break refusal,
            PublishOutcome::Unknown(_, why) => panic!("{why}"),
        }
        assert!(accepted < 100, "the disk did not fill");
    };
    assert!(matches!(refusal, Refusal::StorageFull { .. }), "{refusal}");
    assert!(matches!(broker.health(), Health::Blocked(_)));
    let status = broker.admin().queue(&queue()).await.unwrap();
    assert_eq!(status.ready, accepted);
    // Room again: everything goes on by itself.
    let more = Command::new("mount")
        .args(["-o", "remount,size=16m"])
        .arg(disk.0)
        .status();
    assert!(more.unwrap().success());
    let mut consumer = consume(&broker, &queue(), 100).await;
    for _ in 0..accepted {
        next(&mut consumer).await.settle(Settlement::Ack).unwrap();
    }
    consumer.close().await;
    let status = broker.admin().queue(&queue()).await.unwrap();
    assert_eq!((status.ready, status.in_flight), (0, Some(0)));
    assert_eq!(broker.health(), Health::Up);
    broker.close().await;
    assert!(fs::metadata(disk.0.join("s.db")).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_settled_while_the_disk_is_full_is_written_when_there_is_room() {
    if let Err(missing) = Disk::available() {
        println!("passed over: {missing}");
        return;
    }
    const TASKS: u64 = 50;
    let disk = Disk::new(16);
    let broker = open(&disk.path().join("s.db")).await;
    for number in 0..TASKS {
        submit(&broker, &number.to_string()).await;
    }
    let mut consumer = consume(&broker, &queue(), 100).await;
    let mut held = Vec::new();
    for _ in 0..TASKS {
        held.push(next(&mut consumer).await);
    }
    disk.fill();
    // What the store has room for inside is used up first.
    let mut more = 0;
    while let PublishOutcome::Accepted(_) = publish(&broker, "x").await {
        more += 1;
        assert!(more < 100_000, "the disk did not fill");
    }
    for delivery in held {
        delivery.settle(Settlement::Ack).unwrap();
    }
    // The writer tries again and again, and says so.
    until("a writer without room", async || {
        matches!(broker.health(), Health::Blocked(_))
    })
    .await;
    let refused = publish(&broker, "y").await;
    assert!(
        matches!(
            refused,
            PublishOutcome::Refused(_, Refusal::StorageFull { .. })
        ),
        "{refused:?}"
    );
    let before = broker.admin().queue(&queue()).await.unwrap();
    assert!(before.in_flight >= Some(TASKS), "{before:?}");
    disk.make_room();
    until("the acknowledgements, by themselves", async || {
        let status = broker.admin().queue(&queue()).await.unwrap();
        broker.health() == Health::Up && status.ready + status.in_flight.unwrap_or(0) == more
    })
    .await;
    consumer.close().await;
    broker.close().await;
}
