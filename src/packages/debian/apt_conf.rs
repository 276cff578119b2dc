//! The proxies of this machine's apt (apt.conf(5), apt-transport-http(1)): if apt needs a proxy to get packages, so may
//! we. Environment variables take precedence.

use std::path::Path;

use crate::sys::download::Client;
use crate::sys::env::Environment;
use crate::sys::fs;

/// The client for Debian's packages, which uses the proxies that apt is configured for on this machine.
#[must_use]
pub(crate) fn client(environment: &Environment, offline: bool) -> Client {
    Client::with(&with_proxies(environment, Path::new("/")), offline)
}

/// The environment plus apt's proxy settings, under apt's own names (`Acquire::http::Proxy`). `root` is `/` except in
/// tests. Files that cannot be read are ignored.
#[must_use]
fn with_proxies(environment: &Environment, root: &Path) -> Environment {
    let apt = root.join("etc/apt");
    let mut files = Vec::new();
    if let Ok(entries) = fs::read_dir(apt.join("apt.conf.d")) {
        files.extend(entries.filter_map(|entry| Some(entry.ok()?.path())));
        // Other files in the directory belong to other programs, or are copies.
        files.retain(|path| path.extension().is_none_or(|extension| extension == "conf"));
        files.sort();
    }
    files.push(apt.join("apt.conf"));
    let texts = files.iter().filter_map(|file| fs::read_to_string(file).ok());
    let found: Vec<(String, String)> = texts
        .flat_map(|text| options(&text))
        .filter_map(|(name, value)| Some((proxy(&name)?, value)))
        .collect();
    let own = environment.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    own.chain(found.into_iter().map(|(name, value)| (name.into(), value.into()))).collect()
}

/// The canonical spelling of an option for a proxy, as apt ignores case; `None` for other options.
fn proxy(name: &str) -> Option<String> {
    let lower = name.to_ascii_lowercase();
    for known in ["Acquire::http::Proxy", "Acquire::https::Proxy"] {
        match lower.strip_prefix(&known.to_ascii_lowercase()) {
            Some("") => return Some(known.to_owned()),
            Some(host) if host.starts_with("::") => return Some(format!("{known}{host}")),
            _ => {}
        }
    }
    None
}

/// All options of a configuration file with their values, by their full names.
fn options(text: &str) -> Vec<(String, String)> {
    let (mut found, mut scope) = (Vec::new(), Vec::<String>::new());
    let mut statement: Vec<String> = Vec::new();
    for token in tokens(text) {
        match token {
            Token::Word(word) => statement.push(word),
            Token::Open => {
                scope.push(statement.first().cloned().unwrap_or_default());
                statement.clear();
            }
            Token::End | Token::Close => {
                if let [name, value] = statement.as_slice() {
                    let whole: Vec<&str> = scope.iter().chain([name]).map(String::as_str).collect();
                    found.push((whole.join("::"), value.clone()));
                }
                statement.clear();
                if token == Token::Close {
                    scope.pop();
                }
            }
        }
    }
    found
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Open,
    Close,
    End,
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.split_once("*/").map_or("", |(_, rest)| rest);
        } else if rest.starts_with("//") || first == '#' {
            rest = rest.split_once('\n').map_or("", |(_, rest)| rest);
        } else if let Some(quoted) = rest.strip_prefix('"') {
            let (value, after) = quoted.split_once('"').unwrap_or((quoted, ""));
            tokens.push(Token::Word(value.to_owned()));
            rest = after;
        } else if first.is_whitespace() || "{};".contains(first) {
            match first {
                '{' => tokens.push(Token::Open),
                '}' => tokens.push(Token::Close),
                ';' => tokens.push(Token::End),
                _ => {}
            }
            rest = &rest[first.len_utf8()..];
        } else {
            let ends = |c: char| c.is_whitespace() || "{};\"".contains(c);
            let (word, after) = rest.split_at(rest.find(ends).unwrap_or(rest.len()));
            tokens.push(Token::Word(word.to_owned()));
            rest = after;
        }
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_read_in_both_ways_of_writing_them() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = root.path().join("etc/apt").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write_atomic(&path, text.as_bytes(), 0o644).unwrap();
        };
        write(
            "apt.conf.d/01proxy",
            "// Acquire::http::Proxy \"http://commented.example\";\n/* acquire::http::proxy \"x\"; */\n\
             Acquire::Check-Valid-Until \"false\";\nacquire::HTTP::proxy \"http://proxy.example:3142/\";\n",
        );
        write("apt.conf.d/02proxy.dpkg-old", "Acquire::http::Proxy \"http://old.example\";\n");
        write(
            "apt.conf",
            "Acquire {\n  http { Proxy::own.example \"DIRECT\"; Timeout 10 };\n  # a comment\n  https { Proxy \"false\"; };\n};\n",
        );
        let own: Environment = [("HOME", "/h")].into_iter().collect();
        let all = with_proxies(&own, root.path());
        assert_eq!(all.var("HOME"), Some("/h"));
        assert_eq!(all.var("Acquire::http::Proxy"), Some("http://proxy.example:3142/"));
        assert_eq!(all.var("Acquire::http::Proxy::own.example"), Some("DIRECT"));
        assert_eq!(all.var("Acquire::https::Proxy"), Some("false"));
        assert_eq!(all.iter().count(), 4);
        assert_eq!(with_proxies(&own, Path::new("/nowhere")), own);
    }
}
