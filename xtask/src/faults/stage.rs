//! Where a row plays: a virtual host or a file of its own, reached through a proxy where the row
//! asks for one.

use super::{
    Place,
    fleet::{Fleet, QUEUE},
    rows::{Proxied, Row},
};
use crate::process::Result;
use pumasi_testkit::{
    disk::Disk,
    faults::ledger::Event,
    proxy::Proxy,
    rabbitmq::{RabbitMq, cluster::Cluster},
};
use std::path::Path;

/// Where a row plays.
pub(super) struct Stage<'a> {
    /// What processes are told to reach.
    pub(super) url: String,
    /// What the first worker is told instead.
    pub(super) first_url: Option<String>,
    /// The node, or the first one of the cluster.
    shared: Option<&'a RabbitMq>,
    /// A node that is this row's only.
    own: Option<RabbitMq>,
    cluster: Option<&'a Cluster>,
    /// The virtual host; empty without a node.
    pub(super) vhost: String,
    /// The user of the broker; empty without a node.
    pub(super) user: String,
    proxy: Option<Proxy>,
    disk: Option<Disk>,
}

impl<'a> Stage<'a> {
    /// A fresh virtual host or file.
    pub(super) fn new(place: &'a Place, row: &Row, folder: &Path) -> Self {
        match place {
            Place::Embedded => Self::on_file(row, folder),
            Place::RabbitMq(node) => Self::on_node(node, row),
            Place::Cluster(cluster) => {
                let vhost = cluster.new_vhost();
                Self {
                    // All go to the same node first: it is the one that is hit.
                    url: cluster.url_of(&vhost, 0),
                    first_url: None,
                    shared: Some(cluster.node(0)),
                    own: None,
                    cluster: Some(cluster),
                    vhost,
                    user: "guest".to_owned(),
                    proxy: None,
                    disk: None,
                }
            }
        }
    }

    fn on_file(row: &Row, folder: &Path) -> Self {
        let disk = row.disk.map(Disk::new);
        let folder = disk.as_ref().map_or(folder, Disk::path);
        Self {
            url: format!("sqlite:{}", folder.join("queue.db").display()),
            first_url: None,
            shared: None,
            own: None,
            cluster: None,
            vhost: String::new(),
            user: String::new(),
            proxy: None,
            disk,
        }
    }

    fn on_node(shared: &'a RabbitMq, row: &Row) -> Self {
        let own = row
            .disk
            .map(|size| RabbitMq::start_on_disk(shared.version(), size));
        let node = own.as_ref().unwrap_or(shared);
        let vhost = node.new_vhost();
        let proxy = (row.proxied != Proxied::Nobody).then(|| Proxy::to(node.port()));
        let user = if row.has_password_file {
            node.new_user(&vhost, [".*"; 3])
        } else {
            "guest".to_owned()
        };
        // A password that is in a file comes before this one.
        let url = |port| format!("amqp://{user}:guest@127.0.0.1:{port}/{vhost}");
        let direct = url(node.port());
        let through = proxy.as_ref().map(|proxy| url(proxy.port()));
        let (url, first_url) = match (row.proxied, through) {
            (Proxied::Everybody, Some(through)) => (through, None),
            (_, through) => (direct, through),
        };
        Self {
            url,
            first_url,
            shared: Some(shared),
            cluster: None,
            vhost,
            user,
            proxy,
            disk: None,
            own,
        }
    }

    /// The node of the row.
    pub(super) fn node(&self) -> Result<&RabbitMq> {
        let node = self.own.as_ref().or(self.shared);
        node.ok_or_else(|| "this row needs a node".to_owned())
    }

    /// The cluster of the row.
    pub(super) fn cluster(&self) -> Result<&'a Cluster> {
        let cluster = self.cluster;
        cluster.ok_or_else(|| "this row needs a cluster".to_owned())
    }

    /// The proxy of the row.
    pub(super) fn proxy(&self) -> Result<&Proxy> {
        let proxy = self.proxy.as_ref();
        proxy.ok_or_else(|| "this row needs a proxy".to_owned())
    }

    /// The disk of the row.
    pub(super) fn disk(&self) -> Result<&Disk> {
        let of_node = self.own.as_ref().and_then(RabbitMq::disk);
        let disk = self.disk.as_ref().or(of_node);
        disk.ok_or_else(|| "this row needs a disk of its own".to_owned())
    }

    /// Notes how many deliveries each worker's channel holds, which are `most` at most.
    pub(super) fn note_holdings(&self, fleet: &Fleet<'_>, most: u64) -> Result {
        let columns = ["vhost", "consumer_count", "messages_unacknowledged", "name"];
        let channels = self
            .node()?
            .ctl(&[&["list_channels"], &columns[..]].concat());
        for line in channels.lines() {
            let mut words = line.splitn(4, '\t');
            let number = |word: Option<&str>| word.and_then(|word| word.parse().ok());
            if words.next() != Some(self.vhost.as_str()) || number(words.next()) == Some(0_u64) {
                continue;
            }
            let (Some(deliveries), Some(worker)) = (number(words.next()), words.next()) else {
                return Err(format!("the node said {line}"));
            };
            let worker = worker.to_owned();
            let held = Event::Held {
                worker,
                deliveries,
                most,
            };
            fleet
                .ledger
                .write(held)
                .map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// How many tasks there are outside of the dead letters, whatever queue they wait in.
    pub(super) fn left(&self, fleet: &Fleet<'_>) -> Result<u64> {
        let Ok(node) = self.node() else {
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
            // What is for a queue that is gone ends in a queue of its own: the checker asks for
            // its tasks one by one.
            let is_on_its_way = name.starts_with("pumasi.delay.") && name != "pumasi.delay.lost";
            let counts = is_work || is_on_its_way;
            (counts && messages > 0).then_some((name, messages))
        });
        let waiting: Vec<_> = waiting.collect();
        if !waiting.is_empty() {
            eprintln!("still there: {waiting:?}");
        }
        Ok(waiting.iter().map(|(_, messages)| messages).sum())
    }
}
