//! URLs as clients need them: joining, origins, and showing them without their secrets.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::sys::log;

/// Characters that are not escaped in a query's value: the unreserved ones, and those of names and digests.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b':')
    .remove(b'/')
    .remove(b',');

/// A query value, escaped.
#[must_use]
pub fn escape(text: &str) -> String {
    utf8_percent_encode(text, QUERY).to_string()
}

/// An absolute HTTP URL without a fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    secure: bool,
    /// `host[:port]`
    authority: String,
    /// From the first slash on, with the query.
    rest: String,
}

impl Url {
    /// Parses an absolute URL. A URL with a user's name in it is refused, since it may contain a password.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let rest = rest.split('#').next()?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let visible = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if authority.is_empty() || authority.contains('@') || !visible(rest) {
            return None;
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Some(Self { secure, authority: authority.to_ascii_lowercase(), rest: path })
    }

    /// Resolves a `Location` field of an answer to this URL (RFC 3986, section 5).
    #[must_use]
    pub fn join(&self, location: &str) -> Option<Self> {
        // A query may contain a URL.
        let scheme = location.split_once("://").map(|(scheme, _)| scheme);
        if scheme.is_some_and(|scheme| scheme.bytes().all(|byte| byte.is_ascii_alphanumeric())) {
            return Self::parse(location);
        }
        let scheme = if self.secure { "https" } else { "http" };
        if let Some(rest) = location.strip_prefix("//") {
            return Self::parse(&format!("{scheme}://{rest}"));
        }
        let path = self.rest.split('?').next()?;
        let rest = if location.starts_with('/') {
            location.to_owned()
        } else if location.starts_with('?') {
            format!("{path}{location}")
        } else {
            format!("{}/{location}", path.rsplit_once('/')?.0)
        };
        Self::parse(&format!("{scheme}://{}{rest}", self.authority))
    }

    /// The same URL with one more value in its query.
    #[must_use]
    pub fn with_query(&self, name: &str, value: &str) -> Self {
        let separator = if self.rest.contains('?') { '&' } else { '?' };
        let rest = format!("{}{separator}{name}={}", self.rest, escape(value));
        Self { rest, ..self.clone() }
    }

    /// The same path and query at the server of another URL.
    #[must_use]
    pub fn at(self, server: &Self) -> Self {
        Self { rest: self.rest, ..server.clone() }
    }

    /// The path without its query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.rest.split('?').next().unwrap_or_default()
    }

    /// True for `https`.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// `host[:port]`, in lower case.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The host alone.
    #[must_use]
    pub fn host(&self) -> &str {
        super::split_port(&self.authority).0
    }

    /// True if scheme, host and port are the same. Only then may credentials for one be sent to the other.
    #[must_use]
    pub fn same_origin(&self, other: &Self) -> bool {
        let key = |url: &Self| {
            let (host, port) = super::split_port(&url.authority);
            let port = port.unwrap_or(if url.secure { "443" } else { "80" });
            (url.secure, host.to_owned(), port.to_owned())
        };
        key(self) == key(other)
    }

    /// The whole text, for the connection. Its query may contain a signature, so that it is not for messages.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}://{}{}", if self.secure { "https" } else { "http" }, self.authority, self.rest)
    }

    /// The text without its query, for messages.
    #[must_use]
    pub fn shown(&self) -> String {
        let text = self.text();
        text.split('?').next().unwrap_or_default().to_owned()
    }

    /// The text with only the names in its query, for the log.
    #[must_use]
    pub fn told(&self) -> String {
        match self.rest.split_once('?') {
            Some((_, query)) => format!("{}?{}", self.shown(), log::query(query)),
            None => self.shown(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn locations_are_joined_as_browsers_do() {
        let from = url("https://r.example/v2/a/blobs/uploads/?mount=x");
        for (location, meant) in [
            ("/v2/a/blobs/uploads/1?_state=s", "https://r.example/v2/a/blobs/uploads/1?_state=s"),
            ("https://cdn.example/x?sig=1", "https://cdn.example/x?sig=1"),
            ("//cdn.example/x", "https://cdn.example/x"),
            ("session", "https://r.example/v2/a/blobs/uploads/session"),
            ("?x=1", "https://r.example/v2/a/blobs/uploads/?x=1"),
            ("/up/1?back=https://else.example/", "https://r.example/up/1?back=https://else.example/"),
            (
                "1?back=https://else.example/",
                "https://r.example/v2/a/blobs/uploads/1?back=https://else.example/",
            ),
            ("HTTPS://R.example:444/x", "https://r.example:444/x"),
        ] {
            assert_eq!(from.join(location).unwrap().text(), meant);
        }
        assert_eq!(
            url("http://h:1/a?b=c").with_query("digest", "sha256:0").text(),
            "http://h:1/a?b=c&digest=sha256:0"
        );
        assert_eq!(url("http://h").with_query("scope", "x y&z").text(), "http://h/?scope=x%20y%26z");
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        assert!(url("https://H.example/a").same_origin(&url("https://h.example:443/b")));
        assert!(!url("https://h.example/").same_origin(&url("http://h.example/")));
        assert!(!url("https://h.example/").same_origin(&url("https://h.example:444/")));
        assert!(!url("https://h.example/").same_origin(&url("https://h.example.evil/")));
    }

    #[test]
    fn what_is_no_url_is_refused_and_what_is_secret_not_shown() {
        for text in ["ftp://a/", "a/b", "https:///x", "https://user:pass@h/", "https://h/a b", "https://h/\n"]
        {
            assert!(Url::parse(text).is_none(), "{text}");
        }
        assert_eq!(url("https://h/a?X-Signature=secret").shown(), "https://h/a");
    }
}
