//! Where a row plays: a virtual host or a file of its own, reached through a proxy where the row
//! asks for one.

use super::{
    Place,
    fleet::{Fleet, QUEUE},
    rows::Row,
};
use crate::process::Result;
use pumasi_testkit::{disk::Disk, proxy::Proxy, rabbitmq::RabbitMq};
use std::path::Path;

/// Where a row plays.
pub(super) struct Stage<'a> {
    /// What processes are told to reach.
    pub(super) url: String,
    node: Option<&'a RabbitMq>,
    /// The virtual host; empty without a node.
    pub(super) vhost: String,
    proxy: Option<Proxy>,
    disk: Option<Disk>,
}

impl<'a> Stage<'a> {
    /// A fresh virtual host or file.
    pub(super) fn new(place: &'a Place, row: &Row, folder: &Path) -> Self {
        let Place::RabbitMq(node) = place else {
            let disk = row.disk.map(Disk::new);
            let folder = disk.as_ref().map_or(folder, Disk::path);
            return Self {
                url: format!("sqlite:{}", folder.join("queue.db").display()),
                node: None,
                vhost: String::new(),
                proxy: None,
                disk,
            };
        };
        let vhost = node.new_vhost();
        let proxy = row.is_proxied.then(|| Proxy::to(node.port()));
        let port = proxy.as_ref().map_or(node.port(), Proxy::port);
        Self {
            url: format!("amqp://guest:guest@127.0.0.1:{port}/{vhost}"),
            node: Some(node),
            vhost,
            proxy,
            disk: None,
        }
    }

    /// The node of the row.
    pub(super) fn node(&self) -> Result<&'a RabbitMq> {
        self.node.ok_or_else(|| "this row needs a node".to_owned())
    }

    /// The proxy of the row.
    pub(super) fn proxy(&self) -> Result<&Proxy> {
        let proxy = self.proxy.as_ref();
        proxy.ok_or_else(|| "this row needs a proxy".to_owned())
    }

    /// The disk of the row.
    pub(super) fn disk(&self) -> Result<&Disk> {
        let disk = self.disk.as_ref();
        disk.ok_or_else(|| "this row needs a disk of its own".to_owned())
    }

    /// How many tasks there are outside of the dead letters, whatever queue they wait in.
    pub(super) fn left(&self, fleet: &Fleet<'_>) -> Result<u64> {
        let Some(node) = self.node else {
            let mut left = 0;
            for status in fleet.ask(&["queue", "show", QUEUE])? {
                for part in ["ready", "in_flight", "delayed"] {
                    left += status[part].as_u64().unwrap_or(0);
                }
            }
            return Ok(left);
        };
        let queues = node.ctl(&["list_queues", "-p", &self.vhost, "name", "messages"]);
        let waiting = queues.lines().filter_map(|line| {
            let (name, messages) = line.split_once('\t')?;
            let messages: u64 = messages.trim().parse().ok()?;
            let is_work = name == QUEUE || name == format!("{QUEUE}.suspects");
            let counts = is_work || name.starts_with("pumasi.delay.");
            (counts && messages > 0).then_some((name, messages))
        });
        let waiting: Vec<_> = waiting.collect();
        if !waiting.is_empty() {
            eprintln!("still there: {waiting:?}");
        }
        Ok(waiting.iter().map(|(_, messages)| messages).sum())
    }
}
