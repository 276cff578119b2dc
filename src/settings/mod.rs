//! What a run should do, resolved from every source of configuration: one [`Settings`] value.
//!
//! Flags override environment variables, which override the project's file, which overrides the user's file, and all
//! override the defaults. [`resolve`] is pure: it takes all of them as values, so the same input gives the same
//! settings on every machine. What only a probe can find out (the package's name, its binaries, the base's glibc) is
//! not here but in `plan::Facts`; if a setting depends on it, its type is an `Option`.
//!
//! How progress is shown is deliberately not here. `cli` handles that, since it needs it before anything can fail.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::layout::Selector;
use crate::oci::name::ImageName;
use crate::origin::{Origin, Sourced};
use crate::registry::RegistrySettings;
use crate::target::abi::GlibcVersion;
use crate::target::catalog::Target;
use crate::target::platform::Platform;

mod annotation;
mod check;
mod destinations;
mod error;
mod flags;
mod image;
mod lock;
mod output;
mod packages;
mod payload;
mod platforms;
mod registries;
mod resolve;
mod sources;
#[cfg(test)]
mod tests;
mod values;

pub use crate::config::OnFailure;
pub use crate::image::{Healthcheck, ImageSettings};
pub use crate::output::engine::Engine;
pub use crate::output::{
    ArchiveOutput, DirectoryOutput, DockerArchiveOutput, EngineOutput, LayoutOutput, Output, OutputKind,
    RegistryOutput, Sink, TarOutput,
};
pub use crate::packages::{PackagesSettings, PackagesSources};
pub use crate::toolchain::ToolchainChoice;
pub use crate::toolchain::provided::{ProvidedSettings, ProvidedWay};
pub(crate) use annotation::index_annotations;
pub use check::CheckSettings;
pub use error::{Error, Problem};
pub use flags::Flags;
pub(crate) use flags::VARIABLES;
pub use lock::LockSettings;
pub use resolve::{resolve, resolve_machine};
pub(crate) use resolve::{resolve_age, resolve_most, resolve_timeout};
pub use sources::Host;

/// The platforms that are built by default.
pub const DEFAULT_PLATFORMS: &[&str] = &["linux/amd64", "linux/arm/v7", "linux/arm64"];

/// The default base image.
pub const DEFAULT_BASE: &str = "apt:bookworm";

/// The default time limit of a whole run: long enough for a large project on a small machine, short enough that a hang
/// does not use up a CI's six hours.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(2 * 60 * 60);

/// Everything that a run needs to know, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The absolute path of the package's or workspace's `Cargo.toml`.
    pub manifest_path: PathBuf,
    /// The options for cargo.
    pub payload: PayloadSettings,
    /// The platforms, sorted and without duplicates, each fully resolved. Never empty.
    pub platforms: Vec<PlatformSettings>,
    /// The origin of the choice of platforms.
    pub platforms_origin: Origin,
    /// The names of the index, sorted and without duplicates: `name`, `name:tag` or `registry/repository:tag`.
    pub tags: Vec<String>,
    /// The registries that the user has named for this run, on the command line or in the environment.
    pub named: BTreeSet<String>,
    /// Where the image goes. If none of them is on this machine's disk, the default is added: the layout
    /// `<target directory>/xbuild/<package>`, which needs the package's name and is therefore left to the plan.
    pub outputs: Vec<Output>,
    /// Annotations of only the index.
    pub index_annotations: BTreeMap<String, String>,
    /// Annotations of the index's entry in a layout.
    pub index_descriptor_annotations: BTreeMap<String, String>,
    /// How layers are compressed.
    pub compression: Compression,
    /// What happens to the other platforms when one fails.
    pub on_failure: OnFailure,
    /// Whether an image without the platforms that failed may be published.
    pub partial: Partial,
    /// The link check.
    pub check: CheckSettings,
    /// The time limit of the whole run. Always finite.
    pub timeout: Duration,
    /// The settings of the machine.
    pub machine: Machine,
    /// `SOURCE_DATE_EPOCH`: seconds since 1970, used for every time stamp in the image; otherwise the plan uses the
    /// commit's date.
    pub source_date_epoch: Option<i64>,
    /// True if compiler messages should be in colour.
    pub color: bool,
    /// The configuration files that were read, in the order of their precedence.
    pub files: Vec<PathBuf>,
    /// The lock file.
    pub lock: LockSettings,
}

/// What is passed on to cargo.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PayloadSettings {
    /// `--package`, as given; empty for cargo's own choice.
    pub packages: Vec<String>,
    /// `--bin`, as given; empty for every binary if there is just one, otherwise an error that lists them.
    pub bins: Vec<String>,
    /// `--bins`: every binary of the packages goes into the image.
    pub all_bins: bool,
    /// `--example`, as given.
    pub examples: Vec<String>,
    /// `--examples`: every example of the packages goes into the image.
    pub all_examples: bool,
    /// `--workspace`: the packages are all members of the workspace.
    pub workspace: bool,
    /// `--exclude`: members that `workspace` leaves out.
    pub exclude: Vec<String>,
    /// `--features`, one element per feature.
    pub features: Vec<String>,
    /// `--all-features`.
    pub all_features: bool,
    /// `--no-default-features`.
    pub no_default_features: bool,
    /// `--profile`; `release` by default.
    pub profile: String,
    /// `--locked`.
    pub locked: bool,
    /// `--offline`.
    pub offline: bool,
    /// `--frozen`.
    pub frozen: bool,
    /// `--target-dir`, absolute; `None` for cargo's own choice.
    pub target_dir: Option<PathBuf>,
    /// cargo's own variables with relative paths, made absolute: cargo runs in the project's directory, but these paths
    /// start from the current directory.
    pub variables: Vec<(String, PathBuf)>,
    /// `--jobs`; negative counts back from the number of processors, as in cargo.
    pub jobs: Option<i32>,
    /// cargo's own verbosity: none, `-v` or `-vv`.
    pub verbose: u8,
    /// True if flags may compile for the build machine's processor.
    pub allow_native_cpu: bool,
}

/// One platform's settings, with the project's general settings merged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlatformSettings {
    /// The platform.
    pub platform: Platform,
    /// The target to compile for. With [`Origin::Default`] it follows from the platform and the base:
    /// musl for `scratch`, otherwise glibc.
    pub target: Sourced<&'static Target>,
    /// The base image.
    pub base: Sourced<BaseSource>,
    /// The oldest glibc that the programs must run with, as (2, minor); `None` for that of the base.
    pub glibc: Sourced<Option<GlibcVersion>>,
    /// What compiles and links.
    pub toolchain: Sourced<ToolchainChoice>,
    /// Debian packages that are installed in addition to those of the base: their names, sorted and without duplicates.
    pub packages: Vec<String>,
    /// What the programs are compiled and linked against beyond the C library.
    pub build_packages: BuildPackages,
    /// Where these packages come from if the base is an image, whose release is known only later.
    pub sources: PackagesSources,
    /// The image's configuration.
    pub image: ImageSettings,
    /// Files beside the programs, in the order of the configuration.
    pub files: Vec<FileSettings>,
    /// The time limit of this platform; `None` for what is left of the whole run's limit.
    pub timeout: Option<Duration>,
}

/// The development packages of a platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildPackages {
    /// True if those that the project's crates are known to need are added.
    pub auto: bool,
    /// The configured ones, sorted and without duplicates.
    pub names: Vec<String>,
}

/// Where a base image comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BaseSource {
    /// `apt:SUITE`: assembled from Debian's packages.
    #[serde(rename = "apt")]
    Packages {
        /// The release's codename, `bookworm`.
        suite: String,
        /// The suites to take packages from, of this release; empty for the release with its updates and
        /// its security suite.
        suites: Vec<String>,
        /// The components; empty for `main`.
        components: Vec<String>,
        /// The moment as of which everything is taken: `20260801T000000Z`; `None` for current packages.
        snapshot: Option<String>,
    },
    /// `scratch`: an empty base. Programs must be static.
    Scratch,
    /// `oci:PATH[:TAG]` or `oci:PATH@DIGEST`: an OCI image layout, a directory or a tar archive of one.
    Layout {
        /// The absolute path.
        path: PathBuf,
        /// Which image in it.
        #[serde(rename = "tag")]
        selector: Selector,
    },
    /// `registry/repository[:tag][@digest]`: an image in a registry.
    Registry {
        /// The image.
        name: ImageName,
    },
}

/// A file, a directory or a pattern of files that goes into the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSettings {
    /// The absolute directory that `from` is relative to and must stay in: that of the configuration file.
    pub root: PathBuf,
    /// A relative, `/`-separated path or, if it has `*`, `?`, `[` or `{`, a pattern. It has no `..`.
    pub from: String,
    /// The package whose build makes the files, as a specification; `from` is then relative to the files of that build.
    pub from_build: Option<String>,
    /// An absolute path in the image without `.` and `..`. With a trailing `/` it is a directory that files go into
    /// under their own names.
    pub to: String,
    /// The permission bits; `None` for 0755 if the source is a directory or executable by its owner, otherwise 0644.
    pub mode: Option<u32>,
    /// The owner.
    pub owner: Owner,
    /// Patterns of files to leave out, relative to `from`'s directory.
    pub exclude: Vec<String>,
    /// Where it is configured.
    pub origin: Origin,
}

/// A numeric owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Owner {
    /// The user's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
}

/// How layers are compressed. The level is the codec's own; `None` for xbuild's default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    /// gzip, levels 1 to 9.
    Gzip(Option<u8>),
    /// zstd, levels 1 to 19.
    Zstd(Option<u8>),
    /// No compression.
    Uncompressed,
}

impl std::fmt::Display for Compression {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Gzip(None) => formatter.write_str("gzip"),
            Self::Gzip(Some(level)) => write!(formatter, "gzip:{level}"),
            Self::Zstd(None) => formatter.write_str("zstd"),
            Self::Zstd(Some(level)) => write!(formatter, "zstd:{level}"),
            Self::Uncompressed => formatter.write_str("none"),
        }
    }
}

/// Whether an image may lack platforms that failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Partial {
    /// Nothing is published unless every platform was built.
    #[default]
    Refuse,
    /// What was built is published; the exit code still reports the failure.
    Allow,
}

/// The settings of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The directory for everything that can be made again: toolchains, packages, zig's caches. Absolute.
    pub cache: PathBuf,
    /// True if the network must not be used.
    pub offline: bool,
    /// How the toolchain is found that xbuild can provide.
    pub provided: ProvidedSettings,
    /// Where Debian's packages come from.
    pub packages: PackagesSettings,
    /// Settings of registries, by registry or by the beginning of a repository's name.
    pub registries: BTreeMap<String, RegistrySettings>,
}
