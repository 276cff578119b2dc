//! Addresses that a server in the network may not lead us to: those of this machine, and those at which a cloud answers its
//! own machines. A registry chooses the URLs of its blobs and tokens. Without this check its operator could make us send
//! requests to a service that trusts everybody on this machine, or to the one that hands out the machine's credentials.
//!
//! The addresses that are checked are those that the connection is made to, so that a name cannot resolve to one address for
//! the check and to another for the connection. Behind a proxy, names are resolved by the proxy, and only hosts that are
//! written as addresses are checked.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use super::is_loopback;

/// The metadata services of clouds that are not at link-local addresses: Alibaba, Oracle and Azure, then AWS and Google.
const METADATA_V4: [Ipv4Addr; 3] =
    [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(192, 0, 0, 192), Ipv4Addr::new(168, 63, 129, 16)];
const METADATA_V6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)];

/// The kind of an address that only this machine can reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inward {
    /// This machine itself.
    Loopback,
    /// The link, or the metadata service of a cloud.
    Link,
}

impl Inward {
    /// The kind of an address; `None` for all others. Addresses of private networks are among the others, since a company's
    /// registry and its store may be at them.
    #[must_use]
    pub fn of(address: IpAddr) -> Option<Self> {
        match address {
            IpAddr::V4(address) if address.is_loopback() || address.octets()[0] == 0 => Some(Self::Loopback),
            IpAddr::V4(address) if address.is_link_local() || METADATA_V4.contains(&address) => {
                Some(Self::Link)
            }
            IpAddr::V4(_) => None,
            IpAddr::V6(address) if address.is_loopback() || address.is_unspecified() => Some(Self::Loopback),
            IpAddr::V6(address) if address.is_unicast_link_local() || METADATA_V6.contains(&address) => {
                Some(Self::Link)
            }
            IpAddr::V6(address) => embedded(address).and_then(|inner| Self::of(IpAddr::V4(inner))),
        }
    }

    /// The kind of a URL's host, if it is an address or a name that always means this machine.
    #[must_use]
    pub fn of_host(host: &str) -> Option<Self> {
        if is_loopback(host) {
            return Some(Self::Loopback);
        }
        let bare = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
        bare.parse().ok().and_then(Self::of)
    }

    /// The description in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Loopback => "an address of this machine",
            Self::Link => "an address of this machine's own link or cloud",
        }
    }
}

/// The IPv4 address that an IPv6 address stands for, mapped or behind a translator (RFC 4291, section 2.5.5; RFC 6052,
/// section 2.1).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [front @ .., high, low] = address.segments();
    let inner = Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    let mapped = matches!(front, [0, 0, 0, 0, 0, 0 | 0xffff]);
    let translated = front == [0x64, 0xff9b, 0, 0, 0, 0];
    (mapped || translated).then_some(inner)
}

/// A server leads to such an address and is not at one itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{from} leads to {}, which is {}", shown(host, *address), kind.name())]
pub struct LedInward {
    /// The host that has led there.
    pub from: String,
    /// The host that it leads to.
    pub host: String,
    /// The address of that host, if it is a name.
    pub address: Option<IpAddr>,
    /// Its kind.
    pub kind: Inward,
}

fn shown(host: &str, address: Option<IpAddr>) -> String {
    match address {
        Some(address) if address.to_string() != host => format!("{host} ({address})"),
        _ => host.to_owned(),
    }
}

/// The locations of hosts that the user has named, as they were when they were first resolved.
pub(super) type Known = Arc<Mutex<BTreeMap<String, Place>>>;

/// The location of a host's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// All of this kind.
    All(Inward),
    /// Some on this machine, some elsewhere.
    Some,
    /// All elsewhere. A later answer of the name server does not change that.
    Outside,
}

impl Place {
    fn of(addresses: &ResolvedSocketAddrs) -> Self {
        let kinds = || addresses.iter().map(|address| Inward::of(address.ip()));
        match kinds().next().flatten() {
            Some(first) if kinds().all(|kind| kind == Some(first)) => Self::All(first),
            _ if kinds().any(|kind| kind.is_some()) => Self::Some,
            _ => Self::Outside,
        }
    }
}

/// True if a host may lead to an address of this kind, because it is at one itself.
pub(super) fn may_lead(known: &Known, from: &str, to: Inward) -> bool {
    let known = known.lock().unwrap_or_else(PoisonError::into_inner);
    Inward::of_host(from) == Some(to) || known.get(from) == Some(&Place::All(to))
}

/// Resolves names, and refuses addresses that a server outside may not lead to.
#[derive(Debug)]
pub(super) struct Guard {
    pub(super) inner: DefaultResolver,
    /// The host that has led here; `None` if the user has named it.
    pub(super) from: Option<String>,
    pub(super) known: Known,
}

impl Resolver for Guard {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let found = self.inner.resolve(uri, config, timeout)?;
        let host = uri.host().unwrap_or_default().to_ascii_lowercase();
        if self.from.is_none() {
            let now = Place::of(&found);
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let place = known.entry(host.clone()).or_insert(now);
            if *place != Place::Outside && *place != now {
                *place = Place::Some;
            }
            if *place != Place::Outside {
                return Ok(found);
            }
        }
        let from = self.from.as_ref().unwrap_or(&host);
        // One is enough, since the connection may be made to any of them.
        for address in found.iter().map(std::net::SocketAddr::ip) {
            if let Some(kind) = Inward::of(address)
                && !may_lead(&self.known, from, kind)
            {
                let led = LedInward { from: from.clone(), host: host.clone(), address: Some(address), kind };
                return Err(Error::Other(Box::new(led)));
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_this_machine_and_its_cloud_are_known_in_every_form() {
        for (host, kind) in [
            ("127.0.0.1", Some(Inward::Loopback)),
            ("127.8.9.10", Some(Inward::Loopback)),
            ("0.0.0.0", Some(Inward::Loopback)),
            ("[::1]", Some(Inward::Loopback)),
            ("[::]", Some(Inward::Loopback)),
            ("[::ffff:127.0.0.1]", Some(Inward::Loopback)),
            ("[::127.0.0.1]", Some(Inward::Loopback)),
            ("[64:ff9b::7f00:1]", Some(Inward::Loopback)),
            ("localhost", Some(Inward::Loopback)),
            ("a.localhost.", Some(Inward::Loopback)),
            ("169.254.169.254", Some(Inward::Link)),
            ("[::ffff:a9fe:a9fe]", Some(Inward::Link)),
            ("[fe80::1]", Some(Inward::Link)),
            ("[fd00:ec2::254]", Some(Inward::Link)),
            ("100.100.100.200", Some(Inward::Link)),
            ("168.63.129.16", Some(Inward::Link)),
            ("10.0.0.1", None),
            ("192.168.1.1", None),
            ("[fd12::1]", None),
            ("8.8.8.8", None),
            ("[2001:db8::1]", None),
            ("localhost.example", None),
            ("127.0.0.1.example", None),
        ] {
            assert_eq!(Inward::of_host(host), kind, "{host}");
        }
    }

    #[test]
    fn a_host_that_was_ever_elsewhere_is_not_of_this_machine() {
        let known = Known::default();
        let guard = |from: Option<&str>| Guard {
            inner: DefaultResolver::default(),
            from: from.map(str::to_owned),
            known: Arc::clone(&known),
        };
        let ask = |guard: &Guard, url: &str| {
            let uri: Uri = url.parse().unwrap();
            let timeout = NextTimeout {
                after: ureq::unversioned::transport::time::Duration::NotHappening,
                ..NextTimeout::default()
            };
            guard.resolve(&uri, &Config::default(), timeout)
        };
        // A name that the system's own rules make an address of this machine.
        let led = ask(&guard(Some("r.example")), "http://127.1:5000/").unwrap_err().to_string();
        assert!(
            led.contains("r.example leads to 127.1 (127.0.0.1), which is an address of this machine"),
            "{led}"
        );
        assert!(ask(&guard(Some("r.example")), "http://10.0.0.1:5000/").is_ok());
        // A registry that is on this machine itself, under whatever name.
        ask(&guard(None), "http://127.1:5000/").unwrap();
        assert!(ask(&guard(Some("127.1")), "http://127.2:5000/").is_ok());
        assert!(ask(&guard(Some("127.1")), "http://169.254.169.254/").is_err());
        // A name that was elsewhere when it was first resolved.
        known.lock().unwrap().insert("127.1".into(), Place::Outside);
        assert!(ask(&guard(Some("127.1")), "http://127.2:5000/").is_err());
        let rebound = ask(&guard(None), "http://127.1:5000/").unwrap_err().to_string();
        assert!(rebound.contains("127.1 leads to 127.1 (127.0.0.1)"), "{rebound}");
    }
}
