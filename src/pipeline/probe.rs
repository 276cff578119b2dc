//! Read-only probes: what the project, the machine and the base images are.
//!
//! Everything that `plan` needs to know is gathered here, so that planning itself is pure. Probing may fill caches
//! (a release, a package index), but it does not build or install anything.

use std::collections::BTreeMap;
use std::thread;

use crate::base::{self, BaseError, Bases, ResolvedBase, ResolvedSysroot, SysrootError};
use crate::error::{ExitCode, Explain, io_hint};
use crate::event::{Event, Level, Phase, Reporter};
use crate::host::Host;
use crate::lock::{self, Pins};
use crate::origin::Origin;
use crate::packages::{self, Development, NativeCrate, ResolvedPackages};
use crate::payload::configuration::{self, Configuration};
use crate::payload::graph::Graph;
use crate::payload::graph::native::Natives;
use crate::payload::{metadata, processor, project, spec};
use crate::plan::{Facts, PlatformFacts, StandardLibrary};
use crate::settings::{PlatformSettings, Settings};
use crate::sys::cancel::Cancelled;
use crate::sys::clock;
use crate::sys::store;
use crate::sys::threads::{self, Task};
use crate::target::catalog::Target;
use crate::target::platform::Platform;
use crate::toolchain::compiler;
use crate::toolchain::host_tools::HostTool;
use crate::toolchain::provided::{self, ProvidedFacts};
use crate::toolchain::rust::{self, Rust};
use crate::toolchain::{self, CompilerFacts, Libraries, LinkerFacts};
use crate::vcs;

use super::tools;

/// The facts of a run could not be gathered.
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
    Configuration(#[from] configuration::Error),
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

/// The facts, and what was opened to gather them and is needed again to act on them.
#[derive(Debug)]
pub(crate) struct Probe<'a> {
    /// The facts about the project and the machine.
    pub facts: Facts,
    /// The project's Rust toolchain.
    pub rust: Rust,
    /// cargo's configuration.
    pub configuration: Configuration,
    /// The dependency graph.
    pub graph: Graph,
    /// The toolchain that a platform needs, if it is there.
    pub provided: Option<provided::Found>,
    /// The C compiler of this machine, if a platform may need it and it is there.
    pub compiler: Option<compiler::Found>,
    /// Opened sources of bases.
    pub bases: Bases,
    /// The platforms, in the order of the settings.
    pub platforms: Vec<Probed<'a>>,
}

/// What was found out about one platform.
#[derive(Debug)]
pub(crate) struct Probed<'a> {
    /// The facts.
    pub facts: PlatformFacts<'a>,
    /// Its base. One that cannot be resolved is a failure of this platform alone.
    pub base: Result<ResolvedBase, BaseError>,
    /// What its programs are linked against; `None` if the linker needs nothing, or if there is no base.
    pub sysroot: Option<Result<ResolvedSysroot, SysrootError>>,
}

impl Probed<'_> {
    /// Why there is no base, or nothing to link against.
    #[must_use]
    pub(super) fn failure(&self) -> Option<&dyn Explain> {
        match (&self.base, &self.sysroot) {
            (Err(error), _) => Some(error),
            (Ok(_), Some(Err(error))) => Some(error),
            (Ok(_), Some(Ok(_)) | None) => None,
        }
    }
}

/// Reports the bases that there was no time to resolve.
fn report_timed_out(
    settings: &Settings,
    resolved: &[Result<ResolvedBase, BaseError>],
    reporter: &dyn Reporter,
) {
    for (wanted, base) in settings.platforms.iter().zip(resolved) {
        if let Err(error) = base
            && error.exit_code() == ExitCode::TimedOut
        {
            reporter.report(Event::failed(Some(wanted.platform.clone()), error));
        }
    }
}

/// Gathers the facts of a run.
pub(crate) fn gather<'a>(
    settings: &'a Settings,
    pins: &Pins,
    host: Host<'_>,
) -> Result<Probe<'a>, FactsError> {
    let Host { cancel, reporter, .. } = host;
    for wanted in &settings.platforms {
        tracing::info!("{}: {}", wanted.platform, Phase::Resolve.name());
        reporter.report(Event::Phase { platform: wanted.platform.clone(), phase: Phase::Resolve });
    }
    store::open(host.cache).map_err(FactsError::Cache)?;
    let bases = Bases::new(&settings.machine, &settings.named, host.environment);
    let request = provided_request(settings, pins, host);
    let stop = cancel.child();
    let find = || provided::find(&request, &stop).ok();
    // Bases wait for the network, and the rest waits for cargo and git. Only the graph and the bases tell whether what xbuild
    // provides is needed, unless it is asked for.
    thread::scope(|scope| {
        let resolving = threads::begin(scope, || {
            let resolve = || bases.resolve_all(settings, pins, host);
            bases.registries().telling(reporter, resolve)
        });
        let is_certain = |wanted: &PlatformSettings| toolchain::is_certainly_provided(wanted.toolchain.value);
        let certain = settings.platforms.iter().any(is_certain);
        let finding = certain.then(|| threads::begin(scope, find));
        let gathered = gather_both(settings, pins, host, (&bases, resolving));
        let gathered = gathered.map(|(local, resolved, sysroots)| {
            let provided = local.needs_provided().then(|| finding.map_or_else(find, Task::join)).flatten();
            (local, resolved, sysroots, provided)
        });
        // The scope waits for a search whose result nobody has asked for.
        stop.interrupt();
        gathered
    })
    .map(|(local, resolved, sysroots, provided)| {
        let found =
            provided.as_ref().map(|found| ProvidedFacts::found(&found.toolchain, pins.locking, cancel));
        let Local { project, commit, tools, rust, configuration, graph, compiler, platforms, .. } = local;
        let facts = Facts {
            project,
            commit,
            tools,
            provided: found.unwrap_or_else(|| ProvidedFacts::of_request(&request)),
        };
        let platforms = platforms.into_iter().zip(resolved).zip(sysroots);
        let platforms = platforms.map(|((facts, base), sysroot)| Probed { facts, base, sysroot }).collect();
        Probe { facts, rust, configuration, graph, provided, compiler, bases, platforms }
    })
}

/// The bases, and what programs on them are linked against, one of each for a platform.
type Chosen<'a> =
    (Local<'a>, Vec<Result<ResolvedBase, BaseError>>, Vec<Option<Result<ResolvedSysroot, SysrootError>>>);

/// What this machine knows, and the bases that are being resolved.
fn gather_both<'a>(
    settings: &'a Settings,
    pins: &Pins,
    host: Host<'_>,
    (bases, resolving): (&Bases, Task<'_, Vec<Result<ResolvedBase, BaseError>>>),
) -> Result<Chosen<'a>, FactsError> {
    let Host { cancel, reporter, .. } = host;
    let local = gather_project(settings, host);
    let resolved = resolving.join();
    let of_bases = resolved.iter().flatten().filter_map(|base| Some((base.facts().name, base.packages()?)));
    report_releases(of_bases, reporter);
    let is_over = match &local {
        Ok(_) => cancel.check().is_err(),
        Err(error) => error.exit_code() == ExitCode::TimedOut,
    };
    if is_over {
        report_timed_out(settings, &resolved, reporter);
    }
    let mut local = local?;
    cancel.check()?;
    for (platform, base) in local.platforms.iter_mut().zip(&resolved) {
        let Ok(base) = base else { continue };
        platform.linker.pinned = pins.provided.is_some() && pins.sysroots.is_empty();
        match base::release_of_sysroot(platform.wanted, base) {
            Ok(release) => look_for_libraries(platform, &local.natives, &release),
            Err(error) => platform.linker.no_sysroot = Some(error.to_string()),
        }
    }
    report_unused_libraries(&local.platforms, reporter);
    let sysroots = resolve_sysroots(settings, pins, bases, (&local.platforms, &resolved), host);
    let others = sysroots.iter().flatten().flatten().filter_map(ResolvedSysroot::other_releases);
    report_releases(others.map(|packages| (lock::SYSROOT.to_owned(), packages)), reporter);
    cancel.check()?;
    Ok((local, resolved, sysroots))
}

/// Adds to what is asked for the development packages of a release that crates are known to need.
fn look_for_libraries(platform: &mut PlatformFacts<'_>, natives: &Natives, release: &str) {
    let wanted = platform.wanted;
    if !wanted.build_packages.auto || !wanted.toolchain.value.may_need_sysroot() {
        return;
    }
    for found in needed_by(natives, release) {
        if !platform.development.iter().any(|known| known.package == found.package) {
            platform.development.push(found);
        }
    }
    platform.development.sort_by(|one, other| one.package.cmp(&other.package));
    if platform.linker.libraries == Libraries::None && !platform.development.is_empty() {
        platform.linker.libraries = Libraries::Found;
    }
}

/// The development packages of a release that crates are known to need.
fn needed_by(natives: &Natives, release: &str) -> Vec<Development> {
    let crates: Vec<NativeCrate<'_>> = natives
        .crates
        .iter()
        .map(|native| NativeCrate {
            name: &native.name,
            links: native.links.as_deref(),
            features: &native.features,
            pkg_config: native.pkg_config.iter().map(String::as_str).collect(),
        })
        .collect();
    packages::development(&crates, &natives.present.iter().map(String::as_str).collect(), release)
}

/// Warns of libraries that crates are known to need if there is no compiler to use them with.
fn report_unused_libraries(platforms: &[PlatformFacts<'_>], reporter: &dyn Reporter) {
    let lacking = platforms.iter().find_map(|platform| match &platform.linker.compiler {
        Some(CompilerFacts::Missing { why, hint })
            if platform.linker.libraries == Libraries::Found && platform.linker().linker.is_provided() =>
        {
            Some((platform, why, hint))
        }
        _ => None,
    });
    let Some((platform, why, hint)) = lacking else { return };
    let needed: Vec<String> = platform
        .development
        .iter()
        .map(|development| format!("{} ({})", development.package, development.why))
        .collect();
    let hint = hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
    reporter.report(Event::warning(format!(
        "these libraries would be compiled against, but {why}{hint}: {}",
        needed.join(", ")
    )));
}

/// Chooses what programs are linked against, for all platforms in parallel.
fn resolve_sysroots(
    settings: &Settings,
    pins: &Pins,
    bases: &Bases,
    (platforms, resolved): (&[PlatformFacts<'_>], &[Result<ResolvedBase, BaseError>]),
    host: Host<'_>,
) -> Vec<Option<Result<ResolvedSysroot, SysrootError>>> {
    thread::scope(|scope| {
        let each = platforms.iter().zip(resolved).map(|(platform, base)| {
            let choice = platform.linker();
            let base = base.as_ref().ok().filter(|_| choice.linker.needs_sysroot())?;
            let base = (base, choice.compiler.is_some(), &*platform.development);
            let with = (pins, &settings.machine.packages);
            Some(threads::begin(scope, move || bases.resolve_sysroot(platform.wanted, base, with, host)))
        });
        let running: Vec<_> = each.collect();
        running.into_iter().map(|task| task.map(Task::join)).collect()
    })
}

/// Reports which releases of Debian the packages are from, and warns of old ones. Platforms that share a release have one
/// report.
fn report_releases<'p>(
    packages: impl IntoIterator<Item = (String, &'p ResolvedPackages)>,
    reporter: &dyn Reporter,
) {
    let mut told: Vec<Event> = Vec::new();
    for (base, resolved) in packages {
        let (releases, pinned) = (resolved.releases(), resolved.pinned.clone());
        let event = Event::Releases { base, releases, pinned };
        if told.contains(&event) {
            continue;
        }
        told.push(event.clone());
        reporter.report(event);
        for stale in packages::stale(&resolved.releases, clock::unix_now()) {
            reporter.report(Event::warning(stale.to_string()));
        }
    }
}

/// What cargo, git and the toolchains on this machine know.
struct Local<'a> {
    project: project::Project,
    commit: Option<vcs::Commit>,
    tools: Vec<HostTool>,
    rust: Rust,
    configuration: Configuration,
    graph: Graph,
    natives: Natives,
    compiler: Option<compiler::Found>,
    /// In the order of the settings.
    platforms: Vec<PlatformFacts<'a>>,
}

impl Local<'_> {
    /// True if a platform needs what xbuild finds or provides.
    fn needs_provided(&self) -> bool {
        self.platforms.iter().any(|platform| platform.linker().linker.is_provided())
    }
}

fn gather_project<'a>(settings: &'a Settings, host: Host<'_>) -> Result<Local<'a>, FactsError> {
    let Host { environment, cancel, reporter, .. } = host;
    let dir = settings.manifest_path.parent().unwrap_or(&settings.manifest_path);
    let rust = rust::detect(dir, environment, cancel)?;
    let metadata = metadata::metadata(&rust, &settings.manifest_path, &settings.payload, cancel, reporter)?;
    let mut project = project::select(&metadata, &settings.payload)?;
    project.makers = makers(&metadata, settings)?;
    report_left_out(&project.left_out, reporter);
    let configuration = Configuration::load(dir, environment, &rust)?;
    let graph = Graph::of(&metadata, &project.binaries, &project.makers);
    let c_code = graph.c_code.as_ref().map(|code| code.package.as_str());
    let targets: Vec<&str> =
        settings.platforms.iter().map(|wanted| wanted.target.value.triple.as_str()).collect();
    let is_known = |name: &str| packages::crates_by_name().any(|known| known == name);
    let natives = Natives::of(&metadata, (&project.binaries, &project.makers), &targets, &is_known);
    // Which release has them is known later.
    let any = !needed_by(&natives, "").is_empty();
    let is_wanted = |wanted: &PlatformSettings| {
        let build = &wanted.build_packages;
        let libraries = c_code.is_some() && (!build.names.is_empty() || build.auto && any);
        compiler::is_wanted(wanted.toolchain.value, wanted.target.value.libc, libraries)
    };
    let compiler = settings.platforms.iter().any(is_wanted).then(|| compiler::find(environment, cancel));
    let known = compiler.as_ref().map(compiler::facts).transpose()?;
    let c = (c_code, known.as_ref());
    let facts_of = |wanted| platform_facts(wanted, &rust, &configuration, c, host);
    let platforms = settings.platforms.iter().map(facts_of).collect::<Result<Vec<_>, _>>()?;
    report_passed_over(settings, &configuration, reporter);
    let tools = tools::gather(settings, (&metadata, &project), (&rust, &configuration), host)?;
    let commit = vcs::commit(&project.workspace_root, cancel)?;
    let compiler = compiler.and_then(Result::ok);
    Ok(Local { project, commit, tools, rust, configuration, graph, natives, compiler, platforms })
}

/// What is known of a platform beside its base. `c_code` is the first package that compiles C code.
pub(super) fn platform_facts<'a>(
    wanted: &'a PlatformSettings,
    rust: &Rust,
    configuration: &Configuration,
    (c_code, compiler): (Option<&str>, Option<&CompilerFacts>),
    host: Host<'_>,
) -> Result<PlatformFacts<'a>, FactsError> {
    let target = wanted.target.value;
    let configured = |name: &str| configuration.variable(name);
    let sources = |word: &str| Some(configuration.flags_place(target, word)?.to_string());
    let user = configuration.flags(target)?;
    let flags = processor::beyond(target, &wanted.platform, &user, host.environment, &configured, &sources);
    let is_installed = rust.has(&target.triple).map_err(rust::Error::from)?;
    let linker = LinkerFacts {
        configured: configuration.linker(target)?.is_some(),
        rust_lld: rust.lld().map_err(rust::Error::from)?.is_some(),
        builds_standard: !is_installed
            && rust::is_built_from_source(rust, target, host.cache).map_err(rust::Error::from)?,
        c_code: c_code.map(ToOwned::to_owned),
        compiler: compiler.cloned(),
        no_sysroot: None,
        libraries: if wanted.build_packages.names.is_empty() { Libraries::None } else { Libraries::Asked },
        pinned: false,
    };
    Ok(PlatformFacts {
        wanted,
        linker,
        cpu: processor::cpu(target.variant(&wanted.platform), &user),
        processor_flags: flags,
        development: wanted.build_packages.names.iter().map(|name| asked_for(name)).collect(),
        standard_library: if is_installed { StandardLibrary::Installed } else { StandardLibrary::Rustup },
    })
}

/// A development package that the configuration names.
fn asked_for(name: &str) -> Development {
    Development { package: name.to_owned(), why: "it is asked for".into() }
}

/// Warns of triples that cargo's configuration asks for and that are not built.
fn report_passed_over(settings: &Settings, configuration: &Configuration, reporter: &dyn Reporter) {
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
    metadata: &metadata::Metadata,
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

/// Reports which programs are left out of `--bins` and the like, and why. cargo itself does so silently.
fn report_left_out(programs: &[project::Lacking], reporter: &dyn Reporter) {
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

/// The toolchain that a run looks for.
pub(super) fn provided_request<'a>(
    settings: &'a Settings,
    pins: &'a Pins,
    host: Host<'a>,
) -> provided::Request<'a> {
    provided::Request {
        settings: &settings.machine.provided,
        cache: host.cache,
        environment: host.environment,
        pinned: pins.provided.as_ref().map(|pin| &pin.version),
        verified: pins.verified_toolchain(),
    }
}
