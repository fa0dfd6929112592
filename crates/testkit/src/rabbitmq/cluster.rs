//! Three nodes of one cluster on loopback, any of which can be cut off from the others.
//!
//! Erlang nodes learn one another's ports from the port mapper. Each node here has a mapper of
//! its own, in which we enter the other two with the port of a proxy of ours. So whatever two
//! nodes say to each other goes through a proxy, and swallowing it is a partition: no packet
//! arrives and no connection ends, as with a broken cable, and no root rights are needed. Clients
//! still reach the node that is cut off, which is the harder case for them.

use super::{Extra, POLL, RabbitMq, Version};
use crate::proxy::{Cut, Proxy};
use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How many nodes.
pub const NODES: usize = 3;
/// Longest time until the nodes have found one another.
const WHOLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest time until a node's port mapper answers.
const MAPPER_TIMEOUT: Duration = Duration::from_secs(20);
/// After how many silent seconds Erlang gives a node up; its default is 60.
const TICK: u8 = 8;
/// After how long a queue takes back what a node holds that it cannot reach; the default is 60 s.
const DISCONNECTED_MS: u32 = 10_000;

/// A running cluster. Its nodes are numbered from 0.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<RabbitMq>,
    roads: Vec<Road>,
    /// An entry lasts as long as its connection to the port mapper.
    entries: Mutex<Vec<(usize, TcpStream)>>,
}

/// The way by which one node calls another.
#[derive(Debug)]
struct Road {
    from: usize,
    to: usize,
    proxy: Proxy,
}

impl Cluster {
    /// Starts three nodes and waits until each of them knows the others.
    ///
    /// # Panics
    /// When they do not come up; the text holds the ends of their logs.
    #[must_use]
    pub fn start(version: Version) -> Self {
        let mut nodes: Vec<RabbitMq> = Vec::new();
        // The names have to be known before the files are written, and follow from the ports.
        let members = members();
        for port in &members {
            let mut lines = format!(
                "net_ticktime = {TICK}\n\
                 cluster_formation.peer_discovery_backend = classic_config\n"
            );
            if version == Version::V4_3 {
                lines += &format!("consumer_disconnected_timeout = {DISCONNECTED_MS}\n");
            }
            for (number, other) in (1..).zip(&members) {
                lines += &format!(
                    "cluster_formation.classic_config.nodes.{number} = pm{other}@127.0.0.1\n"
                );
            }
            nodes.push(RabbitMq::prepare_on(*port, version, &Extra::Member(lines)));
        }
        let cluster = Self {
            roads: roads(&nodes),
            nodes,
            entries: Mutex::default(),
        };
        for node in 0..NODES {
            cluster.spawn(node);
        }
        for node in &cluster.nodes {
            node.wait_until_ready();
        }
        cluster.wait_until_whole();
        cluster
    }

    /// The nodes; a node by itself is stopped and killed through the cluster.
    #[must_use]
    pub fn node(&self, node: usize) -> &RabbitMq {
        &self.nodes[node]
    }

    /// The URL of a virtual host with all three nodes, this one first.
    #[must_use]
    pub fn url_of(&self, vhost: &str, first: usize) -> String {
        let hosts: Vec<String> = (0..NODES)
            .map(|turn| format!("127.0.0.1:{}", self.nodes[(first + turn) % NODES].port))
            .collect();
        format!("amqp://guest:guest@{}/{vhost}", hosts.join(","))
    }

    /// Makes a fresh virtual host on all nodes and returns its name.
    pub fn new_vhost(&self) -> String {
        self.nodes[0].new_vhost()
    }

    /// Kills a node at once.
    pub fn kill9(&self, node: usize) {
        self.nodes[node].kill9();
        self.entries().retain(|(owner, _)| *owner != node);
    }

    /// Starts a node that was killed and waits until it takes connections.
    ///
    /// # Panics
    /// When it does not start within its limit; a node alone may wait for another.
    pub fn restart(&self, node: usize) {
        self.kill9(node);
        self.spawn(node);
        self.nodes[node].wait_until_ready();
    }

    /// Cuts a node off from the two others. Clients still reach it.
    pub fn partition(&self, node: usize) {
        for road in self.roads_of(node) {
            road.proxy.swallow();
        }
    }

    /// Joins what was cut off. What was on its way is gone, as are the connections between nodes.
    pub fn heal(&self) {
        for road in &self.roads {
            road.proxy.cut(Cut::Reset);
            road.proxy.heal();
        }
    }

    /// The node that leads a quorum queue, asked of a node that can know it.
    #[must_use]
    pub fn leader(&self, asked: usize, vhost: &str, queue: &str) -> Option<usize> {
        let said = self.nodes[asked].ctl(&[
            "eval",
            &format!(
                "{{ok, Q}} = rabbit_amqqueue:lookup(\
                   rabbit_misc:r(<<\"{vhost}\">>, queue, <<\"{queue}\">>)), \
                 ra_leaderboard:lookup_leader(element(1, amqqueue:get_pid(Q)))."
            ),
        ]);
        self.nodes
            .iter()
            .position(|node| said.contains(&node.name()))
    }

    /// How many nodes this one sees run, with itself.
    #[must_use]
    pub fn seen_by(&self, node: usize) -> usize {
        let said = self.nodes[node].ctl(&["eval", "length(rabbit_nodes:list_running())."]);
        said.trim().parse().unwrap_or(0)
    }

    /// Waits until every node sees the others run.
    ///
    /// # Panics
    /// When they do not find one another within a minute.
    pub fn wait_until_whole(&self) {
        let until = Instant::now() + WHOLE_TIMEOUT;
        while (0..NODES).any(|node| self.seen_by(node) < NODES) {
            assert!(Instant::now() < until, "no cluster:\n{}", self.log_tails());
            std::thread::sleep(POLL);
        }
    }

    /// The last lines of the nodes' logs.
    #[must_use]
    pub fn log_tails(&self) -> String {
        self.nodes.iter().map(RabbitMq::log_tail).collect()
    }

    fn spawn(&self, node: usize) {
        self.nodes[node].spawn();
        for road in self.roads.iter().filter(|road| road.from == node) {
            let entry = enter(
                self.nodes[node].epmd_port,
                &self.nodes[road.to].name(),
                road.proxy.port(),
            );
            self.entries().push((node, entry));
        }
    }

    fn roads_of(&self, node: usize) -> impl Iterator<Item = &Road> {
        self.roads
            .iter()
            .filter(move |road| road.from == node || road.to == node)
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, Vec<(usize, TcpStream)>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The AMQP ports of the nodes, smallest first: the first of the list founds the cluster.
fn members() -> Vec<u16> {
    let mut ports: Vec<u16> = (0..NODES).map(|_| super::free_port()).collect();
    ports.sort_unstable();
    ports
}

/// A proxy from each node to each other one.
fn roads(nodes: &[RabbitMq]) -> Vec<Road> {
    let mut roads = Vec::new();
    for from in 0..nodes.len() {
        for (to, node) in nodes.iter().enumerate().filter(|(to, _)| *to != from) {
            let proxy = Proxy::to(node.dist_port);
            roads.push(Road { from, to, proxy });
        }
    }
    roads
}

/// Enters a node into a port mapper, as the node itself would (Erlang's distribution protocol,
/// `ALIVE2_REQ`).
fn enter(mapper: u16, name: &str, port: u16) -> TcpStream {
    let (name, _) = name.split_once('@').expect("a long name");
    let length = u16::try_from(name.len()).expect("a short name");
    let mut request = vec![b'x'];
    request.extend(port.to_be_bytes());
    // An ordinary node, over TCP, of protocol versions 6 down to 5.
    request.extend([b'M', 0, 0, 6, 0, 5]);
    request.extend(length.to_be_bytes());
    request.extend(name.as_bytes());
    // Nothing besides.
    request.extend([0, 0]);
    let mut framed = u16::try_from(request.len())
        .expect("a short request")
        .to_be_bytes()
        .to_vec();
    framed.extend(request);
    let until = Instant::now() + MAPPER_TIMEOUT;
    loop {
        if let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, mapper)) {
            let mut answer = [1_u8; 2];
            stream.write_all(&framed).expect("the port mapper listens");
            stream
                .read_exact(&mut answer)
                .expect("the port mapper answers");
            let [_, refused] = answer;
            assert_eq!(refused, 0, "the port mapper refused {name}");
            return stream;
        }
        assert!(Instant::now() < until, "no port mapper for {name}");
        std::thread::sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_of_three_is_killed_and_comes_back_and_one_is_cut_off_and_joined_again() {
        if let Err(reason) = Version::V4_3.available() {
            println!("skipped: {reason}");
            return;
        }
        let cluster = Cluster::start(Version::V4_3);
        let vhost = cluster.new_vhost();
        cluster.kill9(2);
        await_sight(&cluster, 0, 2);
        cluster.restart(2);
        cluster.wait_until_whole();
        assert!(cluster.node(2).ctl(&["list_vhosts"]).contains(&vhost));

        cluster.partition(0);
        await_sight(&cluster, 1, 2);
        await_sight(&cluster, 0, 1);
        assert_eq!(cluster.seen_by(2), 2);
        cluster.heal();
        cluster.wait_until_whole();
    }

    /// Waits until a node sees this many.
    fn await_sight(cluster: &Cluster, node: usize, many: usize) {
        let until = Instant::now() + WHOLE_TIMEOUT;
        while cluster.seen_by(node) != many {
            assert!(Instant::now() < until, "{}", cluster.log_tails());
            std::thread::sleep(POLL);
        }
    }
}
