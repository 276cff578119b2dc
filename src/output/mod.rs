//! Outputs: where a finished image goes.
//!
//! Each kind of output is a file, which has its options, what they must fit, what is checked before a build, how it is
//! written and how it is described: [`layout`], [`archive`], [`docker_archive`], [`directory`], [`tar`], [`registry`]
//! and [`load`]. [`OutputKind`] leads to them, and nothing else asks of which kind an output is. The other files are what
//! they write with.

pub(crate) mod archive;
mod directory;
mod docker_archive;
pub(crate) mod engine;
mod layout;
mod load;
pub(crate) mod push;
mod registry;
pub(crate) mod report;
mod tar;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

pub use archive::ArchiveOutput;
pub use directory::DirectoryOutput;
pub use docker_archive::DockerArchiveOutput;
pub use layout::LayoutOutput;
pub use load::EngineOutput;
pub use registry::RegistryOutput;
pub use tar::TarOutput;

use crate::error::{ExitCode, Explain, io_hint};
use crate::host::Host;
use crate::image::Image;
use crate::layer;
use crate::layout::{LayoutError, LayoutWriter, ReadError, blob};
use crate::oci::{Descriptor, Digest, PlatformFields};
use crate::registry::{Client, RegistryError};
use crate::rootfs::unpack;
use crate::sys::cancel::{Cancel, Cancelled};
use crate::sys::fs::LockError;
use engine::EngineError;

/// A destination of the finished image.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Output {
    /// Its kind.
    #[serde(flatten)]
    pub kind: OutputKind,
    /// `name=`: the image's names there; empty for those of the whole run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
}

/// The kind of an output. Paths are absolute.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum OutputKind {
    /// An OCI image layout, a directory.
    Layout(LayoutOutput),
    /// A layout as a tar archive.
    Archive(ArchiveOutput),
    /// An archive that `docker load` reads as well, with one platform.
    DockerArchive(DockerArchiveOutput),
    /// The files of the root filesystem.
    Directory(DirectoryOutput),
    /// The root filesystem as a tar archive.
    Tar(TarOutput),
    /// The registries of its names.
    Registry(RegistryOutput),
    /// The storage of an engine on this machine.
    Engine(EngineOutput),
}

impl OutputKind {
    fn of(&self) -> &dyn Kind {
        match self {
            Self::Layout(kind) => kind,
            Self::Archive(kind) => kind,
            Self::DockerArchive(kind) => kind,
            Self::Directory(kind) => kind,
            Self::Tar(kind) => kind,
            Self::Registry(kind) => kind,
            Self::Engine(kind) => kind,
        }
    }
}

/// What a kind of output knows about itself.
trait Kind {
    /// See [`Output::is_stored`].
    fn is_stored(&self) -> bool {
        true
    }

    /// See [`Output::has_content`].
    fn has_content(&self) -> bool {
        true
    }

    /// See [`Output::is_untagged`].
    fn is_untagged(&self) -> bool {
        false
    }

    /// See [`Output::sink`].
    fn sink(&self) -> Option<&Sink> {
        None
    }

    /// See [`Output::path`].
    fn path(&self) -> Option<&Path> {
        match self.sink() {
            Some(Sink::File(path)) => Some(path),
            Some(Sink::Stdout) | None => None,
        }
    }

    /// Checks that it fits a build of so many platforms, with these names of the image there.
    fn check(&self, _names: &[String], _platforms: usize) -> Result<(), Unfit> {
        Ok(())
    }

    /// Opens it and checks before the build whether it can be written.
    fn open(&self, host: Host<'_>) -> Result<Opened, Fault>;

    /// What and where it is, for `xbuild plan`. `names` are those of its own.
    fn describe(&self, names: &[String]) -> String;
}

/// Describes an output that is written to a path or standard output.
fn described(kind: &dyn Kind, what: &str) -> String {
    let place = kind.path().map_or_else(|| "standard output".to_owned(), |path| path.display().to_string());
    format!("{place} ({what})")
}

/// What an archive is written to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sink {
    /// A file.
    File(PathBuf),
    /// Standard output.
    Stdout,
}

impl Sink {
    /// Checks that an archive may be written to it.
    fn check(&self, cancel: &Cancel) -> Result<(), OutputError> {
        match self {
            Self::File(path) => archive::check(path, cancel),
            Self::Stdout => Ok(()),
        }
    }
}

impl Output {
    /// An output without names of its own.
    #[must_use]
    pub const fn new(kind: OutputKind) -> Self {
        Self { kind, names: Vec::new() }
    }

    /// A layout.
    #[must_use]
    pub fn layout(path: impl Into<PathBuf>) -> Self {
        Self::new(OutputKind::Layout(LayoutOutput { path: path.into() }))
    }

    /// True if it stores the image itself, on this machine's disk or in a registry.
    #[must_use]
    pub fn is_stored(&self) -> bool {
        self.kind.of().is_stored()
    }

    /// True if it needs the bytes of every layer. A registry may already have some.
    #[must_use]
    pub fn has_content(&self) -> bool {
        self.kind.of().has_content()
    }

    /// True if it has the image only by its digest.
    pub(crate) fn is_untagged(&self) -> bool {
        self.kind.of().is_untagged()
    }

    /// What its archive is written to; `None` if it is not an archive.
    #[must_use]
    pub fn sink(&self) -> Option<&Sink> {
        self.kind.of().sink()
    }

    /// The path that is written to; `None` for standard output, registries and engines.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.kind.of().path()
    }

    /// The image's names there: its own, otherwise `tags`.
    pub(crate) fn names_or<'a>(&'a self, tags: &'a [String]) -> &'a [String] {
        if self.names.is_empty() { tags } else { &self.names }
    }

    /// Checks that it fits a build of so many platforms, whose image has these tags.
    pub(crate) fn check(&self, tags: &[String], platforms: usize) -> Result<(), Unfit> {
        self.kind.of().check(self.names_or(tags), platforms)
    }

    /// Opens it and checks before the build whether it can be written.
    pub(crate) fn open(&self, host: Host<'_>) -> Result<Opened, Fault> {
        self.kind.of().open(host)
    }

    /// What and where it is, for `xbuild plan`.
    pub(crate) fn describe(&self) -> String {
        self.kind.of().describe(&self.names)
    }
}

/// Why an output does not fit a build.
pub(crate) enum Unfit {
    /// Nothing says where to push the image.
    NoName,
    /// A name that cannot be pushed to.
    Name {
        /// The name.
        name: String,
        /// What to write instead.
        remedy: &'static str,
    },
    /// It takes one platform.
    OnePlatform {
        /// How many are built.
        platforms: usize,
    },
}

/// An opened output.
pub(crate) enum Opened {
    /// A layout, which can take blobs while they are made.
    Layout(Box<LayoutWriter>),
    /// It is written from a finished layout.
    Later(Box<dyn OutputWriter>),
}

/// Writes an opened output from a finished layout.
pub(crate) trait OutputWriter {
    /// Writes the image with these names. `stdout` takes what is written to standard output. Returns the image's ID if
    /// it gets one of its own there.
    fn write(
        &self,
        from: &Finished<'_>,
        names: &[String],
        stdout: &mut dyn Write,
    ) -> Result<Option<Digest>, Fault>;
}

/// A finished image, from which outputs are written.
pub(crate) struct Finished<'a> {
    pub(crate) host: Host<'a>,
    pub(crate) registries: &'a Client,
    /// The layout that has it. Layers that are only in a registry may be missing.
    pub(crate) layout: &'a Path,
    pub(crate) index: &'a Descriptor,
    /// The images of its platforms.
    pub(crate) images: &'a [Image],
    /// The name of the project's package.
    pub(crate) package: &'a str,
}

impl Finished<'_> {
    /// The images' layers, with their paths in the layout.
    fn filesystems(&self) -> Vec<unpack::Image> {
        let layers = |image: &Image| {
            let layers = image.layers.iter();
            layers
                .map(|layer| (layer.descriptor.clone(), blob(self.layout, &layer.descriptor.digest)))
                .collect()
        };
        let image = |image: &Image| unpack::Image { platform: image.platform.clone(), layers: layers(image) };
        self.images.iter().map(image).collect()
    }
}

/// The entry of a platform's manifest in the index.
pub(crate) fn entry(image: &Image) -> Descriptor {
    let mut descriptor = image.manifest.descriptor.clone();
    descriptor.annotations.clone_from(&image.descriptor_annotations);
    descriptor.platform = Some(PlatformFields {
        os: image.platform.os().to_owned(),
        architecture: image.platform.architecture().to_owned(),
        variant: image.platform.variant().map(str::to_owned),
        ..PlatformFields::default()
    });
    descriptor
}

/// Why an output could not be opened or written, from any room or file that it is written with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// A file or directory.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// A layout.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// podman or Docker.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// Why an output could not be written.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The path is a directory.
    #[error("`{}` is a directory, and an archive is a file", .0.display())]
    Directory(PathBuf),
    /// The source layout could not be read.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A document of the source layout is damaged.
    #[error("the layout is damaged: {0}")]
    Damaged(#[from] ReadError),
    /// The archive could not be written.
    #[error(transparent)]
    Archive(#[from] layer::Error),
    /// A root filesystem could not be written.
    #[error(transparent)]
    Rootfs(#[from] unpack::RootfsError),
    /// A document of the layout has become invalid since it was verified.
    #[error("the document {digest} is not valid: {source}")]
    Document {
        /// The document.
        digest: Digest,
        /// The parser's error.
        source: serde_json::Error,
    },
    /// A file could not be read or written.
    #[error("cannot write the output: {0}")]
    Io(#[from] io::Error),
    /// The work was stopped.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl From<LockError> for OutputError {
    fn from(error: LockError) -> Self {
        error.into_error()
    }
}

impl Explain for OutputError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Directory(_) => ExitCode::NotALayout,
            Self::Layout(error) => error.exit_code(),
            Self::Archive(error) => error.exit_code(),
            Self::Rootfs(error) => error.exit_code(),
            Self::Damaged(_) | Self::Document { .. } => ExitCode::CorruptImage,
            Self::Io(error) => ExitCode::of_io(error),
            Self::Cancelled(cancelled) => cancelled.exit_code(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Directory(_) => {
                Some("write a layout directory with --output type=oci,dest=PATH,tar=false".into())
            }
            Self::Layout(error) => error.hint(),
            Self::Archive(error) => error.hint(),
            Self::Rootfs(error) => error.hint(),
            Self::Damaged(_) | Self::Document { .. } => {
                Some("run again when nothing writes to the layout".into())
            }
            Self::Io(error) => io_hint(error),
            Self::Cancelled(cancelled) => cancelled.hint(),
        }
    }
}
