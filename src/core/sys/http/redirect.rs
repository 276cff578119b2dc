//! Redirects: how far they are followed, which servers they may lead to, and what goes along.

use super::{HttpError, Method, Request, Response, Transport, Trust, Url, is_loopback};
use crate::sys::cancel::Cancel;

/// Redirects that are followed for one request.
const MAX_REDIRECTS: u32 = 10;

/// A redirect that is not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedirectError {
    /// There are too many.
    #[error("it redirects without end")]
    Endless,
    /// `Location` is not a URL, or one with a user's name in it.
    #[error("it redirects to an invalid URL")]
    Invalid,
    /// It leads from TLS to another server without it.
    #[error("it redirects to an address without TLS")]
    Insecure,
    /// It asks for what was sent to be sent as something else.
    #[error("it redirects an upload with the status {0}")]
    Upload(u16),
}

/// The way of one request, from the server that it is for along redirects.
#[derive(Debug)]
pub struct Trail {
    home: Url,
    at: Url,
    followed: u32,
}

/// What whoever sends a request decides about the servers on its way.
pub trait Sender {
    /// The error of a request that fails.
    type Error;

    /// Whom a server is trusted by.
    fn trust(&self, at: &Url) -> Trust;

    /// The value of `Authorization`, for the server that the request is for. No other server gets one.
    fn authorization(&mut self) -> Result<Option<String>, Self::Error>;

    /// The error of a request that has no answer.
    fn failed(&self, error: HttpError, trail: &Trail) -> Self::Error;

    /// The error of a redirect that is not followed.
    fn misled(&self, error: RedirectError, trail: &Trail) -> Self::Error;
}

impl Trail {
    /// A request for `home` that begins at `first`, which may be another server that `home` has named.
    #[must_use]
    pub fn new(home: &Url, first: &Url) -> Self {
        Self { home: home.clone(), at: first.clone(), followed: 0 }
    }

    /// Where the request is now.
    #[must_use]
    pub fn at(&self) -> &Url {
        &self.at
    }

    /// True at the server that the request is for. Only this server gets credentials.
    #[must_use]
    pub fn is_home(&self) -> bool {
        self.at.same_origin(&self.home)
    }

    /// Follows a redirect; false if the answer is not one.
    fn follow(&mut self, method: Method, response: &Response) -> Result<bool, RedirectError> {
        let status = response.status;
        let Some(location) = response.header("location") else { return Ok(false) };
        if !matches!(status, 301 | 302 | 303 | 307 | 308) {
            return Ok(false);
        }
        self.followed += 1;
        if self.followed > MAX_REDIRECTS {
            return Err(RedirectError::Endless);
        }
        // The other statuses would turn it into a GET.
        if !method.is_safe() && !matches!(status, 307 | 308) {
            return Err(RedirectError::Upload(status));
        }
        let to = self.at.join(location).ok_or(RedirectError::Invalid)?;
        let to = allowed(&self.home, to).ok_or(RedirectError::Insecure)?;
        tracing::debug!(status, to = to.told(), "redirected from {}", self.at.told());
        self.at = to;
        Ok(true)
    }
}

/// The URL that `home` may lead to; `None` if it may not. From a server with TLS nothing leads to one without, except on
/// this machine.
#[must_use]
pub fn allowed(home: &Url, to: Url) -> Option<Url> {
    if to.is_secure() || !home.is_secure() || is_loopback(to.host()) {
        return Some(to);
    }
    // A server behind a proxy that does its TLS may not know about it: it is spoken to as before, at the same port.
    (to.host() == home.host()).then(|| to.at(home))
}

/// The host that has led to a URL, if that is on another host.
#[must_use]
pub fn led_by(home: &Url, at: &Url) -> Option<String> {
    (at.host() != home.host()).then(|| home.host().to_owned())
}

impl Transport {
    /// Sends a request and follows redirects until there is another answer. URL, trust and `Authorization` of `request`
    /// are filled in for each server; its other header fields go along.
    pub fn follow<S: Sender>(
        &self,
        request: &Request,
        trail: &mut Trail,
        sender: &mut S,
        cancel: &Cancel,
        on_wait: &mut dyn FnMut(),
    ) -> Result<Response, S::Error> {
        loop {
            let mut headers = request.headers.clone();
            if trail.is_home()
                && let Some(value) = sender.authorization()?
            {
                headers.push(("authorization", value));
            }
            let request = Request {
                url: trail.at.text(),
                headers,
                trust: sender.trust(&trail.at),
                led_by: led_by(&trail.home, &trail.at),
                ..request.clone()
            };
            let response =
                self.send(&request, cancel, on_wait).map_err(|error| sender.failed(error, trail))?;
            if !trail.follow(request.method, &response).map_err(|error| sender.misled(error, trail))? {
                return Ok(response);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_is_not_left_for_another_server() {
        let to = |home: &str, to: &str| {
            let (home, to) = (Url::parse(home).unwrap(), Url::parse(to).unwrap());
            allowed(&home, to).map(|url| url.text())
        };
        let mirror = "https://mirror.example:8443/debian/file";
        assert_eq!(to(mirror, "https://other.example/x").as_deref(), Some("https://other.example/x"));
        assert_eq!(to(mirror, "http://other.example/x"), None);
        assert_eq!(to(mirror, "http://mirror.example/x").as_deref(), Some("https://mirror.example:8443/x"));
        assert_eq!(
            to("http://mirror.example/", "http://other.example/x").as_deref(),
            Some("http://other.example/x")
        );
    }

    #[test]
    fn a_request_is_at_home_at_its_own_server_alone() {
        let home = Url::parse("https://r.example/v2/").unwrap();
        for (at, is_home, led) in [
            ("https://r.example:443/x", true, None),
            ("https://r.example:5000/x", false, None),
            ("https://cdn.example/x", false, Some("r.example")),
        ] {
            let at = Url::parse(at).unwrap();
            assert_eq!(Trail::new(&home, &at).is_home(), is_home, "{at:?}");
            assert_eq!(led_by(&home, &at).as_deref(), led);
        }
    }
}
