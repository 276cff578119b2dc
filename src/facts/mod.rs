//! Read-only probes: what the project, the machine and the base images are.
//!
//! Everything that `plan` needs to know is gathered here, so that planning itself is pure. Probing may fill caches
//! (a release, a package index), but builds and installs nothing.

use std::collections::BTreeMap;
use std::thread;

use semver::Version;
use serde::Serialize;

use crate::base::{BaseError, Bases, ResolvedBase};
use crate::catalog::Target;
use crate::compile::configuration::Configuration;
use crate::compile::graph::Graph;
use crate::compile::processor::{self, ProcessorFlag};
use crate::compile::{self, Linker};
use crate::debian::{self, Dated, MirrorOrigin, Package};
use crate::error::{ExitCode, Explain, io_hint};
use crate::lock::Pins;
use crate::oci::Digest;
use crate::platform::Platform;
use crate::report::{Event, Level, Phase, Reporter};
use crate::settings::{Origin, Settings};
use crate::sys::cancel::{Cancel, Cancelled};
use crate::sys::clock;
use crate::sys::download::Client;
use crate::sys::env::Environment;
use crate::sys::store;
use crate::sys::threads;
use crate::toolchain::rust::{self, Rust, Standard};
use crate::toolchain::zig::data::ZigData;
use crate::toolchain::zig::{self, ZigRequest};

pub mod choice;
pub mod features;
pub mod metadata;
pub mod project;
#[cfg(test)]
pub(crate) mod sample;
pub mod spec;
pub mod vcs;

/// What was found.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The cargo project.
    pub project: project::Project,
    /// The commit that is checked out.
    pub commit: Option<vcs::Commit>,
    /// The first package that compiles C code, if there is one.
    pub c_code: Option<String>,
    /// What links each platform's programs.
    pub linkers: BTreeMap<Platform, Linker>,
    /// The processors that rustc compiles for, on platforms that promise more than their targets.
    pub cpus: BTreeMap<Platform, String>,
    /// Flags that ask for more than the processors of a platform have.
    pub processor_flags: BTreeMap<Platform, Vec<ProcessorFlag>>,
    /// Where each triple's standard library will come from.
    pub standard_libraries: BTreeMap<String, StandardLibrary>,
    /// The zig that is there or would be provided.
    pub zig: ZigFacts,
    /// The base of each platform; a platform whose base could not be resolved is absent.
    pub bases: BTreeMap<Platform, BaseFacts>,
}

/// A zig that is there, or the one that would be provided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ZigFacts {
    /// Its version.
    pub version: Version,
    /// Where it is, or where it would come from.
    pub from: String,
    /// The newest glibc that it links for, as (2, minor).
    pub newest_glibc: (u32, u32),
    /// The digest of its files, where a copy of it in the cache can be held to one.
    pub files: Option<Digest>,
}

/// Where the standard library of a triple comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StandardLibrary {
    /// The toolchain has it.
    Installed,
    /// rustup will be asked to add it, or, where the channel does not carry it, it is built from `rust-src`.
    #[default]
    Rustup,
}

/// A base image before its layers are needed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct BaseFacts {
    /// Its name, as the annotation `org.opencontainers.image.base.name` has it.
    pub name: String,
    /// Its identity: the manifest's digest, or that of the package list that it is assembled from.
    pub digest: Option<String>,
    /// What it is made of, in a few words.
    pub content: String,
    /// The newest glibc version that its `libc.so.6` provides, as (2, minor).
    pub glibc: Option<(u32, u32)>,
    /// Debian's packages that were asked for beside what it has, and those that they need, sorted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<AddedPackage>,
    /// The releases of Debian that its packages were chosen from; none for what is pinned.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub releases: Vec<ReleaseFacts>,
}

/// A signed release of Debian that packages were chosen from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ReleaseFacts {
    /// The suite.
    pub suite: String,
    /// The day on which it was signed: `2026-07-11`.
    pub date: Option<String>,
    /// The mirror's address.
    pub mirror: String,
    /// Whose choice the mirror is.
    pub mirror_from: MirrorOrigin,
}

/// Releases as a person reads them, one line a mirror.
#[must_use]
pub fn release_lines(releases: &[ReleaseFacts]) -> Vec<String> {
    let mut mirrors: Vec<(&str, MirrorOrigin, Vec<String>)> = Vec::new();
    for release in releases {
        let date = release.date.as_ref().map_or_else(String::new, |date| format!(" of {date}"));
        let suite = format!("{}{date}", release.suite);
        match mirrors.iter_mut().find(|(address, ..)| *address == release.mirror) {
            Some((.., suites)) => suites.push(suite),
            None => mirrors.push((&release.mirror, release.mirror_from, vec![suite])),
        }
    }
    let line = |(address, from, suites): (&str, MirrorOrigin, Vec<String>)| {
        format!("{} from {address} ({from})", suites.join(", "))
    };
    mirrors.into_iter().map(line).collect()
}

impl ReleaseFacts {
    /// What is told of a release.
    #[must_use]
    pub fn of(release: &Dated) -> Self {
        Self {
            suite: release.suite.clone(),
            date: release.date.map(debian::freshness::day),
            mirror: release.mirror.address.clone(),
            mirror_from: release.mirror.from,
        }
    }
}

/// A Debian package that goes into the image beside those of the base.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct AddedPackage {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Why it is added.
    pub why: String,
}

impl AddedPackage {
    /// What is told of a package.
    #[must_use]
    pub fn of(package: &Package) -> Self {
        Self { name: package.name.clone(), version: package.version.clone(), why: package.why.clone() }
    }
}

/// Why the facts could not be gathered.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// cargo's metadata.
    #[error(transparent)]
    Metadata(#[from] metadata::MetadataError),
    /// The choice of packages and binaries.
    #[error(transparent)]
    Select(#[from] project::SelectError),
    /// A package that `from-build` names.
    #[error("{error} ({origin})")]
    Maker {
        /// What is wrong with it.
        error: spec::SpecError,
        /// Where it is configured.
        origin: Origin,
    },
    /// The project's Rust toolchain.
    #[error(transparent)]
    Rust(#[from] rust::Error),
    /// cargo's configuration.
    #[error("cargo's configuration cannot be read: {0}")]
    Configuration(#[from] cargo_config2::Error),
    /// xbuild's cache cannot be used.
    #[error("xbuild's cache cannot be used: {0}")]
    Cache(std::io::Error),
    /// The run was stopped.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl Explain for FactsError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Metadata(error) => error.exit_code(),
            Self::Select(error) => error.exit_code(),
            Self::Maker { error, .. } => error.exit_code(),
            Self::Rust(error) => error.exit_code(),
            Self::Configuration(_) => ExitCode::Config,
            Self::Cache(error) => ExitCode::of_io(error),
            Self::Cancelled(cancelled) => cancelled.exit_code(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Metadata(error) => error.hint(),
            Self::Select(error) => error.hint(),
            Self::Maker { error, .. } => error.hint(),
            Self::Rust(error) => error.hint(),
            Self::Configuration(_) => {
                Some("correct what it names: `.cargo/config.toml`, or the variable".into())
            }
            Self::Cache(error) => io_hint(error)
                .or_else(|| Some("point $XBUILD_CACHE_DIR at a folder that you may write to".into())),
            Self::Cancelled(cancelled) => cancelled.hint(),
        }
    }
}

/// The facts, and what was opened to learn them and is needed again to act on them.
#[derive(Debug)]
pub struct Probe {
    /// The facts.
    pub facts: Facts,
    /// The project's Rust toolchain.
    pub rust: Rust,
    /// cargo's configuration.
    pub configuration: Configuration,
    /// The dependency graph.
    pub graph: Graph,
    /// Opened sources of bases.
    pub bases: Bases,
    /// Each platform's base.
    pub resolved: BTreeMap<Platform, Result<ResolvedBase, BaseError>>,
}

/// Tells what the time ran out for, and at what.
fn tell_unresolved(resolved: &BTreeMap<Platform, Result<ResolvedBase, BaseError>>, reporter: &dyn Reporter) {
    for (platform, base) in resolved {
        if let Err(error) = base
            && error.exit_code() == ExitCode::TimedOut
        {
            reporter.report(Event::failed(Some(platform.clone()), error));
        }
    }
}

/// Gathers the facts of a run. A base that cannot be resolved is that platform's failure, kept in the probe.
pub fn gather(
    settings: &Settings,
    pins: &Pins,
    environment: &Environment,
    client: &Client,
    cancel: &Cancel,
    reporter: &dyn Reporter,
) -> Result<Probe, FactsError> {
    for wanted in &settings.platforms {
        tracing::info!("{}: {}", wanted.platform, Phase::Resolve.name());
        reporter.report(Event::Phase { platform: wanted.platform.clone(), phase: Phase::Resolve });
    }
    store::open(&settings.machine.cache).map_err(FactsError::Cache)?;
    let bases = Bases::new(&settings.machine, &settings.named, environment);
    // Bases wait for the network, the rest for cargo and git.
    thread::scope(|scope| {
        let resolving = threads::begin(scope, || {
            let resolve = || bases.resolve_all(settings, pins, client, cancel, reporter);
            bases.registries().telling(reporter, resolve)
        });
        let local = gather_local(settings, pins, environment, cancel, reporter);
        let resolved = resolving.join();
        tell_releases(&resolved, reporter);
        let (rust, configuration, graph, mut facts) = match local {
            Err(error) if error.exit_code() == ExitCode::TimedOut => {
                tell_unresolved(&resolved, reporter);
                return Err(error);
            }
            local => local?,
        };
        for (platform, base) in &resolved {
            if let Ok(base) = base {
                facts.bases.insert(platform.clone(), base.facts());
            }
        }
        if let Err(cancelled) = cancel.check() {
            tell_unresolved(&resolved, reporter);
            return Err(cancelled.into());
        }
        Ok((facts, rust, configuration, graph, resolved))
    })
    .map(|(facts, rust, configuration, graph, resolved)| Probe {
        facts,
        rust,
        configuration,
        graph,
        bases,
        resolved,
    })
}

/// Tells which releases of Debian the packages are from, and warns of what is old: once for all platforms that share them.
fn tell_releases(resolved: &BTreeMap<Platform, Result<ResolvedBase, BaseError>>, reporter: &dyn Reporter) {
    let mut told: Vec<Event> = Vec::new();
    for base in resolved.values().flatten() {
        let Some(apt) = base.apt() else { continue };
        let (base, releases, pinned) = (base.facts().name, apt.releases(), apt.pinned.clone());
        let event = Event::Releases { base, releases, pinned };
        if told.contains(&event) {
            continue;
        }
        told.push(event.clone());
        reporter.report(event);
        for stale in debian::stale(&apt.releases, clock::unix_now()) {
            reporter.report(Event::Note { level: Level::Warning, platform: None, text: stale.to_string() });
        }
    }
}

fn gather_local(
    settings: &Settings,
    pins: &Pins,
    environment: &Environment,
    cancel: &Cancel,
    reporter: &dyn Reporter,
) -> Result<(Rust, Configuration, Graph, Facts), FactsError> {
    let folder = settings.manifest_path.parent().unwrap_or(&settings.manifest_path);
    let rust = rust::detect(folder, environment, cancel)?;
    let metadata =
        metadata::metadata(&rust.cargo, &settings.manifest_path, &settings.cargo, cancel, reporter)?;
    let mut project = project::select(&metadata, &settings.cargo)?;
    project.makers = makers(&metadata, settings)?;
    tell_left_out(&project.left_out, reporter);
    let configuration = Configuration::load(folder, environment, &rust)?;
    let graph = Graph::of(&metadata, &project.binaries, &project.makers);
    let mut linkers = BTreeMap::new();
    let (mut cpus, mut processor_flags) = (BTreeMap::new(), BTreeMap::new());
    let mut standard_libraries = BTreeMap::new();
    for wanted in &settings.platforms {
        let target = wanted.target.value;
        let (choice, standard) = (wanted.toolchain.value, Standard::Installed);
        let linker = compile::choose_linker(target, choice, standard, &rust, &configuration, &graph)?;
        linkers.insert(wanted.platform.clone(), linker);
        let configured = |name: &str| configuration.variable(name);
        let places = |word: &str| Some(configuration.flags_place(target, word)?.to_string());
        let user = configuration.flags(target)?;
        let flags = processor::beyond(target, &wanted.platform, &user, environment, &configured, &places);
        processor_flags.insert(wanted.platform.clone(), flags);
        let cpu = processor::cpu(target.variant(&wanted.platform), &user);
        cpus.extend(cpu.map(|cpu| (wanted.platform.clone(), cpu)));
        let library = if rust.has(&target.triple).map_err(rust::Error::from)? {
            StandardLibrary::Installed
        } else {
            StandardLibrary::Rustup
        };
        standard_libraries.insert(target.triple.clone(), library);
    }
    let needs_zig = linkers.values().any(|linker| *linker == Linker::Zig);
    tell_passed_over(settings, &configuration, reporter);
    let facts = Facts {
        commit: vcs::commit(&project.workspace_root, cancel)?,
        c_code: graph.c_code.as_ref().map(|code| code.package.clone()),
        linkers,
        cpus,
        processor_flags,
        standard_libraries,
        zig: zig_facts(settings, pins, environment, needs_zig, cancel),
        bases: BTreeMap::new(),
        project,
    };
    Ok((rust, configuration, graph, facts))
}

/// Says that cargo's configuration wants another target than what is built.
fn tell_passed_over(settings: &Settings, configuration: &Configuration, reporter: &dyn Reporter) {
    let Some((triples, place)) = configuration.build_targets() else { return };
    for triple in &triples {
        let is_built = settings.platforms.iter().any(|wanted| wanted.target.value.triple == *triple);
        if is_built {
            continue;
        }
        let target = Target::by_triple(triple);
        let serves = |platform: &Platform| target.is_some_and(|target| target.serves(platform));
        let instead = settings.platforms.iter().find(|wanted| serves(&wanted.platform));
        let (level, text) = match instead {
            Some(wanted) => (
                Level::Warning,
                format!(
                    "{place} asks for {triple}, and {} is built; `triple = \"{triple}\"` in \
                     `[platform.\"{}\"]` of xbuild.toml chooses it here, too",
                    wanted.target.value.triple, wanted.platform
                ),
            ),
            None => (
                Level::Detail,
                format!("{place} asks for {triple}, which is none of the platforms that are built"),
            ),
        };
        let platform = instead.map(|wanted| wanted.platform.clone());
        reporter.report(Event::Note { level, platform, text });
    }
}

/// The packages that `from-build` names.
fn makers(
    metadata: &cargo_metadata::Metadata,
    settings: &Settings,
) -> Result<BTreeMap<String, project::Maker>, FactsError> {
    let mut makers = BTreeMap::new();
    let files = settings.platforms.iter().flat_map(|platform| &platform.files);
    for file in files {
        let Some(spec) = &file.from_build else { continue };
        let maker = project::maker(metadata, spec)
            .map_err(|error| FactsError::Maker { error, origin: file.origin.clone() })?;
        makers.extend(maker.map(|maker| (spec.clone(), maker)));
    }
    Ok(makers)
}

/// Says which programs of all are left out, and why: cargo leaves them out without a word.
fn tell_left_out(programs: &[project::Lacking], reporter: &dyn Reporter) {
    for project::Lacking { program, features } in programs {
        let text = format!(
            "the {} `{}` is left out: it requires the features {}",
            program.kind,
            program.name,
            features.join(", ")
        );
        reporter.report(Event::Note { level: Level::Info, platform: None, text });
    }
}

/// The zig that is there, else the one that would be provided. Where nothing needs it, nobody looks.
fn zig_facts(
    settings: &Settings,
    pins: &Pins,
    environment: &Environment,
    needed: bool,
    cancel: &Cancel,
) -> ZigFacts {
    let machine = &settings.machine;
    let pinned = pins.zig.as_ref().map(|pin| &pin.version);
    let request = ZigRequest {
        settings: &machine.zig,
        cache: &machine.cache,
        environment,
        pinned,
        verified: pins.verified_zig(),
    };
    if needed && let Ok(zig) = zig::find(&request, cancel) {
        let from = zig.program.display().to_string();
        // Only of the version that comes with xbuild it is known without looking.
        let files = if zig.version == ZigData::get().version {
            Some(ZigData::get().package.files.clone())
        } else if pins.locking {
            zig::files_digest(&zig, cancel)
        } else {
            None
        };
        return ZigFacts { files, version: zig.version.clone(), from, newest_glibc: zig.newest_glibc() };
    }
    let version = request.provided().clone();
    let newest_glibc = ZigData::get().newest_glibc(&version);
    let files = (version == ZigData::get().version).then(|| ZigData::get().package.files.clone());
    ZigFacts { version, from: "to be provided".into(), newest_glibc, files }
}
