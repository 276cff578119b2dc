//! Errors of reading an image from its source, or writing it to its destination.

use std::io;

use super::LocationError;
use crate::error::{ExitCode, Explain, io_hint};
use crate::layout::{LayoutError, ReadError, Selector};
use crate::oci::Digest;
use crate::output::OutputError;
use crate::output::engine::EngineError;
use crate::registry::RegistryError;
use crate::rootfs::StreamError;
use crate::sys::cancel::Cancelled;
use crate::target::platform::Platform;
use crate::text::listed as list;

/// Why an image could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The text is not a valid location.
    #[error(transparent)]
    Location(#[from] LocationError),
    /// The path does not exist.
    #[error("`{0}` does not exist")]
    Missing(String),
    /// The path contains no images.
    #[error("`{shown}` is not an image: {reason}")]
    NotAnImage {
        /// The location.
        shown: String,
        /// Why it is not one.
        reason: String,
    },
    /// There is no image of this name.
    #[error("`{shown}` has no image `{wanted}`; it has {}", names(ways))]
    NoName {
        /// The reference.
        shown: String,
        /// The same without a name.
        place: String,
        /// The name, tag or digest.
        wanted: String,
        /// The available images, each with an unambiguous selector.
        ways: Vec<Selector>,
    },
    /// There are several images and none was chosen, or there are none at all.
    #[error("`{shown}` has not one image but {}", names(ways))]
    Ambiguous {
        /// The reference.
        shown: String,
        /// The same without a name.
        place: String,
        /// The selectors of the images that it may mean.
        ways: Vec<Selector>,
    },
    /// The image lacks a platform.
    #[error("`{shown}` has no image for {wanted}; it has {}", list(available))]
    NoPlatform {
        /// The location.
        shown: String,
        /// The platform.
        wanted: Platform,
        /// The available platforms.
        available: Vec<String>,
    },
    /// Several images serve the platform equally well.
    #[error("`{shown}` has {} images for {wanted}: {}", found.len(), both(found))]
    SeveralForPlatform {
        /// The location.
        shown: String,
        /// The platform.
        wanted: Platform,
        /// The images that serve it.
        found: Vec<(Platform, Digest)>,
    },
    /// The destination names another digest than that of the image.
    #[error("`{destination}` names {wanted}, but the image is {found}")]
    OtherDigest {
        /// The destination.
        destination: String,
        /// The digest in the destination.
        wanted: Digest,
        /// The digest of the image.
        found: Digest,
    },
    /// A layer is only at its `urls`, but the destination needs the whole image.
    #[error("{destination} must contain all layers, but {layer} is not in `{shown}`; it is at {url}")]
    LayerElsewhere {
        /// The source.
        shown: String,
        /// The destination that needs the layer, with its article.
        destination: &'static str,
        /// The layer.
        layer: Digest,
        /// The layer's URL.
        url: String,
    },
    /// The image has several platforms, but the destination holds only one.
    #[error("{destination} holds one platform, and `{shown}` has {}", list(available))]
    OnePlatform {
        /// The source.
        shown: String,
        /// The destination, with its article.
        destination: &'static str,
        /// The platforms.
        available: Vec<String>,
    },
    /// The image has referrers, but the destination cannot hold any.
    #[error("`{destination}` cannot hold the referrers of an image, and this image has {count}")]
    NoReferrers {
        /// The destination.
        destination: String,
        /// How many there are.
        count: usize,
    },
    /// Several sources have an image for one platform.
    #[error("`{first}` and `{second}` both have an image for {platform}, and they differ")]
    PlatformTwice {
        /// One source.
        first: String,
        /// Another one.
        second: String,
        /// The platform.
        platform: Box<Platform>,
    },
    /// A document or blob is missing, truncated, altered or too large.
    #[error("`{shown}` is damaged: {source}")]
    Damaged {
        /// The location.
        shown: String,
        /// What is wrong.
        source: ReadError,
    },
    /// A document does not have the form that the specification requires.
    #[error("`{shown}` is damaged: {reason}")]
    Shape {
        /// The location.
        shown: String,
        /// What is wrong.
        reason: String,
    },
    /// An archive or a layer cannot be read to its end.
    #[error("`{shown}` is damaged: {source}")]
    Stream {
        /// The location.
        shown: String,
        /// What is wrong.
        source: StreamError,
    },
    /// The layout could not be written.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// Another output could not be written.
    #[error(transparent)]
    Output(Box<OutputError>),
    /// podman or Docker failed.
    #[error(transparent)]
    Engine(Box<EngineError>),
    /// A registry failed.
    #[error(transparent)]
    Registry(Box<RegistryError>),
    /// A file could not be read.
    #[error("cannot read `{shown}`: {source}")]
    Io {
        /// The location.
        shown: String,
        /// The operating system's error.
        source: io::Error,
    },
    /// The work was stopped.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl From<OutputError> for TransportError {
    fn from(error: OutputError) -> Self {
        Self::Output(Box::new(error))
    }
}

impl From<RegistryError> for TransportError {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::Cancelled(cancelled) => Self::Cancelled(cancelled),
            error => Self::Registry(Box::new(error)),
        }
    }
}

impl From<EngineError> for TransportError {
    fn from(error: EngineError) -> Self {
        Self::Engine(Box::new(error))
    }
}

impl TransportError {
    /// A layout's error, for the location that the user calls `shown`.
    pub(super) fn damaged(shown: &str, source: ReadError) -> Self {
        let shown = shown.to_owned();
        match source {
            ReadError::Cancelled(cancelled) => Self::Cancelled(cancelled),
            ReadError::NotALayout { reason, .. } => Self::NotAnImage { shown, reason },
            ReadError::Io(source) => Self::Io { shown, source },
            source => Self::Damaged { shown, source },
        }
    }

    /// A stream's error, for the location that the user calls `shown`.
    pub(crate) fn stream(shown: &str, source: StreamError) -> Self {
        match source {
            StreamError::Cancelled(cancelled) => Self::Cancelled(cancelled),
            source => Self::Stream { shown: shown.to_owned(), source },
        }
    }
}

impl Explain for TransportError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Location(error) => error.exit_code(),
            Self::Missing(_)
            | Self::NotAnImage { .. }
            | Self::NoName { .. }
            | Self::Ambiguous { .. }
            | Self::NoPlatform { .. }
            | Self::OnePlatform { .. }
            | Self::NoReferrers { .. }
            | Self::SeveralForPlatform { .. }
            | Self::OtherDigest { .. }
            | Self::LayerElsewhere { .. }
            | Self::PlatformTwice { .. } => ExitCode::NoImage,
            Self::Stream { source, .. } => source.exit_code(ExitCode::CorruptImage),
            Self::Damaged { .. } | Self::Shape { .. } => ExitCode::CorruptImage,
            Self::Layout(error) => error.exit_code(),
            Self::Output(error) => error.exit_code(),
            Self::Engine(error) => error.exit_code(),
            Self::Registry(error) => error.exit_code(),
            Self::Io { .. } => ExitCode::Io,
            Self::Cancelled(cancelled) => cancelled.exit_code(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Location(error) => error.hint(),
            Self::Missing(_) => Some("check the path; `xbuild ls PATH` lists the images of a layout".into()),
            Self::NotAnImage { .. } => {
                Some("name an OCI layout, or an archive of one or of `docker save`".into())
            }
            Self::NoName { place, ways, .. } | Self::Ambiguous { place, ways, .. } => Some(
                ways.first()
                    .map_or("name another image".into(), |way| format!("say which, as in {place}{way}")),
            ),
            Self::SeveralForPlatform { wanted, found, .. } => Some(match found.first() {
                Some((platform, _)) if platform != wanted => {
                    format!("choose one, as in --platform '{platform}'")
                }
                Some((_, digest)) => format!("choose one by its digest, as in PATH@{digest}"),
                None => "choose another platform".into(),
            }),
            Self::OtherDigest { found, .. } => {
                Some(format!("nothing was written; leave the digest out, or name {found}"))
            }
            Self::LayerElsewhere { .. } => Some(
                "leave its platform out with --platform, or write to a layout, which may refer to it".into(),
            ),
            Self::NoPlatform { .. } => {
                Some("choose one that it has, or build it: `xbuild --platform`".into())
            }
            Self::OnePlatform { available, .. } => Some(format!(
                "choose one: --platform {}; or write an archive that holds all: oci-archive:FILE",
                available.first().map_or("linux/amd64", String::as_str)
            )),
            Self::NoReferrers { .. } => {
                Some("copy to a layout or a registry, or leave --referrers out".into())
            }
            Self::PlatformTwice { .. } => Some("leave one of the two out".into()),
            Self::Stream { source, .. } => {
                source.hint().or_else(|| Some("fetch or make the image again".into()))
            }
            Self::Damaged { .. } | Self::Shape { .. } => Some("fetch or make the image again".into()),
            Self::Layout(error) => error.hint(),
            Self::Output(error) => error.hint(),
            Self::Engine(error) => error.hint(),
            Self::Registry(error) => error.hint(),
            Self::Io { source, .. } => io_hint(source),
            Self::Cancelled(cancelled) => cancelled.hint(),
        }
    }
}

fn both(found: &[(Platform, Digest)]) -> String {
    let each = found.iter().map(|(platform, digest)| format!("{platform} ({digest})"));
    each.collect::<Vec<_>>().join(", ")
}

fn names(ways: &[Selector]) -> String {
    let name = |way: &Selector| way.to_string().trim_start_matches([':', '@']).to_owned();
    list(&ways.iter().map(name).collect::<Vec<_>>())
}
