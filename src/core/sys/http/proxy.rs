//! The proxy for a URL, by the variables that curl, Go and others read.

use std::fmt;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ureq::ProxyProtocol;

use crate::error::{ExitCode, Explain};
use crate::sys::env::Environment;

/// The value of a proxy variable. It is never shown, since it may contain a password.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Setting {
    /// The variable's name.
    pub(super) variable: &'static str,
    /// Its value.
    value: String,
}

/// A proxy that a request goes through.
#[derive(Clone)]
pub(super) struct Proxy {
    /// For messages.
    name: ProxyName,
    /// With its user and password.
    proxy: ureq::Proxy,
}

/// A proxy for messages, without its user and password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyName {
    /// `http://proxy.example:3128`
    pub url: String,
    /// The variable that it comes from.
    pub variable: &'static str,
}

impl fmt::Display for ProxyName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the proxy {} of {}", self.url, self.variable)
    }
}

/// Why a proxy cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// The variable's value is not a proxy that we can use.
    #[error("the variable {variable} does not name a proxy: {reason}")]
    Setting {
        /// The variable.
        variable: &'static str,
        /// Why.
        reason: &'static str,
    },
    /// It wants credentials (407).
    #[error("{proxy} {}", if *.given { "refuses the user and password that the variable has" } else { "wants a user and a password" })]
    Credentials {
        /// The proxy.
        proxy: ProxyName,
        /// True if it got some.
        given: bool,
    },
    /// It does not connect to this server.
    #[error("{proxy} refuses to connect to {host}: it answers {status}")]
    Refuses {
        /// The proxy.
        proxy: ProxyName,
        /// The server, with its port.
        host: String,
        /// The status of its answer.
        status: u16,
    },
}

impl Explain for ProxyError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Setting { .. } => ExitCode::Config,
            Self::Credentials { .. } => ExitCode::Unauthorized,
            Self::Refuses { .. } => ExitCode::Network,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Setting { variable, .. } => format!("correct or unset {variable}"),
            Self::Credentials { proxy, .. } => {
                let (scheme, host) = proxy.url.split_once("://").unwrap_or(("http", &proxy.url));
                format!(
                    "set {}={scheme}://USER:PASSWORD@{host} with special characters as %XX, or name the server in \
                     NO_PROXY where it can be reached directly",
                    proxy.variable
                )
            }
            Self::Refuses { host, .. } => {
                format!(
                    "have the proxy allow {host}, or name it in NO_PROXY where it can be reached directly"
                )
            }
        })
    }
}

impl Setting {
    /// The proxy that the value describes.
    pub(super) fn proxy(&self) -> Result<Proxy, ProxyError> {
        let fault = |reason| ProxyError::Setting { variable: self.variable, reason };
        let proxy = ureq::Proxy::new(&self.value).map_err(|_| {
            fault("write it as http://proxy.example:3128, or http://USER:PASSWORD@proxy.example:3128")
        })?;
        let scheme = match proxy.protocol() {
            ProxyProtocol::Http => "http",
            ProxyProtocol::Https => "https",
            _ => return Err(fault("it is a SOCKS proxy, and only HTTP proxies are supported")),
        };
        let url = format!("{scheme}://{}:{}", proxy.host(), proxy.port());
        Ok(Proxy { name: ProxyName { url, variable: self.variable }, proxy })
    }
}

impl Proxy {
    pub(super) const fn name(&self) -> &ProxyName {
        &self.name
    }

    /// In ureq's form, for connections by `CONNECT`.
    pub(super) fn tunnel(&self) -> ureq::Proxy {
        self.proxy.clone()
    }

    /// True if the proxy itself is spoken to without TLS.
    pub(super) fn is_plain(&self) -> bool {
        self.proxy.protocol() == ProxyProtocol::Http
    }

    /// True if the variable has a user or a password.
    pub(super) fn has_credentials(&self) -> bool {
        self.proxy.username().is_some() || self.proxy.password().is_some()
    }

    /// The value of `Proxy-Authorization`.
    pub(super) fn authorization(&self) -> Option<String> {
        let (user, password) = (self.proxy.username(), self.proxy.password());
        let text = format!("{}:{}", user.unwrap_or_default(), password.unwrap_or_default());
        self.has_credentials().then(|| format!("Basic {}", STANDARD.encode(text)))
    }
}

/// The setting for a URL; `None` for a direct connection. Loopback always has one.
pub(super) fn proxy_for(url: &str, environment: &Environment) -> Option<Setting> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?']).next()?;
    let (host, port) = split_port(authority.rsplit('@').next()?);
    if is_loopback(host) {
        return None;
    }
    let port = port.unwrap_or(if scheme == "https" { "443" } else { "80" });
    let either = |names: [&'static str; 2]| {
        let found = names.iter().find_map(|name| Some((*name, environment.var(name)?)));
        found.map(|(variable, value)| Setting { variable, value: value.to_owned() })
    };
    if either(["NO_PROXY", "no_proxy"])
        .is_some_and(|list| list.value.split(',').any(|rule| excludes(rule.trim(), host, port)))
    {
        return None;
    }
    // In CGI programs `HTTP_PROXY` in capitals is a request's `Proxy` header. This is not a CGI program.
    let own = if scheme == "https" { ["HTTPS_PROXY", "https_proxy"] } else { ["http_proxy", "HTTP_PROXY"] };
    either(own)
        .or_else(|| either(["ALL_PROXY", "all_proxy"]))
        .or_else(|| of_package_manager(scheme, host, environment))
}

/// apt's configuration, if a caller has put it beside the environment's variables. Options for http also count for https
/// if that has none of its own.
fn of_package_manager(scheme: &str, host: &str, environment: &Environment) -> Option<Setting> {
    const PLAIN: &str = "Acquire::http::Proxy";
    let own = if scheme == "https" { ["Acquire::https::Proxy", PLAIN] } else { [PLAIN; 2] };
    let of_host = |name: &&'static str| environment.var(&format!("{name}::{}", host.to_ascii_lowercase()));
    let (variable, value) =
        own.iter().find_map(|name| Some((*name, of_host(name).or_else(|| environment.var(name))?)))?;
    let direct = matches!(value.to_ascii_lowercase().as_str(), "direct" | "false");
    (!direct).then(|| Setting { variable, value: value.to_owned() })
}

/// True for hosts that are always this machine: `localhost`, names below it, 127.0.0.0/8 and `::1`.
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

/// True if a rule of `NO_PROXY` matches this host. A rule is `*`, a name that includes everything below it, an address or a
/// range of addresses, each with an optional port.
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
    fn apts_proxies_come_after_the_variables() {
        let apt = [
            ("Acquire::http::Proxy", "http://apt:3142"),
            ("Acquire::http::Proxy::own.example", "DIRECT"),
            ("Acquire::https::Proxy::secure.example", "http://other:1"),
        ];
        let environment: Environment = apt.into_iter().collect();
        let proxy = |url: &str| Some(proxy_for(url, &environment)?.value);
        assert_eq!(proxy("http://m.example/debian").as_deref(), Some("http://apt:3142"));
        assert_eq!(proxy("https://m.example/debian").as_deref(), Some("http://apt:3142"));
        assert_eq!(proxy("https://secure.example/debian").as_deref(), Some("http://other:1"));
        for direct in ["http://own.example/debian", "http://OWN.example/debian", "http://127.0.0.1:3142/"] {
            assert_eq!(proxy(direct), None, "{direct}");
        }
        let environment: Environment = apt.into_iter().chain([("http_proxy", "http://own:2")]).collect();
        assert_eq!(proxy_for("http://m.example/", &environment).unwrap().value, "http://own:2");
        assert_eq!(proxy_for("http://m.example/", &environment).unwrap().variable, "http_proxy");
        let environment: Environment = [("Acquire::http::Proxy", "false")].into_iter().collect();
        assert!(proxy_for("http://m.example/", &environment).is_none());
    }

    #[test]
    fn each_scheme_has_its_variable_and_some_hosts_none() {
        let environment: Environment = [
            ("HTTPS_PROXY", "http://secure:1"),
            ("http_proxy", "http://plain:2"),
            ("NO_PROXY", "internal.example, .corp.example,10.0.0.0/8,exact.example:8443,[fd00::]/8,fd00::/8"),
        ]
        .into_iter()
        .collect();
        let proxy = |url: &str| Some(proxy_for(url, &environment)?.value);
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
        let found = proxy_for("https://ghcr.io/", &all).unwrap();
        assert_eq!((found.variable, found.value.as_str()), ("ALL_PROXY", "http://all:3"));
        let none: Environment = [("ALL_PROXY", "http://all:3"), ("NO_PROXY", "*")].into_iter().collect();
        assert!(proxy_for("https://ghcr.io/", &none).is_none());
    }

    #[test]
    fn a_proxy_is_shown_without_its_password() {
        let of = |value: &str| Setting { variable: "HTTPS_PROXY", value: value.to_owned() }.proxy();
        let proxy = of("http://me:hunt%40er2@proxy.example:3128/").unwrap();
        assert_eq!(proxy.name().to_string(), "the proxy http://proxy.example:3128 of HTTPS_PROXY");
        assert_eq!(proxy.authorization().unwrap(), format!("Basic {}", STANDARD.encode("me:hunt@er2")));
        assert_eq!(of("proxy.example:3128").unwrap().name().url, "http://proxy.example:3128");
        assert_eq!(of("https://[fd00::1]").unwrap().name().url, "https://[fd00::1]:443");
        for wrong in ["socks5h://me:hunter2@proxy.example", "http://me:hunter2@", "hunter2 proxy"] {
            let error = of(wrong).err().expect(wrong);
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
    }
}
