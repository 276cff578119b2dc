//! How the log shows command lines and URLs, which may contain secrets: enough to see what was done, without
//! credentials.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt;
use std::time::Duration;

use super::http::Url;

/// Replaces a secret.
const HIDDEN: &str = "…";
/// An option or variable whose name contains one of these has a secret value.
const SECRET: [&str; 8] =
    ["password", "passwd", "token", "secret", "creds", "credential", "api-key", "apikey"];
/// Options whose values are variables, of which only the name is shown.
const VARIABLES: [&str; 3] = ["--build-arg", "--env", "-e"];

/// A command line in shell syntax, without values that may be secret.
pub fn command_line<'a>(words: impl IntoIterator<Item = &'a OsStr>) -> String {
    let mut shown: Vec<String> = Vec::new();
    let mut previous: Option<String> = None;
    for word in words {
        let word = word.to_string_lossy().into_owned();
        shown.push(argument(&word, previous.as_deref()).into_owned());
        previous = Some(word);
    }
    shell_words::join(shown)
}

/// One argument, which may be the value of the option before it.
fn argument<'a>(word: &'a str, previous: Option<&str>) -> Cow<'a, str> {
    let option = previous.filter(|previous| previous.starts_with('-') && !previous.contains('='));
    if option.is_some_and(is_secret) && !word.starts_with('-') {
        return HIDDEN.into();
    }
    if option.is_some_and(|option| VARIABLES.contains(&option)) {
        return variable(word);
    }
    match word.split_once('=') {
        Some((option, value)) if VARIABLES.contains(&option) => {
            format!("{option}={}", variable(value)).into()
        }
        Some((name, _)) if is_secret(name) => format!("{name}={HIDDEN}").into(),
        _ => without_secrets(word),
    }
}

/// `NAME=VALUE` without the value.
fn variable(text: &str) -> Cow<'_, str> {
    text.split_once('=').map_or(Cow::Borrowed(text), |(name, _)| format!("{name}={HIDDEN}").into())
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('_', "-");
    SECRET.iter().any(|word| name.contains(word))
}

/// A URL without secrets: of its query, only the names are shown.
#[must_use]
pub fn url(text: &str) -> String {
    Url::parse(text).map_or_else(|| without_secrets(text).into_owned(), |url| url.told())
}

/// The names in a query, `?a=1&b=2`, without the values.
pub(super) fn query(text: &str) -> String {
    let names = text.split('&').map(|part| match part.split_once('=') {
        Some((name, value)) if !value.is_empty() => format!("{name}={HIDDEN}"),
        _ => part.to_owned(),
    });
    names.collect::<Vec<_>>().join("&")
}

/// Text without the users, passwords and queries of URLs in it.
pub fn without_secrets(text: &str) -> Cow<'_, str> {
    if !text.contains("://") {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        shown.push_str(before);
        let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>' | ')');
        // An unescaped password may contain any of these characters, so the last `@` of the word counts.
        let word = &after[..after.find(char::is_whitespace).unwrap_or(after.len())];
        let path = word.find(['/', '?']).unwrap_or(word.len());
        let host = match word[..path].rfind('@').or_else(|| word.find('@').filter(|_| has_user(word))) {
            Some(user) => {
                shown.push_str(HIDDEN);
                shown.push('@');
                &after[user + 1..]
            }
            None => after,
        };
        let end = host.find(ends).unwrap_or(host.len());
        let (url, after) = host.split_at(end);
        match url.split_once('?') {
            // A URL in the query is one of the query's values.
            Some((path, values)) => {
                shown.push_str(path);
                shown.push('?');
                shown.push_str(&query(values));
            }
            None if url.contains("://") => {
                rest = host;
                continue;
            }
            None => shown.push_str(url),
        }
        rest = after;
    }
    shown.push_str(rest);
    shown.into()
}

/// True for text that begins with a user and a password that contains a slash: `me:a/b@host`.
fn has_user(word: &str) -> bool {
    let before = word.split(['/', '?']).next().unwrap_or_default();
    let port = before.rsplit_once(':').map(|(_, port)| port);
    port.is_some_and(|port| !port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// A time in seconds, to the millisecond.
pub struct Seconds(pub Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:.3}s", self.0.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(words: &[&str]) -> String {
        command_line(words.iter().map(OsStr::new))
    }

    #[test]
    fn a_command_line_has_no_secret_in_it() {
        for (words, expected) in [
            (&["cargo", "build", "--features", "a b"][..], "cargo build --features 'a b'"),
            (&["x", "--password", "p", "--registry-token=t"], "x --password … --registry-token=…"),
            (
                &["x", "--build-arg", "A=1", "--build-arg=B=2", "-e", "C"],
                "x --build-arg 'A=…' --build-arg='B=…' -e C",
            ),
            (&["x", "NPM_TOKEN=abc", "registries.r.token=\"t\""], "x 'NPM_TOKEN=…' 'registries.r.token=…'"),
            (&["x", "--password-stdin", "-v"], "x --password-stdin -v"),
            (&["git", "clone", "https://me:pw@h/r.git"], "git clone https://…@h/r.git"),
        ] {
            let words = shown(words);
            assert_eq!(words.replace('\'', ""), expected.replace('\'', ""), "{words}");
        }
    }

    #[test]
    fn urls_are_shown_without_users_and_values() {
        assert_eq!(url("https://h:1/a/b?digest=sha256:0&_state=x&y"), "https://h:1/a/b?digest=…&_state=…&y");
        for (text, expected) in [
            ("https://me:pw@h/a", "https://…@h/a"),
            ("http://me:p@w@h:3128 said no", "http://…@h:3128 said no"),
            ("http://me:p/w@h/x", "http://…@h/x"),
            ("`https://h/a?sig=s` and https://u@i", "`https://h/a?sig=…` and https://…@i"),
            ("https://h/a?to=https://u:p@i/", "https://h/a?to=…"),
            ("https://h/v2/@scope/x", "https://h/v2/@scope/x"),
            ("https://h:5000/@scope/x", "https://h:5000/@scope/x"),
            ("sparse+https://a:b@h/", "sparse+https://…@h/"),
            ("no URL: //u:p@h", "no URL: //u:p@h"),
        ] {
            assert_eq!(without_secrets(text), expected, "{text}");
        }
        assert_eq!(url("https://me:pw@h/a?b=c"), "https://…@h/a?b=…");
    }
}
