//! Options that several commands share. Their doc comments are the help text, so they are written for the user.

use std::path::{Path, PathBuf};

use clap::{ArgAction, Args, ValueEnum, ValueHint};

use crate::config::OnFailure;
use crate::output::engine::Engine;
use crate::settings::{Flags, Partial};

const PAYLOAD: &str = "Cargo options";
const IMAGE: &str = "Image options";
const RUN: &str = "Run options";

/// How output is shown; the same for every command.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct ViewOptions {
    /// How progress is shown [default: auto, which is tty on a terminal and plain elsewhere]
    #[arg(long, global = true, value_enum, value_name = "MODE", help_heading = "Display options")]
    pub(super) progress: Option<Progress>,
    /// Show only errors, and print only the image's ID
    #[arg(short, long, global = true, conflicts_with = "progress", help_heading = "Display options")]
    pub(super) quiet: bool,
    /// Show details; given twice, cargo's own too
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Display options")]
    pub(super) verbose: u8,
    /// When to use colours [default: auto]
    #[arg(long, global = true, value_enum, value_name = "WHEN", help_heading = "Display options")]
    pub(super) color: Option<Color>,
}

/// `--progress`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Progress {
    /// tty on a terminal outside CI, otherwise plain
    Auto,
    /// Live lines that are redrawn in place
    Tty,
    /// Plain lines, for logs
    Plain,
    /// One JSON object per line on standard error
    Json,
    /// Only errors
    Quiet,
}

/// `--color`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Color {
    #[value(help = "On a terminal, unless NO_COLOR is set")]
    /// On a terminal, unless `NO_COLOR` is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// `--load`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum LoadEngine {
    /// Docker if its daemon answers, otherwise podman
    Auto,
    /// Docker
    Docker,
    /// podman
    Podman,
}

impl LoadEngine {
    /// The engine; `None` for whichever is found.
    pub(super) const fn engine(self) -> Option<Engine> {
        match self {
            Self::Auto => None,
            Self::Docker => Some(Engine::Docker),
            Self::Podman => Some(Engine::Podman),
        }
    }
}

/// The time limit of a command that builds nothing.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Limit {
    /// The time limit: 45m, 90s [default: the variable `XBUILD_TIMEOUT`, or the user's file, or 2h]
    #[arg(long, value_name = "TIME")]
    pub(super) timeout: Option<String>,
}

/// For commands that list.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct ListOptions {
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// The options of a build, which all commands have that build or plan.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct BuildOptions {
    /// The project: a directory with a Cargo.toml [default: this directory, or the nearest one above it]
    #[arg(value_hint = ValueHint::DirPath, conflicts_with = "manifest_path")]
    pub(super) path: Option<PathBuf>,

    /// The platforms, separated by commas: os/arch[/variant], `local` or `all`
    ///
    /// Names are normalised as container engines do: aarch64 is linux/arm64, armhf is linux/arm/v7.
    /// [default: linux/amd64,linux/arm64,linux/arm/v7]
    #[arg(long, value_name = "PLATFORM", help_heading = IMAGE)]
    platform: Vec<String>,
    /// The base image: apt:SUITE, scratch, oci:PATH[:TAG], docker-archive:FILE or registry/repository:tag [default: apt:bookworm]
    ///
    /// `linux/arm64=apt:trixie` sets it for one platform.
    #[arg(long, value_name = "[PLATFORM=]BASE", help_heading = IMAGE)]
    base: Vec<String>,
    /// A Debian package to install in addition to the configured ones, with its dependencies
    ///
    /// Only for bases that are Debian. `linux/arm64=libsqlite3-0` installs it for one platform.
    #[arg(long = "debian-package", value_name = "[PLATFORM=]NAME", help_heading = IMAGE)]
    added_package: Vec<String>,
    /// A name of the image: registry/repository:tag
    #[arg(short, long, value_name = "NAME", help_heading = IMAGE)]
    tag: Vec<String>,
    /// Where the image goes [default: target/xbuild/<package>]
    ///
    /// A path is an OCI image layout, which is a directory; `-` writes the root filesystem as a tar to standard output.
    /// Otherwise fields, as in docker buildx: type=oci (an archive; a directory with tar=false), type=docker (an
    /// archive that Docker loads), type=local (the files, in a directory), type=tar, type=registry; dest=PATH or `-`,
    /// name, compression, compression-level, annotation.KEY, platform-split, push-by-digest.
    #[arg(short, long, value_name = "PATH|type=TYPE,dest=PATH", help_heading = IMAGE)]
    output: Vec<String>,
    /// Load the image into Docker or podman, whichever is found, with every platform that it can store
    #[arg(
        long,
        value_name = "ENGINE",
        value_enum,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "auto",
        help_heading = IMAGE
    )]
    load: Option<LoadEngine>,
    /// Push the image to the registries of its names, like --output type=registry
    #[arg(long, help_heading = IMAGE)]
    push: bool,
    /// A label of the image's configuration
    #[arg(long, value_name = "KEY=VALUE", help_heading = IMAGE)]
    label: Vec<String>,
    /// An annotation of the manifests, or of the given level: index:KEY=VALUE
    ///
    /// Levels, separated by commas: manifest, index, manifest-descriptor, index-descriptor; for one platform:
    /// `manifest[linux/arm64]:KEY=VALUE`.
    #[arg(long, value_name = "[LEVEL:]KEY=VALUE", help_heading = IMAGE)]
    annotation: Vec<String>,
    /// Write the image's digests, names and descriptors to a file, as JSON with docker buildx's keys
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = IMAGE)]
    pub(super) metadata_file: Option<PathBuf>,
    /// Write the image's ID to a file; with --load, the ID that the engine uses
    ///
    /// Without --load it is the digest of the configuration, or of the index if there are several platforms.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = IMAGE)]
    pub(super) iidfile: Option<PathBuf>,
    /// Write a line NAME@DIGEST for the index and each platform's manifest to a file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = IMAGE)]
    pub(super) image_refs: Option<PathBuf>,
    /// How layers are compressed: gzip, zstd or none, optionally with a level: zstd:9 [default: gzip]
    #[arg(long, value_name = "CODEC[:LEVEL]", help_heading = IMAGE)]
    compression: Option<String>,

    /// What compiles and links: auto, lld, zig or cargo [default: auto]
    ///
    /// `auto` uses rust-lld for static programs without C code, the linker that cargo's configuration names for the
    /// triple if it names one, and otherwise zig. `lld` links with rust-lld against the C library of the base's release,
    /// which is much less to download and faster, for programs without C code. `cargo` uses only what cargo's
    /// configuration and environment set up.
    #[arg(long, value_name = "[PLATFORM=]NAME", help_heading = RUN)]
    toolchain: Vec<String>,
    /// The oldest glibc that the programs must run with: 2.28 [default: that of the base]
    #[arg(long, value_name = "[PLATFORM=]VERSION", help_heading = RUN)]
    glibc: Vec<String>,
    /// What errors of the link check do: error, warn or off [default: error]
    ///
    /// xbuild checks whether every finished image will run: loader, libraries, symbols, scripts, users. An image that
    /// will not run is not published.
    #[arg(long, value_name = "MODE", help_heading = RUN)]
    check: Option<String>,
    /// When a platform fails, finish the others and report every failure [this is the default]
    #[arg(long, overrides_with = "fail_fast", help_heading = RUN)]
    keep_going: bool,
    /// When a platform fails, stop the others
    #[arg(long, overrides_with = "keep_going", help_heading = RUN)]
    fail_fast: bool,
    /// Publish the platforms that were built even if others failed; the exit code still reports the failure
    #[arg(long, help_heading = RUN)]
    allow_partial: bool,
    /// The time limit of the run: 45m; of each platform: each=20m; of one platform: linux/arm/v7=30m [default: 2h]
    #[arg(long, value_name = "[PLATFORM=|each=]TIME", help_heading = RUN)]
    timeout: Vec<String>,
    /// The project's configuration file, instead of xbuild.toml and the metadata in Cargo.toml
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = RUN)]
    pub(super) config: Option<PathBuf>,

    /// The package or packages whose programs go into the image
    ///
    /// As in cargo: a name, `name@version`, a URL, or a pattern of names.
    #[arg(short, long, value_name = "SPEC", help_heading = PAYLOAD)]
    package: Vec<String>,
    /// The programs of all members of the workspace
    #[arg(long, conflicts_with = "package", help_heading = PAYLOAD)]
    workspace: bool,
    /// A member that --workspace leaves out
    #[arg(long, value_name = "SPEC", conflicts_with = "package", help_heading = PAYLOAD)]
    exclude: Vec<String>,
    /// A program to put into the image
    #[arg(long, value_name = "NAME", help_heading = PAYLOAD)]
    bin: Vec<String>,
    /// Put every program of the packages into the image
    #[arg(long, conflicts_with = "bin", help_heading = PAYLOAD)]
    bins: bool,
    /// An example to put into the image, like a program
    #[arg(long, value_name = "NAME", help_heading = PAYLOAD)]
    example: Vec<String>,
    /// Put every example of the packages into the image
    #[arg(long, conflicts_with = "example", help_heading = PAYLOAD)]
    examples: bool,
    /// Features to enable, separated by spaces or commas
    #[arg(short = 'F', long, value_name = "FEATURES", help_heading = PAYLOAD)]
    features: Vec<String>,
    /// Enable all features
    #[arg(long, help_heading = PAYLOAD)]
    all_features: bool,
    /// Disable the default features
    #[arg(long, help_heading = PAYLOAD)]
    no_default_features: bool,
    /// The profile [default: release]
    #[arg(long, value_name = "NAME", help_heading = PAYLOAD)]
    profile: Option<String>,
    /// Build with the release profile [this is the default]
    #[arg(short, long, conflicts_with = "profile", help_heading = PAYLOAD)]
    release: bool,
    /// Fail if Cargo.lock or xbuild.lock is missing or would have to change
    #[arg(long, help_heading = PAYLOAD)]
    locked: bool,
    /// Do not use the network, for crates, toolchains or packages
    #[arg(long, help_heading = PAYLOAD)]
    offline: bool,
    /// The same as --locked --offline
    #[arg(long, help_heading = PAYLOAD)]
    frozen: bool,
    /// The project's Cargo.toml
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath, help_heading = PAYLOAD)]
    pub(super) manifest_path: Option<PathBuf>,
    /// The directory for everything that cargo builds
    #[arg(long, value_name = "DIRECTORY", value_hint = ValueHint::DirPath, help_heading = PAYLOAD)]
    target_dir: Option<PathBuf>,
    /// How many jobs run in parallel [default: the number of processors]
    #[arg(short, long, value_name = "N", allow_negative_numbers = true, help_heading = PAYLOAD)]
    jobs: Option<i32>,
}

impl BuildOptions {
    /// `--tag`.
    pub(super) fn tags(&self) -> Vec<String> {
        self.tag.iter().flat_map(|tag| tag.split(',')).map(str::to_owned).collect()
    }

    /// `--timeout` of the whole run.
    pub(super) fn total_timeout(&self) -> Option<&str> {
        self.timeout.iter().map(String::as_str).find(|text| !text.contains('='))
    }

    /// The same options for the project at `path`, whose image gets these names, or its own if there are none.
    pub(super) fn for_project(&self, path: &Path, names: Option<Vec<String>>) -> Self {
        let tag = names.unwrap_or_else(|| self.tag.clone());
        Self { path: Some(path.to_owned()), tag, ..self.clone() }
    }

    /// The same options, with `--push`.
    pub(super) fn pushed(self) -> Self {
        Self { push: true, ..self }
    }

    /// The options as `settings` takes them.
    pub(super) fn flags(&self, view: &ViewOptions) -> Flags {
        Flags {
            packages: self.package.clone(),
            bins: self.bin.clone(),
            all_bins: self.bins,
            examples: self.example.clone(),
            all_examples: self.examples,
            workspace: self.workspace,
            exclude: self.exclude.clone(),
            features: self.features.clone(),
            all_features: self.all_features,
            no_default_features: self.no_default_features,
            profile: self.profile.clone().or_else(|| self.release.then(|| "release".to_owned())),
            locked: self.locked,
            offline: self.offline,
            frozen: self.frozen,
            target_dir: self.target_dir.clone(),
            jobs: self.jobs,
            verbose: view.verbose.saturating_sub(1),
            platforms: self.platform.clone(),
            base: self.base.clone(),
            added_packages: self.added_package.clone(),
            toolchain: self.toolchain.clone(),
            glibc: self.glibc.clone(),
            timeout: self.timeout.clone(),
            tags: self.tag.clone(),
            outputs: self.output.clone(),
            compression: self.compression.clone(),
            labels: self.label.clone(),
            annotations: self.annotation.clone(),
            load: self.load.map(LoadEngine::engine),
            push: self.push,
            check: self.check.clone(),
            on_failure: match (self.keep_going, self.fail_fast) {
                (true, _) => Some(OnFailure::KeepGoing),
                (false, true) => Some(OnFailure::FailFast),
                (false, false) => None,
            },
            partial: if self.allow_partial { Partial::Allow } else { Partial::Refuse },
        }
    }
}
