//! Read-only probes: what the project, the machine and the base images are.
//!
//! Everything that `plan` needs to know is gathered here, so that planning itself is pure. Probing may fill caches
//! (a release, a package index), but builds and installs nothing.

use std::collections::BTreeMap;
use std::thread;

use crate::base::{BaseError, Bases, ResolvedBase};
use crate::error::{ExitCode, Explain, io_hint};
use crate::event::{Event, Level, Phase, Reporter};
use crate::lock::Pins;
use crate::origin::Origin;
use crate::packages::debian::{self};
use crate::payload::cargo::configuration::Configuration;
use crate::payload::cargo::graph::Graph;
use crate::payload::cargo::processor::{self};
use crate::payload::cargo::{self, Linker, metadata, project, spec};
use crate::plan::{Facts, StandardLibrary, ZigFacts};
use crate::settings::Settings;
use crate::sys::cancel::{Cancel, Cancelled};
use crate::sys::clock;
use crate::sys::download::Client;
use crate::sys::env::Environment;
use crate::sys::{store, threads};
use crate::target::catalog::Target;
use crate::target::platform::Platform;
use crate::toolchain::rust::{self, Rust, Standard};
use crate::toolchain::zig::data::ZigData;
use crate::toolchain::zig::{self, ZigRequest};
use crate::vcs;

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
                .or_else(|| Some("point $XBUILD_CACHE_DIR at a directory that you may write to".into())),
            Self::Cancelled(cancelled) => cancelled.hint(),
        }
    }
}

/// The facts, and what was opened to learn them and is needed again to act on them.
#[derive(Debug)]
pub(crate) struct Probe {
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
pub(crate) fn gather(
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
            reporter.report(Event::warning(stale.to_string()));
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
    let dir = settings.manifest_path.parent().unwrap_or(&settings.manifest_path);
    let rust = rust::detect(dir, environment, cancel)?;
    let metadata =
        metadata::metadata(&rust.cargo, &settings.manifest_path, &settings.cargo, cancel, reporter)?;
    let mut project = project::select(&metadata, &settings.cargo)?;
    project.makers = makers(&metadata, settings)?;
    tell_left_out(&project.left_out, reporter);
    let configuration = Configuration::load(dir, environment, &rust)?;
    let graph = Graph::of(&metadata, &project.binaries, &project.makers);
    let mut linkers = BTreeMap::new();
    let (mut cpus, mut processor_flags) = (BTreeMap::new(), BTreeMap::new());
    let mut standard_libraries = BTreeMap::new();
    for wanted in &settings.platforms {
        let target = wanted.target.value;
        let (choice, standard) = (wanted.toolchain.value, Standard::Installed);
        let linker = cargo::choose_linker(target, choice, standard, &rust, &configuration, &graph)?;
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
