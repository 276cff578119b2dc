//! What cargo is given: the flags and variables of each target, and the command line for a batch of targets.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::configuration::GLOBAL_FLAGS;
use super::flags::{self, Flags, Prefix};
use super::{CompileRequest, Error, Kit, Unit, configuration, environment, prefixes, processor};
use crate::config::OnFailure;
use crate::event::{Event, Level};
use crate::packages::Sysroot;
use crate::payload::cargo::project::{ProgramKind, Project};
use crate::sys::clock::Instant;
use crate::sys::process::{Command, ProcessError};
use crate::target::catalog::{Libc, Target};
use crate::toolchain::compiler;
use crate::toolchain::driver::link::{self, LinkSpec};
use crate::toolchain::driver::rustc::{self, Rustc};
use crate::toolchain::driver::{
    DIR_VARIABLE, PREFIXES_VARIABLE, PROGRAM_VARIABLE, REMARKS_VARIABLE, SEPARATOR, Spec, Tools, Wrapper,
    host_variables, lld,
};
use crate::toolchain::rust::{RustData, Standard};

/// A unit with everything that cargo is given for it.
pub(super) struct PreparedUnit {
    /// The wrapper, if the provided toolchain links.
    pub(super) wrapper: Option<Wrapper>,
    /// rustc's flags.
    flags: Flags,
    /// The flags for an empty program: these include the user's flags, which cargo otherwise adds itself, but no paths.
    pub(super) rustc_flags: Vec<String>,
    /// Variables for build scripts.
    variables: Vec<(OsString, OsString)>,
}

/// Units that one cargo process compiles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    /// Their indices.
    pub(super) units: Vec<usize>,
    /// cargo's `--target-dir`.
    target_dir: PathBuf,
    /// The directory's name, if it is not the project's own target directory but one in it.
    dir: Option<String>,
    /// Whether the standard library is built with them.
    standard: Standard,
    /// The file for the wrappers' remarks.
    pub(super) remarks: PathBuf,
    /// The instructions for xbuild when cargo calls it as rustc, as JSON.
    rustc: Option<OsString>,
}

impl Batch {
    /// The directory for intermediate files, if cargo's configuration sets one and this batch needs another.
    fn build_dir(&self, project: &Project) -> Option<PathBuf> {
        let name = self.dir.as_ref()?;
        Some(project.build_directory.as_ref()?.join(name))
    }
}

/// Everything that is determined before cargo starts.
pub(super) struct Prepared {
    pub(super) units: Vec<PreparedUnit>,
    pub(super) batches: Vec<Batch>,
    /// Variables for every cargo process.
    variables: Vec<(OsString, OsString)>,
    /// When it began; time limits count from then.
    pub(super) started: Instant,
}

pub(super) fn prepare(request: &CompileRequest<'_>, remarks: &Path) -> Result<Prepared, Error> {
    if request.rust.is_too_old_to_reproduce() {
        request.host.reporter.report(Event::warning(format!(
            "{} is older than {}: programs depend on the directories that they are built in",
            request.rust.describe(),
            RustData::get().minimum
        )));
    }
    let target_dir = prefixes::target_dir(request);
    let prefixes = prefixes::prefixes(request);
    let text: Vec<_> = prefixes.iter().map(Prefix::text).collect();
    let mut variables: Vec<(OsString, OsString)> = vec![
        (PROGRAM_VARIABLE.into(), request.program.into()),
        (PREFIXES_VARIABLE.into(), text.join(&SEPARATOR.to_string()).into()),
    ];
    let says = |name: &str| request.configuration.variable(name);
    variables.extend(host_variables(&|name| {
        request.host.environment.var_os(name).map(Into::into).or_else(|| says(name))
    }));
    if let Some(seconds) = request.source_date_epoch
        && request.host.environment.var("SOURCE_DATE_EPOCH").is_none()
        && says("SOURCE_DATE_EPOCH").is_none()
    {
        variables.push(("SOURCE_DATE_EPOCH".into(), seconds.to_string().into()));
    }
    let library = library_of_toolchain(request)?;
    let units = request
        .units
        .iter()
        .map(|unit| prepare_unit(request, unit, (&prefixes, library.as_deref())))
        .collect::<Result<Vec<_>, Error>>()?;
    let mut batches = batches(request, &target_dir, remarks);
    if units.iter().any(|unit| !unit.flags.rustc.is_empty()) {
        variables.push(("RUSTC".into(), rustc::install(request.program, request.host.cache)?.into()));
        for batch in &mut batches {
            batch.rustc = Some(rustc_variable(request, &units, batch)?);
        }
    }
    Ok(Prepared { units, batches, variables, started: Instant::now() })
}

/// The instructions for xbuild when a batch's cargo calls it as rustc. If several units have one triple, each batch has
/// its own. What build scripts compile for the triples of other batches uses the first unit of each.
fn rustc_variable(
    request: &CompileRequest<'_>,
    units: &[PreparedUnit],
    batch: &Batch,
) -> Result<OsString, Error> {
    // rustup's proxy would choose a toolchain again in each directory. A rustc that the user names stays.
    let own = request.rust.sysroot.join("bin/rustc");
    let is_default = request.rust.rustc == Path::new("rustc");
    let program = if is_default && own.try_exists()? { own } else { request.rust.rustc.clone() };
    let all = (0..units.len()).rev().chain(batch.units.iter().copied());
    let targets = all
        .map(|index| (request.units[index].target.triple.clone(), units[index].flags.rustc.clone()))
        .collect();
    let rustc = serde_json::to_string(&Rustc { program, targets, native: request.settings.allow_native_cpu })
        .map_err(io::Error::from)?;
    Ok(rustc.into())
}

/// The directory with the provided toolchain's own files, if it links something.
fn library_of_toolchain(request: &CompileRequest<'_>) -> Result<Option<PathBuf>, Error> {
    let Some(found) = request.units.iter().find_map(|unit| unit.kit.provided()) else { return Ok(None) };
    let library = match found.library(request.host.cancel) {
        Err(ProcessError::Cancelled(cancelled)) => return Err(cancelled.into()),
        result => result.unwrap_or_default(),
    };
    if library.is_none() {
        request.host.reporter.report(Event::warning(format!(
            "`{} env` does not print where zig's own files are: debug information in programs depends on the \
                 directories that zig works in",
            found.program.display()
        )));
    }
    Ok(library)
}

fn prepare_unit(
    request: &CompileRequest<'_>,
    unit: &Unit,
    (prefixes, library): (&[Prefix], Option<&Path>),
) -> Result<PreparedUnit, Error> {
    let target = unit.target;
    let user = request.configuration.flags(target)?;
    if !user.overridden.is_empty() {
        request.host.reporter.report(Event::Note {
            level: Level::Warning,
            platform: Some(unit.platform.clone()),
            text: format!(
                "RUSTFLAGS is set, and cargo's configuration has flags for {}; cargo alone would leave these \
                 out, but here it takes both: {}",
                target.triple,
                user.overridden.join(" ")
            ),
        });
    }
    let mut linker_flags = target.rust.flags.clone();
    linker_flags.extend(processor::flags(target.variant(&unit.platform), &user));
    let mut wrapper = None;
    let mut variables = Vec::new();
    match &unit.kit {
        Kit::Configured => {}
        Kit::RustLld => {
            let lld = request.rust.lld()?.unwrap_or_else(|| "rust-lld".into());
            let linker = lld::install(&lld, &target.triple, request.program, request.host.cache)?;
            linker_flags.push(format!("-Clinker={}", linker.display()));
        }
        Kit::Lld(sysroot, compiler) => {
            let lld = request.rust.lld()?.unwrap_or_else(|| "rust-lld".into());
            let spec = LinkSpec::new(&lld, target, sysroot);
            let linker = link::install(&spec, request.program, request.host.cache)?;
            linker_flags.push(format!("-Clinker={}", linker.display()));
            if let Some(found) = compiler {
                variables = with_compiler(request, unit, (found, sysroot), &lld)?;
            }
        }
        Kit::Provided(found) => {
            let spec = Spec::new(found, target, unit.glibc, request.rust.objcopy()?, request.host.cache)
                .on(&request.rust.host)
                .with_library(library.map(ToOwned::to_owned))
                .for_processor(target.variant(&unit.platform), request.settings.allow_native_cpu);
            let installed = Wrapper::install(spec, target, request.program, request.host.cache)?;
            linker_flags.push(format!("-Clinker={}", installed.linker.display()));
            if target.libc == Libc::Musl {
                // zig includes musl and its start-up files; with rustc's own there would be two of each.
                linker_flags.push("-Clink-self-contained=no".to_owned());
            }
            let bindgen = if needs_bindgen(request, target) { bindgen(request, &installed)? } else { None };
            variables = for_build_scripts(request, target, &installed.tools(), bindgen.as_deref());
            wrapper = Some(installed);
        }
    }
    let rustc_flags = user.flags.iter().chain(&linker_flags).cloned().collect();
    Ok(PreparedUnit {
        wrapper,
        flags: flags::for_target(&user, &linker_flags, prefixes),
        rustc_flags,
        variables,
    })
}

/// Installs the compiler that compiles against a sysroot, and returns the variables with which build scripts use it.
fn with_compiler(
    request: &CompileRequest<'_>,
    unit: &Unit,
    (found, sysroot): (&compiler::Found, &Sysroot),
    lld: &Path,
) -> Result<Vec<(OsString, OsString)>, Error> {
    let (target, host) = (unit.target, request.host);
    let linker = request.rust.ld_lld()?;
    let spec = compiler::Spec::new(found, target, sysroot, linker.as_deref().unwrap_or(lld))
        .on(&request.rust.host)
        .for_processor(target.variant(&unit.platform), request.settings.allow_native_cpu);
    let installed = compiler::Wrapper::install(spec, target, request.program, host.cache)?;
    let bindgen = needs_bindgen(request, target).then(|| installed.spec.bindgen_arguments());
    Ok(for_build_scripts(request, target, &installed.tools, bindgen.as_deref()))
}

/// True if build scripts need to know with which arguments bindgen reads the target's headers.
fn needs_bindgen(request: &CompileRequest<'_>, target: &Target) -> bool {
    // If the host has the triple, one text is for both kinds of build scripts, but those for the host need the host's own
    // headers.
    let alone = target.triple != request.rust.host || !request.graph.bindgen_on_host;
    request.graph.bindgen && alone
}

/// The variables by which build scripts find a target's compiler, unless the user has set them.
fn for_build_scripts(
    request: &CompileRequest<'_>,
    target: &Target,
    tools: &Tools,
    bindgen: Option<&str>,
) -> Vec<(OsString, OsString)> {
    let is_set = |name: &str| {
        request.host.environment.var_os(name).is_some() || request.configuration.variable(name).is_some()
    };
    environment::for_target(target, tools, bindgen, &is_set)
}

fn bindgen(request: &CompileRequest<'_>, wrapper: &Wrapper) -> Result<Option<String>, Error> {
    let command = Command::new(&wrapper.linker)
        .args(["-E", "-v", "-x", "c", "/dev/null"])
        .env(PROGRAM_VARIABLE, request.program);
    let output = command.output(request.host.cancel)?;
    Ok(environment::bindgen_arguments(&String::from_utf8_lossy(&output.stderr)))
}

/// Divides the units among cargo processes. As far as possible, a unit's directory depends only on the unit itself, so
/// that a run with other platforms finds what this one has built.
fn batches(request: &CompileRequest<'_>, target_dir: &Path, remarks: &Path) -> Vec<Batch> {
    let mut by_dir: BTreeMap<(Standard, Option<String>), Vec<usize>> = BTreeMap::new();
    for (index, unit) in request.units.iter().enumerate() {
        let older = request
            .units
            .iter()
            .any(|other| other.target.triple == unit.target.triple && other.glibc < unit.glibc);
        // Builds for better processors are separate from builds for all processors.
        let variant = unit.target.variant(&unit.platform).map(|variant| variant.cpu.clone());
        let dir = match (unit.standard, unit.glibc) {
            (Standard::Built, _) => {
                Some(variant.map_or("build-std".to_owned(), |cpu| format!("build-std-{cpu}")))
            }
            (Standard::Installed, _) if variant.is_some() => variant,
            (Standard::Installed, Some(glibc)) if older => Some(format!("glibc-{glibc}")),
            (Standard::Installed, _) => None,
        };
        by_dir.entry((unit.standard, dir)).or_default().push(index);
    }
    by_dir
        .into_iter()
        .enumerate()
        .map(|(number, ((standard, dir), units))| {
            let target_dir = dir.as_ref().map_or(target_dir.to_owned(), |name| target_dir.join(name));
            let remarks = remarks.join(number.to_string());
            Batch { units, target_dir, dir, standard, remarks, rustc: None }
        })
        .collect()
}

/// How cargo prints its own messages, which xbuild decides.
const TERMINAL: [&str; 4] =
    ["CARGO_TERM_PROGRESS_WHEN", "CARGO_TERM_PROGRESS_WIDTH", "CARGO_TERM_QUIET", "CARGO_TERM_VERBOSE"];

/// cargo's command line for some units of a batch.
pub(super) fn command(
    request: &CompileRequest<'_>,
    prepared: &Prepared,
    batch: &Batch,
    units: &[usize],
) -> Command {
    let settings = request.settings;
    let dir = request.manifest_path.parent().unwrap_or(Path::new("."));
    let mut command = Command::new(&request.rust.cargo)
        .args(["build", "--message-format=json-render-diagnostics"])
        .args(["--color", if request.color { "always" } else { "never" }])
        .arg("--manifest-path")
        .arg(request.manifest_path)
        .arg("--target-dir")
        .arg(&batch.target_dir)
        .args(["--profile", &settings.profile])
        .dir(dir);
    command = choose_programs(command, request.project);
    // Batches have triples in common, so they would share intermediate files.
    if let Some(own) = batch.build_dir(request.project) {
        let value = toml::Value::String(own.display().to_string());
        command = command.arg("--config").arg(format!("build.build-dir={value}"));
    }
    command = with_options(command, request);
    // Without these, a cargo that writes to a pipe does not report progress. The width leaves room for names. They are
    // options, since these override the user's settings for a terminal, and a cargo that a build script starts does not
    // see them.
    for setting in ["progress.when=\"always\"", "progress.width=240", "quiet=false", "verbose=false"] {
        command = command.arg("--config").arg(format!("term.{setting}"));
    }
    for name in TERMINAL {
        command = command.env_remove(name);
    }
    command = with_variables(command, request, prepared, batch);
    for index in units {
        command = for_target(command, request, &request.units[*index], &prepared.units[*index]);
    }
    command
}

/// Adds the packages and programs to build, and the libraries wanted from them.
fn choose_programs(mut command: Command, project: &Project) -> Command {
    let libraries = project.makers.values().filter(|maker| maker.library);
    let ids = project.binaries.iter().map(|binary| &binary.package_id);
    let ids = ids.chain(libraries.clone().map(|maker| &maker.package_id));
    let packages: BTreeSet<_> = ids.map(|id| project.spec_of(id)).collect();
    for package in packages {
        command = command.args(["--package", package]);
    }
    if libraries.count() > 0 {
        command = command.arg("--lib");
    }
    for binary in &project.binaries {
        let option = match binary.kind {
            ProgramKind::Bin => "--bin",
            ProgramKind::Example => "--example",
        };
        command = command.args([option, &binary.name]);
    }
    command
}

/// Adds the settings that are options of cargo's.
fn with_options(mut command: Command, request: &CompileRequest<'_>) -> Command {
    let settings = request.settings;
    if !settings.features.is_empty() {
        command = command.args(["--features", &settings.features.join(",")]);
    }
    if let Some(jobs) = settings.jobs {
        command = command.args(["--jobs", &jobs.to_string()]);
    }
    for (flag, is_on) in [
        ("--all-features", settings.all_features),
        ("--no-default-features", settings.no_default_features),
        ("--locked", settings.locked),
        ("--frozen", settings.frozen),
        ("--offline", settings.offline || request.offline),
        ("--keep-going", request.on_failure == OnFailure::KeepGoing),
        ("-v", settings.verbose > 1),
    ] {
        if is_on {
            command = command.arg(flag);
        }
    }
    command
}

/// Adds the variables that all targets share.
fn with_variables(
    mut command: Command,
    request: &CompileRequest<'_>,
    prepared: &Prepared,
    batch: &Batch,
) -> Command {
    for (name, path) in &request.settings.variables {
        command = command.env(name, path);
    }
    // The user's flags for all targets are now among each target's flags, and this variable would override those.
    for name in GLOBAL_FLAGS {
        command = command.env_remove(name);
    }
    if batch.standard == Standard::Built {
        // A stable cargo builds the standard library only with this variable.
        command = command.arg("-Zbuild-std=std,panic_unwind").env("RUSTC_BOOTSTRAP", "1");
    }
    for (name, value) in &prepared.variables {
        command = command.env(name, value);
    }
    command = command.env(REMARKS_VARIABLE, &batch.remarks);
    if let Some(rustc) = &batch.rustc {
        command = command.env(rustc::VARIABLE, rustc);
    }
    // If a build script has started xbuild, this variable is about another build.
    command = command.env(DIR_VARIABLE, &batch.target_dir).env_remove("OUT_DIR");
    command
}

/// Adds a target, its flags and its variables.
fn for_target(
    mut command: Command,
    request: &CompileRequest<'_>,
    unit: &Unit,
    prepared: &PreparedUnit,
) -> Command {
    command = command.args(["--target", &unit.target.triple]);
    if !prepared.flags.cargo.is_empty() {
        // cargo adds the variable's flags to those that it finds in files, whether a string or an array.
        let name = configuration::flags_variable(unit.target);
        let mut flags = request.host.environment.var(&name).unwrap_or_default().to_owned();
        flags.extend(prepared.flags.cargo.iter().flat_map(|flag| [" ", flag]));
        command = command.env(name, flags.trim_start());
    }
    for (name, value) in &prepared.variables {
        command = command.env(name, value);
    }
    command
}
