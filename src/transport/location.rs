//! The location of an image: `oci:PATH[:TAG]`, `oci-archive:…`, `docker-archive:…`, `podman:NAME`,
//! `docker-daemon:NAME`, `docker://NAME`, or a path or name alone. Pure: the caller determines whether a path exists.
//!
//! The prefixes are those of skopeo and podman (containers-transports(5)), so that references are interchangeable.

use std::fmt;
use std::path::{Path, PathBuf};

use super::TransportError;
use crate::error::{ExitCode, Explain};
use crate::layout::Selector;
use crate::oci::Digest;
use crate::oci::name::{ImageName, InvalidName};

/// The location of an image.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Location {
    /// `oci:PATH[:TAG]`: an OCI image layout, a directory.
    Layout {
        /// The directory.
        path: PathBuf,
        /// The image in it.
        selector: Selector,
    },
    /// `oci-archive:PATH[:TAG]`: a layout in a tar file, which may be compressed.
    OciArchive {
        /// The file.
        path: PathBuf,
        /// The image in it.
        selector: Selector,
    },
    /// `docker-archive:PATH[:NAME]`: an archive of `docker save`.
    DockerArchive {
        /// The file.
        path: PathBuf,
        /// The image in it.
        selector: Selector,
    },
    /// A path without a prefix: its kind is determined when it is opened.
    Path {
        /// The directory or file.
        path: PathBuf,
        /// The image in it.
        selector: Selector,
    },
    /// `podman:NAME` or `containers-storage:NAME`: podman's own storage.
    Podman {
        /// The image's or manifest list's name or ID.
        name: String,
    },
    /// `docker-daemon:NAME`: Docker's storage.
    Docker {
        /// The image's name or ID.
        name: String,
    },
    /// `docker://NAME`: a registry.
    Registry {
        /// The repository with a tag or digest.
        name: ImageName,
    },
}

/// A text that is not a location.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    /// The text is empty, or empty behind a prefix.
    #[error("`{0}` does not say where the image is")]
    Empty(String),
    /// The digest is invalid.
    #[error("`{given}`: {digest} is not a sha256 or sha512 digest")]
    Digest {
        /// The whole text.
        given: String,
        /// What follows the `@`.
        digest: String,
    },
    /// The prefix is unknown.
    #[error("`{given}`: unknown transport `{transport}`")]
    Transport {
        /// The whole text.
        given: String,
        /// The prefix.
        transport: String,
    },
    /// The text looks like a path, and nothing exists there.
    #[error("there is no layout or archive `{0}`")]
    Nothing(String),
    /// The text is neither an existing path nor an image name.
    #[error("there is no layout or archive `{given}`, and it is not an image name: {source}")]
    Neither {
        /// The text.
        given: String,
        /// Why it is not a name.
        source: InvalidName,
    },
    /// The name begins with a dash: an engine would take it for an option.
    #[error("`{0}`: an image name cannot begin with a dash")]
    Dash(String),
    /// The text after `docker://` is not an image name.
    #[error(transparent)]
    Name(#[from] InvalidName),
}

/// Every prefix, as hints list them.
const TRANSPORTS: &str = "oci:PATH[:TAG], oci-archive:PATH[:TAG], docker-archive:PATH[:NAME], docker://NAME, podman:NAME, docker-daemon:NAME";

impl Explain for LocationError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Nothing(_) | Self::Neither { .. } => ExitCode::NoImage,
            Self::Empty(_) | Self::Digest { .. } | Self::Transport { .. } | Self::Dash(_) | Self::Name(_) => {
                ExitCode::Usage
            }
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Empty(_) | Self::Transport { .. } | Self::Nothing(_) | Self::Neither { .. } => {
                format!("write a path, or one of {TRANSPORTS}")
            }
            Self::Dash(_) => "write the name or the ID that the engine lists".into(),
            Self::Name(_) => "write it as docker://registry.example/team/app:1.0".into(),
            Self::Digest { .. } => "write the digest in full, as in oci:PATH@sha256:…".into(),
        })
    }
}

impl Location {
    /// Parses a location that must exist already. `exists` returns whether there is a file or directory at a path.
    ///
    /// Without a prefix, an existing path is a path, also with a `:TAG` after it. Anything else that can be an image
    /// name is a registry's.
    ///
    /// # Errors
    ///
    /// If the text has an unknown transport, a path at which nothing exists, or is neither a path nor an image name.
    pub fn parse(text: &str, exists: &dyn Fn(&Path) -> bool) -> Result<Self, LocationError> {
        if let Some(location) = Self::with_transport(text)? {
            return Ok(location);
        }
        if exists(Path::new(text)) {
            return Ok(Self::Path { path: text.into(), selector: Selector::Only });
        }
        let selected = path_and_selector(text, text);
        if let Ok((path, selector)) = &selected
            && *selector != Selector::Only
            && exists(path)
        {
            return Ok(Self::Path { path: path.clone(), selector: selector.clone() });
        }
        if text.starts_with(['.', '/', '~']) {
            selected?;
            return Err(LocationError::Nothing(text.to_owned()));
        }
        let name = text.parse();
        let name = name.map_err(|source| LocationError::Neither { given: text.to_owned(), source })?;
        Ok(Self::Registry { name })
    }

    /// Parses a location to write to, which need not exist. Without a prefix it is an image name if it begins with a
    /// registry's host, `ghcr.io/` or `localhost:5000/`, and otherwise the path of a layout.
    ///
    /// # Errors
    ///
    /// If the text has an unknown transport, or is not a valid destination.
    pub fn parse_destination(text: &str) -> Result<Self, LocationError> {
        if let Some(location) = Self::with_transport(text)? {
            return Ok(location);
        }
        let host = text.split_once('/').map_or("", |(host, _)| host);
        if !host.starts_with('.') && (host.contains(['.', ':']) || host == "localhost") {
            return Ok(Self::Registry { name: text.parse()? });
        }
        let (path, selector) = path_and_selector(text, text)?;
        Ok(Self::Layout { path, selector })
    }

    /// The location with a known prefix; `None` if there is no prefix.
    fn with_transport(text: &str) -> Result<Option<Self>, LocationError> {
        if text.is_empty() {
            return Err(LocationError::Empty(text.to_owned()));
        }
        let Some((transport, rest)) = text.split_once(':') else { return Ok(None) };
        let named = |make: fn(String) -> Self| {
            // skopeo and Docker also accept the form of a URL.
            let name = rest.strip_prefix("//").unwrap_or(rest);
            if name.is_empty() {
                Err(LocationError::Empty(text.to_owned()))
            } else if name.starts_with('-') {
                Err(LocationError::Dash(text.to_owned()))
            } else {
                Ok(make(name.to_owned()))
            }
        };
        let location = match transport {
            "oci" => {
                let (path, selector) = path_and_selector(rest, text)?;
                Self::Layout { path, selector }
            }
            "oci-archive" => {
                let (path, selector) = path_and_selector(rest, text)?;
                Self::OciArchive { path, selector }
            }
            "docker-archive" => {
                let (path, selector) = path_and_selector(rest, text)?;
                Self::DockerArchive { path, selector }
            }
            "podman" | "containers-storage" => named(|name| Self::Podman { name })?,
            "docker-daemon" => named(|name| Self::Docker { name })?,
            "docker" if rest.starts_with("//") => Self::Registry { name: rest[2..].parse()? },
            "dir" | "docker" | "sif" | "ostree" | "tarball" => {
                return Err(LocationError::Transport {
                    given: text.to_owned(),
                    transport: transport.to_owned(),
                });
            }
            _ if rest.starts_with("//") => {
                return Err(LocationError::Transport {
                    given: text.to_owned(),
                    transport: transport.to_owned(),
                });
            }
            _ => return Ok(None),
        };
        Ok(Some(location))
    }

    /// The same without the choice of an image.
    #[must_use]
    pub fn place(&self) -> Self {
        let mut place = self.clone();
        if let Self::Layout { selector, .. }
        | Self::OciArchive { selector, .. }
        | Self::DockerArchive { selector, .. }
        | Self::Path { selector, .. } = &mut place
        {
            *selector = Selector::Only;
        }
        place
    }

    /// Checks that a destination's name has no digest or this one. Called before anything is written.
    ///
    /// # Errors
    ///
    /// If the destination names another digest.
    pub fn check_digest(&self, found: &Digest) -> Result<(), TransportError> {
        match self.digest() {
            Some(wanted) if wanted != found => Err(TransportError::OtherDigest {
                destination: self.to_string(),
                wanted: wanted.clone(),
                found: found.clone(),
            }),
            _ => Ok(()),
        }
    }

    fn digest(&self) -> Option<&Digest> {
        match self {
            Self::Layout { selector: Selector::Digest(digest), .. }
            | Self::OciArchive { selector: Selector::Digest(digest), .. }
            | Self::DockerArchive { selector: Selector::Digest(digest), .. }
            | Self::Path { selector: Selector::Digest(digest), .. } => Some(digest),
            Self::Registry { name } => name.digest.as_ref(),
            _ => None,
        }
    }

    /// The path of a layout or an archive; `None` for an engine's storage.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Layout { path, .. }
            | Self::OciArchive { path, .. }
            | Self::DockerArchive { path, .. }
            | Self::Path { path, .. } => Some(path),
            Self::Podman { .. } | Self::Docker { .. } | Self::Registry { .. } => None,
        }
    }
}

/// `PATH`, `PATH:NAME` or `PATH@DIGEST`. As in skopeo's references, a path has no colon.
fn path_and_selector(text: &str, given: &str) -> Result<(PathBuf, Selector), LocationError> {
    let (path, selector) = if let Some((path, digest)) = text.split_once('@') {
        let parsed = digest
            .parse()
            .map_err(|_| LocationError::Digest { given: given.to_owned(), digest: digest.to_owned() })?;
        (path, Selector::Digest(parsed))
    } else {
        match text.split_once(':') {
            Some((path, name)) if !name.is_empty() => (path, Selector::Name(name.to_owned())),
            Some(_) => return Err(LocationError::Empty(given.to_owned())),
            None => (text, Selector::Only),
        }
    };
    if path.is_empty() {
        return Err(LocationError::Empty(given.to_owned()));
    }
    Ok((path.into(), selector))
}

impl fmt::Display for Location {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layout { path, selector } => write!(formatter, "oci:{}{selector}", path.display()),
            Self::OciArchive { path, selector } => {
                write!(formatter, "oci-archive:{}{selector}", path.display())
            }
            Self::DockerArchive { path, selector } => {
                write!(formatter, "docker-archive:{}{selector}", path.display())
            }
            Self::Path { path, selector } => write!(formatter, "{}{selector}", path.display()),
            Self::Podman { name } => write!(formatter, "podman:{name}"),
            Self::Docker { name } => write!(formatter, "docker-daemon:{name}"),
            Self::Registry { name } => write!(formatter, "docker://{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> Selector {
        Selector::Name(name.to_owned())
    }

    fn parse(text: &str) -> Result<Location, LocationError> {
        let there = ["image", "out/image.tar", "odd:name"];
        Location::parse(text, &|path| there.iter().any(|known| Path::new(known) == path))
    }

    #[test]
    fn prefixes_are_those_of_skopeo() {
        let layout = |path: &str, selector| Location::Layout { path: path.into(), selector };
        let digest = Digest::of(b"x");
        for (text, meant) in [
            ("oci:a/b", layout("a/b", Selector::Only)),
            ("oci:a/b:1.0", layout("a/b", name("1.0"))),
            ("oci:/a:ghcr.io/me/app:1.0", layout("/a", name("ghcr.io/me/app:1.0"))),
            (&format!("oci:a@{digest}"), layout("a", Selector::Digest(digest.clone()))),
            ("oci-archive:a.tar:x", Location::OciArchive { path: "a.tar".into(), selector: name("x") }),
            (
                "docker-archive:a.tar",
                Location::DockerArchive { path: "a.tar".into(), selector: Selector::Only },
            ),
            ("podman:app:1", Location::Podman { name: "app:1".into() }),
            ("containers-storage:app", Location::Podman { name: "app".into() }),
            ("docker-daemon:app:1", Location::Docker { name: "app:1".into() }),
        ] {
            assert_eq!(parse(text), Ok(meant.clone()), "{text}");
            assert_eq!(parse(&meant.to_string()), Ok(meant), "{text}");
        }
    }

    #[test]
    fn a_path_alone_is_what_is_there() {
        let path = |path: &str, selector| Ok(Location::Path { path: path.into(), selector });
        assert_eq!(parse("image"), path("image", Selector::Only));
        assert_eq!(parse("image:1.0"), path("image", name("1.0")));
        assert_eq!(parse("out/image.tar"), path("out/image.tar", Selector::Only));
        assert_eq!(parse("odd:name"), path("odd:name", Selector::Only));
        for text in ["./nowhere", "/nowhere:1"] {
            assert_eq!(parse(text), Err(LocationError::Nothing(text.into())));
        }
        for (text, name) in [
            ("nowhere", "docker.io/library/nowhere:latest"),
            ("docker://me/app:1", "docker.io/me/app:1"),
            ("ghcr.io/me/app:1", "ghcr.io/me/app:1"),
            ("localhost:5000/app", "localhost:5000/app:latest"),
        ] {
            let location = parse(text).unwrap();
            assert_eq!(location.to_string(), format!("docker://{name}"), "{text}");
            assert!(matches!(location, Location::Registry { .. }), "{text}");
        }
        assert!(matches!(parse("Nowhere/x y"), Err(LocationError::Neither { .. })));
        assert!(matches!(parse("docker://a@b"), Err(LocationError::Name(_))));
        assert_eq!(
            Location::parse_destination("new:1"),
            Ok(Location::Layout { path: "new".into(), selector: name("1") })
        );
    }

    #[test]
    fn a_destination_without_a_prefix_is_a_layout_or_has_a_host() {
        for (text, shown) in [
            ("out", "oci:out"),
            ("out/app:1", "oci:out/app:1"),
            ("./a.b/c", "oci:./a.b/c"),
            ("../x", "oci:../x"),
            ("/a.b/c", "oci:/a.b/c"),
            ("ghcr.io/me/app:1", "docker://ghcr.io/me/app:1"),
            ("localhost:5000/app", "docker://localhost:5000/app:latest"),
            ("localhost/app", "docker://localhost/app:latest"),
            ("docker://me/app", "docker://docker.io/me/app:latest"),
        ] {
            assert_eq!(Location::parse_destination(text).unwrap().to_string(), shown, "{text}");
        }
    }

    #[test]
    fn what_says_nothing_is_refused() {
        for text in ["", "oci:", "oci::tag", "podman:", "./image:"] {
            assert!(matches!(parse(text), Err(LocationError::Empty(_))), "{text}: {:?}", parse(text));
        }
        for text in ["oci:a@sha256:1", "./image@latest"] {
            assert!(matches!(parse(text), Err(LocationError::Digest { .. })), "{text}");
        }
        for text in ["dir:a", "ftp://a"] {
            assert!(matches!(parse(text), Err(LocationError::Transport { .. })), "{text}");
        }
    }
}
