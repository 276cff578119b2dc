//! The values of the command line and the environment, as unparsed texts that [`super::resolve`] reads.

use std::path::PathBuf;

use super::Partial;
use crate::config::OnFailure;
use crate::output::engine::Engine;

/// The options of the command line, which `cli` makes from clap's types. A field is empty if the option was not given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// `--package`.
    pub packages: Vec<String>,
    /// `--bin`.
    pub bins: Vec<String>,
    /// `--bins`.
    pub all_bins: bool,
    /// `--example`.
    pub examples: Vec<String>,
    /// `--examples`.
    pub all_examples: bool,
    /// `--workspace`.
    pub workspace: bool,
    /// `--exclude`.
    pub exclude: Vec<String>,
    /// `--features`; each may hold several, separated by commas or spaces.
    pub features: Vec<String>,
    /// `--all-features`.
    pub all_features: bool,
    /// `--no-default-features`.
    pub no_default_features: bool,
    /// `--profile`, or the profile that `--release` stands for.
    pub profile: Option<String>,
    /// `--locked`: neither `Cargo.lock` nor `xbuild.lock` may have to change.
    pub locked: bool,
    /// `--offline`.
    pub offline: bool,
    /// `--frozen`.
    pub frozen: bool,
    /// `--target-dir`.
    pub target_dir: Option<PathBuf>,
    /// `--jobs`.
    pub jobs: Option<i32>,
    /// cargo's own verbosity: none, `-v` or `-vv`.
    pub verbose: u8,
    /// `--platform`; each may hold several, separated by commas.
    pub platforms: Vec<String>,
    /// `--base [PLATFORM=]BASE`.
    pub base: Vec<String>,
    /// `--debian-package [PLATFORM=]NAME`.
    pub added_packages: Vec<String>,
    /// `--toolchain [PLATFORM=]TOOLCHAIN`.
    pub toolchain: Vec<String>,
    /// `--glibc [PLATFORM=]VERSION`.
    pub glibc: Vec<String>,
    /// `--timeout [PLATFORM=|each=]DURATION`.
    pub timeout: Vec<String>,
    /// `--tag`.
    pub tags: Vec<String>,
    /// `--output`.
    pub outputs: Vec<String>,
    /// `--compression`.
    pub compression: Option<String>,
    /// `--push`.
    pub push: bool,
    /// `--label KEY=VALUE`.
    pub labels: Vec<String>,
    /// `--annotation [LEVEL:]KEY=VALUE`.
    pub annotations: Vec<String>,
    /// `--load[=ENGINE]`: the engine, or whichever is found.
    pub load: Option<Option<Engine>>,
    /// `--check`.
    pub check: Option<String>,
    /// `--keep-going` or `--fail-fast`.
    pub on_failure: Option<OnFailure>,
    /// `--allow-partial`.
    pub partial: Partial,
}

/// An environment variable that xbuild reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Variable {
    /// Its name.
    pub name: &'static str,
    /// Its meaning, for the help.
    pub meaning: &'static str,
}

/// Every environment variable that settings come from.
pub(crate) const VARIABLES: &[Variable] = &[
    Variable { name: "XBUILD_PLATFORM", meaning: "the platforms, as --platform" },
    Variable { name: "XBUILD_BASE", meaning: "the base image, as --base" },
    Variable { name: "XBUILD_TOOLCHAIN", meaning: "what compiles and links, as --toolchain" },
    Variable { name: "XBUILD_GLIBC", meaning: "the oldest glibc to run with, as --glibc" },
    Variable { name: "XBUILD_TAG", meaning: "the image's names, as --tag, separated by commas" },
    Variable { name: "XBUILD_OUTPUT", meaning: "where the image goes, as --output" },
    Variable { name: "XBUILD_COMPRESSION", meaning: "how layers are compressed, as --compression" },
    Variable { name: "XBUILD_CHECK", meaning: "what the link check's errors do, as --check" },
    Variable { name: "XBUILD_TIMEOUT", meaning: "the time limit of the run, as --timeout" },
    Variable { name: "XBUILD_CONFIG", meaning: "the project's configuration file, as --config" },
    Variable { name: "XBUILD_PROGRESS", meaning: "how progress is shown, as --progress" },
    Variable { name: "XBUILD_LOG", meaning: "what is logged: debug, or for one room http=debug" },
    Variable { name: "XBUILD_CACHE_DIR", meaning: "the directory for toolchains and packages" },
    Variable { name: "XBUILD_ZIG", meaning: "the zig program" },
    Variable { name: "XBUILD_DEBIAN_MIRROR", meaning: "the URL of a mirror of Debian's archive" },
    Variable {
        name: "XBUILD_DEBIAN_SECURITY_MIRROR",
        meaning: "the URL of a mirror of Debian's security archive",
    },
    Variable {
        name: "XBUILD_DEBIAN_SNAPSHOT",
        meaning: "the URL of a Debian snapshot archive, for pinned packages",
    },
    Variable {
        name: "XBUILD_REGISTRY_HOST",
        meaning: "the registry that the next three are for; by default one that you name to push to",
    },
    Variable { name: "XBUILD_REGISTRY_USERNAME", meaning: "the user at the registry" },
    Variable { name: "XBUILD_REGISTRY_PASSWORD", meaning: "the user's password" },
    Variable { name: "XBUILD_REGISTRY_TOKEN", meaning: "an identity token, instead of user and password" },
    Variable { name: "XBUILD_REGISTRY_PLAIN_HTTP", meaning: "registries without TLS, separated by commas" },
    Variable { name: "SOURCE_DATE_EPOCH", meaning: "seconds since 1970, for every time stamp in the image" },
];
