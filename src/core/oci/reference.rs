//! Image names: `[registry/]repository[:tag]`, parsed by Docker's rules.

use std::fmt;
use std::str::FromStr;

/// A name that is given to an image.
///
/// `hello` is `docker.io/library/hello:latest`, as for `docker build -t`. Beyond Docker's names, `:v1` is a tag alone,
/// for use in a layout.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    /// `registry/repository`, in full; `None` for a tag alone.
    repository: Option<String>,
    tag: String,
}

/// A text that is not an image name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReference {
    /// It has a digest, which only existing images have.
    #[error("`{0}` has a digest; a name for a new image has none")]
    Digest(String),
    /// The tag violates the specification's rule.
    #[error(
        "`{text}`: `{tag}` is not a tag: up to 128 letters, digits, `_`, `.` and `-`, not starting with `.` or `-`"
    )]
    Tag {
        /// The whole text.
        text: String,
        /// Its tag.
        tag: String,
    },
    /// A part of the repository violates the specification's rule.
    #[error(
        "`{text}`: `{part}` cannot be part of a repository: lower-case letters and digits, with `.`, `_`, `__` or `-` between"
    )]
    Repository {
        /// The whole text.
        text: String,
        /// The part.
        part: String,
    },
    /// The registry is not a host with an optional port.
    #[error("`{text}`: `{registry}` is not a registry's host and port")]
    Registry {
        /// The whole text.
        text: String,
        /// Its first part.
        registry: String,
    },
    /// The part that looks like a tag contains a slash, as the name of a branch may.
    #[error("`{text}`: `{tag}` is not a tag: it has a slash; write `{}`", tag.replace('/', "-"))]
    Slash {
        /// The whole text.
        text: String,
        /// The part after the colon.
        tag: String,
    },
}

impl Reference {
    /// `registry/repository:tag` in full; `None` for a tag alone.
    #[must_use]
    pub fn name(&self) -> Option<String> {
        self.repository.as_ref().map(|repository| format!("{repository}:{}", self.tag))
    }

    /// `registry/repository` in full; `None` for a tag alone.
    #[must_use]
    pub fn repository(&self) -> Option<&str> {
        self.repository.as_deref()
    }

    /// The tag, `latest` if none was written.
    #[must_use]
    pub fn tag(&self) -> &str {
        &self.tag
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.repository.as_deref().unwrap_or_default(), self.tag)
    }
}

impl FromStr for Reference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        if text.contains('@') {
            return Err(InvalidReference::Digest(text.to_owned()));
        }
        // A colon before the last slash is a port.
        let (repository, tag) = match text.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => (repository, tag),
            _ => (text, "latest"),
        };
        if !is_tag(tag) {
            return Err(InvalidReference::Tag { text: text.to_owned(), tag: tag.to_owned() });
        }
        let repository = if repository.is_empty() && text.starts_with(':') {
            None
        } else {
            Some(full_repository(text, repository)?)
        };
        Ok(Self { repository, tag: tag.to_owned() })
    }
}

/// `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`
#[must_use]
pub fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let mut bytes = tag.bytes();
    tag.len() <= 128
        && bytes.next().is_some_and(word)
        && bytes.all(|byte| word(byte) || matches!(byte, b'.' | b'-'))
}

/// The repository with its registry, by Docker's rule: the first part is a registry if it could not be part of a
/// repository's name on Docker Hub.
fn full_repository(text: &str, repository: &str) -> Result<String, InvalidReference> {
    let (registry, path) = match repository.split_once('/') {
        Some((first, rest))
            if first == "localhost"
                || first.contains(['.', ':'])
                || first.contains(|c: char| c.is_ascii_uppercase()) =>
        {
            (first, rest.to_owned())
        }
        Some(_) => ("docker.io", repository.to_owned()),
        None => ("docker.io", format!("library/{repository}")),
    };
    // A port cannot contain these characters, and a part of a repository after a registry cannot either.
    let colon = text.rfind(':').filter(|_| !is_registry(registry) || path.contains(':'));
    if let Some(tag) = colon.map(|colon| &text[colon + 1..])
        && !text.starts_with('[')
        && tag.contains('/')
        && tag.split('/').all(is_tag)
    {
        return Err(InvalidReference::Slash { text: text.to_owned(), tag: tag.to_owned() });
    }
    if !is_registry(registry) {
        return Err(InvalidReference::Registry { text: text.to_owned(), registry: registry.to_owned() });
    }
    for part in path.split('/') {
        if !is_path_part(part) {
            return Err(InvalidReference::Repository { text: text.to_owned(), part: part.to_owned() });
        }
    }
    let (registry, path) = match (registry, path) {
        ("docker.io" | "index.docker.io", path) if !path.contains('/') => {
            ("docker.io", format!("library/{path}"))
        }
        ("index.docker.io", path) => ("docker.io", path),
        other => other,
    };
    Ok(format!("{registry}/{path}"))
}

/// A host name, an IPv4 address or an IPv6 address in brackets, with an optional port.
fn is_registry(registry: &str) -> bool {
    let (host, port) = match registry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            if !address.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':') {
                return false;
            }
            ("ipv6", rest)
        }
        None => registry.find(':').map_or((registry, ""), |colon| registry.split_at(colon)),
    };
    let is_port = port.is_empty()
        || port
            .strip_prefix(':')
            .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()));
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    is_port && host.split('.').all(is_label)
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_path_part(part: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let (Some(first), Some(last)) = (part.bytes().next(), part.bytes().last()) else { return false };
    word(first)
        && word(last)
        && part.bytes().all(|byte| word(byte) || matches!(byte, b'.' | b'_' | b'-'))
        && part.split(|c: char| c.is_ascii_alphanumeric()).all(|separator| {
            matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_as_docker_does() {
        for (text, meant) in [
            ("hello", "docker.io/library/hello:latest"),
            ("hello:1.0", "docker.io/library/hello:1.0"),
            ("me/hello", "docker.io/me/hello:latest"),
            ("docker.io/hello:a", "docker.io/library/hello:a"),
            ("index.docker.io/me/hello", "docker.io/me/hello:latest"),
            ("ghcr.io/me/a/b:v1", "ghcr.io/me/a/b:v1"),
            ("localhost/x", "localhost/x:latest"),
            ("localhost:5000/x", "localhost:5000/x:latest"),
            ("[::1]:5000/a:b", "[::1]:5000/a:b"),
            ("a__b/c--d.e", "docker.io/a__b/c--d.e:latest"),
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.name().as_deref(), Some(meant), "{text}");
            assert_eq!(meant.parse::<Reference>().unwrap(), reference);
        }
    }

    #[test]
    fn a_leading_colon_is_a_tag_alone() {
        let reference: Reference = ":v1".parse().unwrap();
        assert_eq!((reference.name(), reference.tag()), (None, "v1"));
        assert_eq!(reference.to_string(), ":v1");
    }

    #[test]
    fn refuses_what_is_no_name() {
        use InvalidReference as E;
        assert!(matches!("a@sha256:00".parse::<Reference>(), Err(E::Digest(_))));
        for text in ["a:", ":", "a:.x", "a:b c", &format!("a:{}", "x".repeat(129))] {
            assert!(matches!(text.parse::<Reference>(), Err(E::Tag { .. })), "{text}");
        }
        for text in ["", "Hello", "a//b", "a/", "-a", "a-", "a..b", "a___b", "a_.b", "é"] {
            assert!(matches!(text.parse::<Reference>(), Err(E::Repository { .. })), "{text}");
        }
        for text in ["app:feature/x", "me/app:feature/x", "ghcr.io/me/app:dependabot/npm/x", "a.b:x/c"] {
            assert!(matches!(text.parse::<Reference>(), Err(E::Slash { .. })), "{text}");
        }
        for text in ["a..b/c", "a.b:/c", "[x]:1/c", ".a/b"] {
            assert!(matches!(text.parse::<Reference>(), Err(E::Registry { .. })), "{text}");
        }
    }
}
