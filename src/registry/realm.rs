//! Whether a token service belongs to the registry's operator, judged by the hosts.

use crate::sys::http;

/// Domains that belong together although they look different.
const KNOWN: [(&str, &str); 1] = [("docker.com", "docker.io")];
/// Second-level names below which countries register domains, as in `example.co.uk`.
const SECOND: [&str; 12] = ["ac", "co", "com", "edu", "gob", "gov", "go", "mil", "ne", "net", "or", "org"];
/// Domains below which anybody can have a name, so that two hosts there may belong to different parties.
const SHARED: [&str; 24] = [
    "amazonaws.com",
    "appspot.com",
    "azurecontainer.io",
    "azurecr.io",
    "azurewebsites.net",
    "cloudapp.net",
    "cloudfront.net",
    "duckdns.org",
    "fly.dev",
    "github.io",
    "githubusercontent.com",
    "gitlab.io",
    "googleusercontent.com",
    "herokuapp.com",
    "netlify.app",
    "ngrok.io",
    "ngrok-free.app",
    "onrender.com",
    "pages.dev",
    "run.app",
    "vercel.app",
    "web.app",
    "windows.net",
    "workers.dev",
];

/// True if a token service seems to belong to its registry: the same host, one of the same registered domain, or a known
/// pair.
pub(super) fn is_own(registry: &str, service: &str) -> bool {
    if registry == service || http::is_loopback(registry) && http::is_loopback(service) {
        return true;
    }
    let (Some(registry), Some(service)) = (domain(registry), domain(service)) else { return false };
    registry == service || KNOWN.contains(&(registry, service)) || KNOWN.contains(&(service, registry))
}

/// The registered domain of a host; `None` for addresses.
fn domain(host: &str) -> Option<&str> {
    let host = host.trim_end_matches('.');
    let is_address =
        host.starts_with('[') || host.rsplit('.').next()?.bytes().all(|byte| byte.is_ascii_digit());
    if is_address {
        return None;
    }
    let last = |count: usize| {
        let start = host.rmatch_indices('.').nth(count - 1).map_or(0, |(at, _)| at + 1);
        &host[start..]
    };
    let two = last(2);
    let (second, top) = two.split_once('.').unwrap_or((two, ""));
    let by_country = top.len() == 2 && SECOND.contains(&second);
    Some(if by_country || SHARED.contains(&two) { last(3) } else { two })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_told_apart_by_whoever_has_registered_its_domain() {
        for (registry, service, own) in [
            ("registry-1.docker.io", "auth.docker.io", true),
            ("registry-1.docker.io", "auth.docker.com", true),
            ("ghcr.io", "ghcr.io", true),
            ("registry.gitlab.com", "gitlab.com", true),
            ("r.example.co.uk", "auth.example.co.uk", true),
            ("127.0.0.1", "localhost", true),
            ("10.0.0.1", "10.0.0.1", true),
            ("registry", "registry", true),
            ("registry", "tokens", false),
            ("10.0.0.1", "10.0.0.2", false),
            ("r.one.co.uk", "r.two.co.uk", false),
            ("one.azurecr.io", "two.azurecr.io", false),
            ("one.azurecr.io", "auth.one.azurecr.io", true),
            ("r.example.com", "r.example.com.evil.example", false),
            ("docker.io.evil.example", "auth.docker.io", false),
            ("r.example", "127.0.0.1", false),
        ] {
            assert_eq!(is_own(registry, service), own, "{registry} {service}");
        }
    }
}
