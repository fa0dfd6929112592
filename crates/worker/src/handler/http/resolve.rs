//! Resolves the names of services, and lets nothing through that the service may not have.
//!
//! What is looked at here is what is connected to: the addresses are not asked for a second time,
//! so that no answer of a name server can change between the look and the connection.

use crate::config::Networks;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::{
    io,
    net::{IpAddr, SocketAddr},
};

/// A resolver of the system's names, within networks.
#[derive(Debug)]
pub(super) struct Resolver {
    networks: Networks,
}

/// Why a name leads nowhere.
#[derive(Debug, thiserror::Error)]
enum ResolveError {
    #[error("the name `{name}` cannot be resolved: {problem}")]
    Unknown { name: String, problem: io::Error },
    #[error("the name `{name}` has no address")]
    Empty { name: String },
    #[error("`{name}` has the address {address}, which the handler's `allow` does not permit")]
    Refused { name: String, address: IpAddr },
}

impl Resolver {
    pub(super) fn new(networks: Networks) -> std::sync::Arc<Self> {
        std::sync::Arc::new(Self { networks })
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let networks = self.networks.clone();
        Box::pin(async move {
            let name = name.as_str().to_owned();
            let found = tokio::net::lookup_host((name.as_str(), 0)).await;
            let found = match found.map(Iterator::collect) {
                Ok(found) => found,
                Err(problem) => return Err(ResolveError::Unknown { name, problem }.into()),
            };
            let permitted = permitted(&name, found, &networks)?;
            Ok(Box::new(permitted.into_iter()) as Addrs)
        })
    }
}

/// Those of the addresses that a service may have; at least one.
fn permitted(
    name: &str,
    found: Vec<SocketAddr>,
    networks: &Networks,
) -> Result<Vec<SocketAddr>, ResolveError> {
    let name = || name.to_owned();
    let Some(first) = found.first().map(SocketAddr::ip) else {
        return Err(ResolveError::Empty { name: name() });
    };
    let permits = |address: &SocketAddr| networks.permit(address.ip());
    let permitted: Vec<SocketAddr> = found.into_iter().filter(permits).collect();
    if permitted.is_empty() {
        return Err(ResolveError::Refused {
            name: name(),
            address: first,
        });
    }
    Ok(permitted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Network;

    #[test]
    fn of_mixed_addresses_only_the_permitted_ones_are_connected_to() {
        let networks = Networks::new(vec![Network::Public]);
        let address = |text: &str| SocketAddr::new(text.parse().unwrap(), 0);
        let mixed = ["10.0.0.1", "93.184.215.14", "169.254.169.254", "::1"];
        let permitted = |found| permitted("api.example.com", found, &networks);
        let kept = permitted(mixed.map(address).to_vec()).unwrap();
        assert_eq!(kept, [address("93.184.215.14")]);
        let refused = permitted(vec![address("10.0.0.1")]).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "`api.example.com` has the address 10.0.0.1, which the handler's `allow` does not permit"
        );
        assert!(permitted(vec![]).is_err());
    }
}
