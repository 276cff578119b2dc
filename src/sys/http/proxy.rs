//! Which proxy a URL is asked through, by the variables that curl, Go and everybody else read.

use std::net::IpAddr;

use crate::sys::env::Environment;

/// The proxy's URL; `None` for a direct connection. Loopback is never asked through a proxy.
pub(super) fn proxy_for(url: &str, environment: &Environment) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?']).next()?;
    let (host, port) = split_port(authority.rsplit('@').next()?);
    if is_loopback(host) {
        return None;
    }
    let port = port.unwrap_or(if scheme == "https" { "443" } else { "80" });
    let either = |names: [&str; 2]| names.iter().find_map(|name| environment.var(name));
    if either(["NO_PROXY", "no_proxy"])
        .is_some_and(|list| list.split(',').any(|rule| excludes(rule.trim(), host, port)))
    {
        return None;
    }
    // `HTTP_PROXY` in capitals is what a web server makes of a request's `Proxy` header, but only in CGI programs.
    let own = if scheme == "https" { ["HTTPS_PROXY", "https_proxy"] } else { ["http_proxy", "HTTP_PROXY"] };
    either(own).or_else(|| either(["ALL_PROXY", "all_proxy"])).map(ToOwned::to_owned)
}

/// True for what never leaves this machine: `localhost`, names below it, 127.0.0.0/8 and `::1`.
#[must_use]
pub fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Host and port of `host:port`, `[::1]:port`, `host`.
#[must_use]
pub fn split_port(authority: &str) -> (&str, Option<&str>) {
    if let Some(end) = authority.rfind(']') {
        let (host, rest) = authority.split_at(end + 1);
        return (host, rest.strip_prefix(':'));
    }
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') => (host, Some(port)),
        _ => (authority, None),
    }
}

/// True if a rule of `NO_PROXY` is about this host: `*`, a name with all below it, an address or a range of them,
/// each with an optional port.
fn excludes(rule: &str, host: &str, port: &str) -> bool {
    if rule == "*" {
        return true;
    }
    let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    if let (Some((network, bits)), Ok(address)) = (rule.split_once('/'), host.parse::<IpAddr>()) {
        return within(network, bits, address);
    }
    let (name, only) = split_port(rule);
    if only.is_some_and(|only| only != port) {
        return false;
    }
    let name = name.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    let name = name.trim_start_matches('*').trim_start_matches('.');
    !name.is_empty() && (host == name || host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.')))
}

fn within(network: &str, bits: &str, address: IpAddr) -> bool {
    let (Ok(network), Ok(bits)) = (network.parse::<IpAddr>(), bits.parse::<u32>()) else { return false };
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            network.to_bits() & mask == address.to_bits() & mask
        }
        (IpAddr::V6(network), IpAddr::V6(address)) if bits <= 128 => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            network.to_bits() & mask == address.to_bits() & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scheme_has_its_variable_and_some_hosts_none() {
        let environment: Environment = [
            ("HTTPS_PROXY", "http://secure:1"),
            ("http_proxy", "http://plain:2"),
            ("NO_PROXY", "internal.example, .corp.example,10.0.0.0/8,exact.example:8443,[fd00::]/8,fd00::/8"),
        ]
        .into_iter()
        .collect();
        let proxy = |url: &str| proxy_for(url, &environment);
        assert_eq!(proxy("https://ghcr.io/v2/").as_deref(), Some("http://secure:1"));
        assert_eq!(proxy("http://ghcr.io/v2/").as_deref(), Some("http://plain:2"));
        assert_eq!(proxy("https://exact.example/").as_deref(), Some("http://secure:1"));
        assert_eq!(proxy("https://11.0.0.1/").as_deref(), Some("http://secure:1"));
        assert_eq!(proxy("https://notinternal.example/").as_deref(), Some("http://secure:1"));
        for direct in [
            "https://internal.example/",
            "https://a.internal.example:5000/",
            "https://a.corp.example/",
            "https://10.1.2.3:5000/",
            "https://exact.example:8443/",
            "https://[fd12::1]/",
            "https://localhost:5000/",
            "http://127.0.0.2/",
            "https://[::1]:5000/",
        ] {
            assert_eq!(proxy(direct), None, "{direct}");
        }
        let all: Environment = [("ALL_PROXY", "http://all:3"), ("NO_PROXY", "")].into_iter().collect();
        assert_eq!(proxy_for("https://ghcr.io/", &all).as_deref(), Some("http://all:3"));
        let none: Environment = [("ALL_PROXY", "http://all:3"), ("NO_PROXY", "*")].into_iter().collect();
        assert_eq!(proxy_for("https://ghcr.io/", &none), None);
    }
}
