//! Which addresses a service may have.
//!
//! The ranges are those of the IANA registries of special-purpose addresses. The names that are
//! taken for private are those of RFC 6762 (appendix G, and `local`), RFC 8375 (`home.arpa`) and
//! Kubernetes (`svc`).

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
    sync::Arc,
};

const fn v4(a: u8, b: u8, c: u8, d: u8, bits: u8) -> IpNet {
    IpNet::new_assert(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), bits)
}

/// A network by the first two and the last of its eight groups.
const fn v6(a: u16, b: u16, h: u16, bits: u8) -> IpNet {
    IpNet::new_assert(IpAddr::V6(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, h)), bits)
}

/// Never a service: this host, link-local, multicast, broadcast, and where clouds keep the
/// credentials of a machine.
const NEVER: [IpNet; 12] = [
    v4(0, 0, 0, 0, 8),
    v4(169, 254, 0, 0, 16),
    v4(224, 0, 0, 0, 4),
    v4(255, 255, 255, 255, 32),
    // Metadata: Alibaba, Azure, Oracle, and those of AWS and Google over IPv6.
    v4(100, 100, 100, 200, 32),
    v4(168, 63, 129, 16, 32),
    v4(192, 0, 0, 192, 32),
    v6(0xfd00, 0xec2, 0x254, 128),
    v6(0xfd20, 0xce, 0x254, 128),
    v6(0, 0, 0, 128),
    v6(0xfe80, 0, 0, 10),
    v6(0xff00, 0, 0, 8),
];

const LOOPBACK: [IpNet; 2] = [v4(127, 0, 0, 0, 8), v6(0, 0, 1, 128)];

/// The addresses of one network among others; of carriers and clusters, too (100.64.0.0/10).
const PRIVATE: [IpNet; 5] = [
    v4(10, 0, 0, 0, 8),
    v4(172, 16, 0, 0, 12),
    v4(192, 168, 0, 0, 16),
    v4(100, 64, 0, 0, 10),
    v6(0xfc00, 0, 0, 7),
];

/// Reserved for something else than the hosts of the Internet; only by its network.
const RESERVED: [IpNet; 11] = [
    v4(192, 0, 0, 0, 24),
    v4(192, 0, 2, 0, 24),
    v4(192, 88, 99, 0, 24),
    v4(198, 18, 0, 0, 15),
    v4(198, 51, 100, 0, 24),
    v4(203, 0, 113, 0, 24),
    v4(240, 0, 0, 0, 4),
    v6(0x2001, 0, 0, 23),
    v6(0x2001, 0xdb8, 0, 32),
    v6(0x2002, 0, 0, 16),
    v6(0x3fff, 0, 0, 20),
];

/// What is written with an IPv4 address in its last four bytes, for a gateway to reach it.
const TRANSLATED: IpNet = v6(0x64, 0xff9b, 0, 96);

/// All of IPv6 that has been given out to hosts of the Internet.
const GLOBAL: IpNet = v6(0x2000, 0, 0, 3);

/// Endings of names that no public name has.
const PRIVATE_NAMES: [&str; 9] = [
    "svc",
    "local",
    "internal",
    "lan",
    "intranet",
    "private",
    "corp",
    "home",
    "home.arpa",
];

/// Some of the addresses that a service may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Network {
    /// The hosts of the Internet.
    Public,
    /// RFC 1918, RFC 6598 (carriers, some clusters) and unique local IPv6.
    Private,
    /// This machine.
    Loopback,
    /// One network.
    Of(IpNet),
}

impl Network {
    fn holds(self, address: IpAddr) -> bool {
        match self {
            Self::Public => is_public(address),
            Self::Private => is_in(&PRIVATE, address),
            Self::Loopback => is_in(&LOOPBACK, address),
            Self::Of(network) => network.contains(&address),
        }
    }
}

impl FromStr for Network {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "public" => Ok(Self::Public),
            "private" => Ok(Self::Private),
            "loopback" => Ok(Self::Loopback),
            _ => text
                .parse()
                .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
                .map(Self::Of)
                .map_err(|_| {
                    format!(
                        "`{}` is no network: expected `public`, `private`, `loopback`, or one like `10.96.0.0/12`",
                        text.escape_debug()
                    )
                }),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Public => f.write_str("public"),
            Self::Private => f.write_str("private"),
            Self::Loopback => f.write_str("loopback"),
            Self::Of(network) => network.fmt(f),
        }
    }
}

impl TryFrom<String> for Network {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

/// All addresses that a service may have. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Networks(Arc<[Network]>);

impl Networks {
    pub(crate) fn new(networks: Vec<Network>) -> Self {
        Self(networks.into())
    }

    /// What the host of a URL needs.
    pub(crate) fn needed_by(host: &str) -> Self {
        if let Some(address) = literal(host) {
            return Self::new(vec![Network::Of(address.into())]);
        }
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let is_below = |end: &str| {
            host.strip_suffix(end)
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        if is_below("localhost") {
            return Self::new(vec![Network::Loopback]);
        }
        if !host.contains('.') || PRIVATE_NAMES.into_iter().any(is_below) {
            return Self::new(vec![Network::Private, Network::Public]);
        }
        Self::new(vec![Network::Public])
    }

    /// Whether a service may have this address.
    pub(crate) fn permit(&self, address: IpAddr) -> bool {
        let real = real(address);
        let holds = |network: &Network| network.holds(real) || network.holds(address);
        !is_in(&NEVER, real) && !is_in(&NEVER, address) && self.0.iter().any(holds)
    }
}

/// The host of a URL as an address, where it is one.
pub(super) fn literal(host: &str) -> Option<IpAddr> {
    host.trim_matches(['[', ']']).parse().ok()
}

/// The address that is reached in the end.
fn real(address: IpAddr) -> IpAddr {
    if let IpAddr::V6(v6) = address
        && TRANSLATED.contains(&address)
    {
        let [.., a, b, c, d] = v6.octets();
        return Ipv4Addr::new(a, b, c, d).into();
    }
    address.to_canonical()
}

fn is_in(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

fn is_public(address: IpAddr) -> bool {
    let other = [&NEVER[..], &LOOPBACK, &PRIVATE, &RESERVED];
    (address.is_ipv4() || GLOBAL.contains(&address))
        && !other.iter().any(|networks| is_in(networks, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLIC: [&str; 4] = [
        "93.184.215.14",
        "2606:2800::1",
        "64:ff9b::5db8:d70e",
        "1.1.1.1",
    ];
    const INNER: [&str; 6] = [
        "10.0.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "100.64.0.1",
        "fd12:3456::1",
        "::ffff:10.0.0.1",
    ];
    const OWN: [&str; 4] = ["127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1"];
    const REFUSED: [&str; 14] = [
        "0.0.0.0",
        "0.1.2.3",
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "fd00:ec2::254",
        "fe80::1",
        "224.0.0.1",
        "255.255.255.255",
        "ff02::1",
        "::",
    ];
    const SPECIAL: [&str; 7] = [
        "240.0.0.1",
        "192.0.2.1",
        "198.18.0.1",
        "2002:a00:1::1",
        "2001:db8::1",
        "::10.0.0.1",
        "fec0::1",
    ];

    fn networks(texts: &[&str]) -> Networks {
        Networks::new(texts.iter().map(|text| text.parse().unwrap()).collect())
    }

    #[track_caller]
    fn check(networks: &Networks, permitted: &[&[&str]]) {
        let all = [&PUBLIC[..], &INNER, &OWN, &REFUSED, &SPECIAL];
        for address in all.concat() {
            let expected = permitted.concat().contains(&address);
            let permits = networks.permit(address.parse().unwrap());
            assert_eq!(permits, expected, "{address} in {networks:?}");
        }
    }

    #[test]
    fn each_word_permits_its_addresses_and_nothing_permits_what_is_never_a_service() {
        check(&networks(&[]), &[]);
        check(&networks(&["public"]), &[&PUBLIC]);
        check(&networks(&["private"]), &[&INNER]);
        check(&networks(&["loopback"]), &[&OWN]);
        check(&networks(&["240.0.0.0/4"]), &[&["240.0.0.1"]]);
        let everything = networks(&["0.0.0.0/0", "::/0"]);
        check(&everything, &[&PUBLIC, &INNER, &OWN, &SPECIAL]);
    }

    #[test]
    fn a_host_needs_what_its_name_says() {
        for host in ["localhost", "localhost.", "LOCALHOST", "a.localhost"] {
            assert_eq!(Networks::needed_by(host), networks(&["loopback"]), "{host}");
        }
        for host in [
            "resizer",
            "resizer.default.svc",
            "resizer.default.svc.cluster.local",
            "resizer.prod.internal.",
            "nas.home.arpa",
        ] {
            let needed = networks(&["private", "public"]);
            assert_eq!(Networks::needed_by(host), needed, "{host}");
        }
        for host in [
            "api.example.com",
            "notlocalhost.com",
            "mysvc.io",
            "local.example",
        ] {
            assert_eq!(Networks::needed_by(host), networks(&["public"]), "{host}");
        }
        assert_eq!(Networks::needed_by("[::1]"), networks(&["::1"]));
        assert_eq!(Networks::needed_by("10.1.2.3"), networks(&["10.1.2.3/32"]));
    }

    #[test]
    fn a_network_is_read_as_it_is_written() {
        for text in ["public", "private", "loopback", "10.96.0.0/12", "fd00::/8"] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), text);
        }
        for text in ["", "10.0.0.0/33", "all", "10.0.0", "example.com"] {
            let problem = text.parse::<Network>().unwrap_err();
            assert!(problem.contains("is no network"), "{problem}");
        }
    }
}
