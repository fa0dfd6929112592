//! A full disk: needs the right to mount a small one, and is passed over without.

use crate::support::{consume, next, open, publish, queue};
use pumasi_common::{Broker, PublishOutcome, Refusal, Settlement, broker::Health};
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
