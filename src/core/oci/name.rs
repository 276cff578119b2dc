//! Names of existing images: `registry/repository[:tag][@digest]`, parsed by Docker's rules.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::oci::{Digest, InvalidDigest, InvalidReference, Reference};

/// A repository with its registry, in full: `docker.io/library/debian`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepositoryName {
    registry: String,
    path: String,
}

impl RepositoryName {
    /// The registry in the form that users write, `docker.io` or `localhost:5000`.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository without its registry.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.registry, self.path)
    }
}

impl FromStr for RepositoryName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let name: ImageName = text.parse()?;
        if name.tag.is_some() || name.digest.is_some() {
            return Err(InvalidName::NotARepository(text.to_owned()));
        }
        Ok(name.repository)
    }
}

/// An image in a repository. Without a tag and a digest the tag is `latest`; with both, the digest decides.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageName {
    /// The repository.
    pub repository: RepositoryName,
    /// The tag, if one was written.
    pub tag: Option<String>,
    /// The manifest's or index's digest, if one was written.
    pub digest: Option<Digest>,
}

/// A text that is not an image name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// The part before the digest is invalid.
    #[error(transparent)]
    Reference(#[from] InvalidReference),
    /// The part after the `@` is invalid.
    #[error("`{text}`: {source}")]
    Digest {
        /// The whole text.
        text: String,
        /// Why it is invalid.
        source: InvalidDigest,
    },
    /// It is only a tag.
    #[error("`{0}` has no repository")]
    NoRepository(String),
    /// It has a tag or digest where only a repository is allowed.
    #[error("`{0}` has a tag or a digest, but only a repository is allowed here")]
    NotARepository(String),
}

impl ImageName {
    /// What to request from a registry.
    #[must_use]
    pub fn wanted(&self) -> Wanted<'_> {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => Wanted::Digest(digest),
            (None, Some(tag)) => Wanted::Tag(tag),
            (None, None) => Wanted::Tag("latest"),
        }
    }
}

impl Serialize for ImageName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.repository.fmt(formatter)?;
        if let Some(tag) = &self.tag {
            write!(formatter, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(formatter, "@{digest}"),
            None if self.tag.is_none() => formatter.write_str(":latest"),
            None => Ok(()),
        }
    }
}

impl FromStr for ImageName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => {
                let digest = digest.parse();
                (name, Some(digest.map_err(|source| InvalidName::Digest { text: text.to_owned(), source })?))
            }
            None => (text, None),
        };
        let reference: Reference = name.parse()?;
        let (registry, path) = reference
            .repository()
            .and_then(|repository| repository.split_once('/'))
            .ok_or_else(|| InvalidName::NoRepository(text.to_owned()))?;
        let repository = RepositoryName { registry: registry.to_owned(), path: path.to_owned() };
        // A colon before the last slash is a port.
        let tagged = name.rsplit_once(':').is_some_and(|(_, tag)| !tag.contains('/'));
        Ok(Self { repository, tag: tagged.then(|| reference.tag().to_owned()), digest })
    }
}

impl From<&Reference> for Option<ImageName> {
    fn from(reference: &Reference) -> Self {
        reference.name()?.parse().ok()
    }
}

/// The identification of a manifest in its repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted<'a> {
    /// A tag, which may move.
    Tag(&'a str),
    /// A digest.
    Digest(&'a Digest),
}

impl fmt::Display for Wanted<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => formatter.write_str(tag),
            Self::Digest(digest) => digest.fmt(formatter),
        }
    }
}

impl Wanted<'_> {
    /// The suffix of a repository's name: `:tag` or `@digest`.
    #[must_use]
    pub fn suffix(&self) -> String {
        match self {
            Self::Tag(tag) => format!(":{tag}"),
            Self::Digest(digest) => format!("@{digest}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_tags_and_digests() {
        let digest = Digest::of(b"");
        for (text, meant) in [
            ("debian", "docker.io/library/debian:latest".to_owned()),
            ("localhost:5000/a/b:1", "localhost:5000/a/b:1".to_owned()),
            (&format!("ghcr.io/a/b@{digest}"), format!("ghcr.io/a/b@{digest}")),
            (&format!("debian:12@{digest}"), format!("docker.io/library/debian:12@{digest}")),
        ] {
            assert_eq!(text.parse::<ImageName>().unwrap().to_string(), meant);
        }
        let name: ImageName = format!("debian:12@{digest}").parse().unwrap();
        assert_eq!(name.wanted(), Wanted::Digest(&digest));
        assert_eq!("debian".parse::<ImageName>().unwrap().wanted(), Wanted::Tag("latest"));
        let repository: RepositoryName = "localhost:5000/a/b".parse().unwrap();
        assert_eq!((repository.registry(), repository.path()), ("localhost:5000", "a/b"));
    }

    #[test]
    fn refuses_what_is_no_name() {
        assert!(matches!("a@sha256:00".parse::<ImageName>(), Err(InvalidName::Digest { .. })));
        assert!(matches!(":v1".parse::<ImageName>(), Err(InvalidName::NoRepository(_))));
        assert!(matches!("Upper/x y".parse::<ImageName>(), Err(InvalidName::Reference(_))));
        assert!(matches!("a:1".parse::<RepositoryName>(), Err(InvalidName::NotARepository(_))));
    }
}
