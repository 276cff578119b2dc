//! What a run will do and why, before it does anything.
//!
//! Planning is pure: settings and facts in, a [`Plan`] out. `xbuild plan` prints the value, `pipeline` carries it
//! out. Every failure that can be foreseen is found here, for all platforms and before hours of compiling.

mod facts;
#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use crate::error::{ExitCode, Explain};
use crate::image::ImageSettings;
use crate::oci::name::ImageName;
use crate::output::archive::familiar;
use crate::payload::PROGRAM_DIR;
use crate::settings::{BaseSource, Compression, FileSettings, Output, Settings};
use crate::target::abi::GlibcVersion;
use crate::target::catalog::{Libc, Target};
use crate::target::platform::Platform;
use crate::toolchain::LinkerChoice;
use crate::toolchain::provided::NAME;

pub use crate::base::{AddedPackage, BaseFacts, SysrootFacts};
pub use crate::payload::processor::ProcessorFlag;
pub use crate::payload::project::{Binary, ProgramKind};
pub use crate::toolchain::host_tools::{HostTool, Misnamed, NeededBy};
pub use crate::toolchain::{Compiler, Linker, Obstacle};
pub use facts::StandardLibrary;
pub(crate) use facts::{Facts, PlatformFacts};

/// A whole run.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Plan {
    /// The package that names the image.
    pub package: String,
    /// Its version.
    pub version: String,
    /// The binaries that are compiled, sorted by name.
    pub binaries: Vec<Binary>,
    /// cargo's profile.
    pub profile: String,
    /// The time stamp of everything in the image.
    pub created: Created,
    /// Annotations of the index and of every manifest, which has its own as well.
    pub annotations: BTreeMap<String, String>,
    /// How layers are compressed.
    pub compression: Compression,
    /// The names of the index.
    pub tags: Vec<String>,
    /// Where the image goes; never empty.
    pub outputs: Vec<Output>,
    /// The layout in the target directory. It is an output if there is no other on this machine, and temporary layouts are
    /// created beside it.
    #[serde(skip)]
    pub default_layout: PathBuf,
    /// Annotations of the index alone.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub index_annotations: BTreeMap<String, String>,
    /// Annotations of the index's entry in a layout.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub index_descriptor_annotations: BTreeMap<String, String>,
    /// Programs and libraries of this machine that builds of packages may need, whether they are installed or not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub host_tools: Vec<HostTool>,
    /// The platforms, sorted.
    pub platforms: Vec<PlatformPlan>,
}

/// A time stamp and where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Created {
    /// Seconds since 1970.
    pub seconds: i64,
    /// Where it comes from.
    pub from: CreatedFrom,
}

/// Where `created` comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CreatedFrom {
    /// `SOURCE_DATE_EPOCH`.
    SourceDateEpoch,
    /// The date of the commit that is checked out.
    Commit,
    /// There is neither, so it is 1970-01-01.
    Epoch,
}

/// What will be done for one platform.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PlatformPlan {
    /// The platform.
    pub platform: Platform,
    /// The target triple's record.
    #[serde(rename = "triple", serialize_with = "triple_of")]
    pub target: &'static Target,
    /// Why this triple.
    pub triple_from: String,
    /// What links, and also compiles C code if xbuild provides it.
    pub linker: Linker,
    /// Why this linker.
    pub linker_from: String,
    /// What compiles C and C++ code against the sysroot, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compiler: Option<Compiler>,
    /// What it links against, if that is made of packages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sysroot: Option<SysrootFacts>,
    /// The glibc that programs are linked for; `None` if they do not use it, or if another linker decides.
    pub glibc: Option<GlibcVersion>,
    /// Why this version.
    pub glibc_from: Option<String>,
    /// rustc's name of the processor that it compiles for, if the platform promises more than its target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// The user's flags that ask for more than the platform's processors have, and where they are set.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub processor: Vec<ProcessorFlag>,
    /// Where the standard library of the triple comes from.
    pub standard_library: StandardLibrary,
    /// The base image.
    pub base: BaseFacts,
    /// Where the choice of the base comes from.
    pub base_from: String,
    /// The layers that are added, first to last.
    pub layers: Vec<LayerPlan>,
    /// The image's configuration, defaults filled in.
    pub image: ImageSettings,
    /// The configured files.
    #[serde(skip)]
    pub files: Vec<FileSettings>,
    /// The base's source.
    #[serde(skip)]
    pub base_source: BaseSource,
    /// The platform's own time limit in seconds, if it has one.
    pub timeout: Option<u64>,
}

/// A layer that will be added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct LayerPlan {
    /// `files` or `payload`.
    pub name: LayerName,
    /// The paths in the image that it adds.
    pub paths: Vec<String>,
}

/// The layers that xbuild adds, in their order. The one that changes least comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LayerName {
    /// The files of the configuration.
    Files,
    /// The programs, and files that builds make.
    Payload,
}

/// Why a platform cannot be built as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Two settings exclude each other: dynamically linked programs and an empty base.
    #[error(
        "programs for {triple} are linked dynamically, and the base `scratch` has neither {libc} nor its loader"
    )]
    DynamicOnScratch {
        /// The target triple.
        triple: String,
        /// Its C library.
        libc: Libc,
    },
    /// `glibc = "…"` asks for a newer glibc than the base has.
    #[error("glibc {wanted} was asked for, and the base `{base}` has glibc {available}")]
    GlibcTooNew {
        /// What was asked for.
        wanted: GlibcVersion,
        /// What the base has.
        available: GlibcVersion,
        /// The base's name.
        base: String,
    },
    /// The toolchain does not link for a glibc that is as new, or as old.
    #[error("{toolchain} links {triple} for glibc {oldest} to {newest}, and {wanted} was asked for")]
    GlibcUnknownToLinker {
        /// The toolchain's name and version.
        toolchain: String,
        /// The target triple.
        triple: String,
        /// What was asked for.
        wanted: GlibcVersion,
        /// The oldest that it links for on this triple.
        oldest: GlibcVersion,
        /// The newest that it links for.
        newest: GlibcVersion,
    },
    /// The linker that is asked for, or the only one that fits, cannot link the platform's programs.
    #[error("{linker} is to link {triple} ({from}), but {obstacle}")]
    CannotLink {
        /// What was asked for.
        linker: &'static str,
        /// Where it was asked for.
        from: String,
        /// The target triple.
        triple: String,
        /// Why not.
        obstacle: Obstacle,
    },
    /// A flag asks for the processor of the machine that builds.
    #[error("{0}")]
    NativeProcessor(Box<NativeProcessor>),
    /// Several programs are in the image and the settings do not say which one starts.
    #[error("the image has several programs and no entrypoint: {}", programs.join(", "))]
    NoEntrypoint {
        /// The programs.
        programs: Vec<String>,
    },
}

/// A flag that asks for the processor of the machine that builds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NativeProcessor {
    /// The flag.
    pub flag: String,
    /// Where it is set.
    pub from: String,
    /// The platform.
    pub platform: Platform,
    /// A variant of the platform with better processors, and rustc's name of these, if there is one.
    pub better: Option<(String, String)>,
}

impl fmt::Display for NativeProcessor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} has `{}`, which compiles for the processor of this machine; not every {} has as much",
            self.from, self.flag, self.platform
        )
    }
}

impl Explain for PlanError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::DynamicOnScratch { .. } => ExitCode::Unrunnable,
            Self::GlibcTooNew { .. } | Self::GlibcUnknownToLinker { .. } | Self::NativeProcessor(_) => {
                ExitCode::Config
            }
            Self::CannotLink { obstacle, .. } => obstacle.exit_code(),
            Self::NoEntrypoint { .. } => ExitCode::AmbiguousBinary,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::DynamicOnScratch { .. } => {
                "leave the target to xbuild (a musl triple, linked statically), or use a base with a C library".into()
            }
            Self::GlibcTooNew { available, .. } => {
                format!("leave `glibc` out, or lower it to \"{available}\"")
            }
            Self::GlibcUnknownToLinker { newest, .. } => format!("lower `glibc` to \"{newest}\""),
            Self::CannotLink { obstacle, .. } => obstacle.hint(),
            Self::NativeProcessor(native) => {
                let build = native.better.as_ref().map_or_else(String::new, |(platform, cpu)| {
                    format!(", or build for newer processors with `--platform {platform}` ({cpu}), which the image then says")
                });
                format!(
                    "leave it out{build}; where only processors like this one run it, set `allow-native-cpu = true` under \
                     [payload]"
                )
            }
            Self::NoEntrypoint { programs } => {
                format!("say which one starts: entrypoint = [\"/{PROGRAM_DIR}/{}\"]", programs[0])
            }
        })
    }
}

/// Plans a run of these platforms, which are sorted.
#[must_use]
pub(crate) fn plan(settings: &Settings, facts: &Facts, platforms: Vec<PlatformPlan>) -> Plan {
    let created = created(settings, facts);
    let package = &facts.project.package;
    let default_layout = facts.project.target_directory.join("xbuild").join(&package.name);
    let mut outputs = settings.outputs.clone();
    if !outputs.iter().any(Output::is_stored) {
        outputs.insert(0, Output::layout(&default_layout));
    }
    Plan {
        package: package.name.clone(),
        version: package.version.clone(),
        binaries: facts.project.binaries.clone(),
        profile: settings.payload.profile.clone(),
        created,
        annotations: annotations(facts, created),
        compression: settings.compression,
        tags: settings.tags.clone(),
        outputs,
        default_layout,
        index_annotations: settings.index_annotations.clone(),
        index_descriptor_annotations: settings.index_descriptor_annotations.clone(),
        host_tools: facts.tools.clone(),
        platforms,
    }
}

/// Plans one platform. An error says why it cannot be built as asked.
pub(crate) fn plan_platform(
    settings: &Settings,
    facts: &Facts,
    platform: &PlatformFacts<'_>,
    (base, sysroot): &(BaseFacts, Option<SysrootFacts>),
) -> Result<PlatformPlan, PlanError> {
    let wanted = platform.wanted;
    let target = wanted.target.value;
    if target.libc == Libc::Gnu && wanted.base.value == BaseSource::Scratch {
        return Err(PlanError::DynamicOnScratch { triple: target.triple.clone(), libc: target.libc });
    }
    let mut flags = platform.processor_flags.iter();
    if let Some(native) = flags.find(|flag| flag.native && !settings.payload.allow_native_cpu) {
        let better = target.better(&wanted.platform);
        let better = better.map(|(name, data)| (format!("{}/{name}", target.platform), data.cpu.clone()));
        return Err(PlanError::NativeProcessor(Box::new(NativeProcessor {
            flag: native.flag.clone(),
            from: native.from.clone(),
            platform: wanted.platform.clone(),
            better,
        })));
    }
    let LinkerChoice { linker, from: linker_from, compiler, obstacle } = platform.linker();
    if let Some(obstacle) = obstacle {
        let (linker, from, triple) = (linker.name(), linker_from, target.triple.clone());
        return Err(PlanError::CannotLink { linker, from, triple, obstacle });
    }
    let (glibc, glibc_from) = match choose_glibc(linker, facts, platform, (base, sysroot.as_ref()))? {
        Some((version, from)) => (Some(version), Some(from)),
        None => (None, None),
    };
    let programs: Vec<String> = facts.project.binaries.iter().map(|binary| binary.name.clone()).collect();
    let mut image = wanted.image.clone();
    if image.entrypoint.is_none() {
        match programs.as_slice() {
            [program] => image.entrypoint = Some(vec![format!("/{PROGRAM_DIR}/{program}")]),
            _ => return Err(PlanError::NoEntrypoint { programs }),
        }
    }
    let layers = layers(&wanted.files, &programs);
    Ok(PlatformPlan {
        platform: wanted.platform.clone(),
        target,
        triple_from: match wanted.target.origin {
            crate::origin::Origin::Default => format!("the {} target of the platform", target.libc),
            ref origin => origin.to_string(),
        },
        linker,
        linker_from,
        compiler,
        sysroot: sysroot.clone(),
        glibc,
        glibc_from,
        cpu: platform.cpu.clone(),
        processor: platform.processor_flags.clone(),
        standard_library: platform.standard_library,
        base: base.clone(),
        base_from: wanted.base.origin.to_string(),
        layers,
        image,
        files: wanted.files.clone(),
        base_source: wanted.base.value.clone(),
        timeout: wanted.timeout.map(|limit| limit.as_secs()),
    })
}

/// The layers that are added, and the paths in each.
fn layers(files: &[FileSettings], programs: &[String]) -> Vec<LayerPlan> {
    let mut layers = Vec::new();
    let (built, own): (Vec<&FileSettings>, Vec<&FileSettings>) =
        files.iter().partition(|file| file.from_build.is_some());
    if !own.is_empty() {
        let paths = own.iter().map(|file| file.to.clone()).collect();
        layers.push(LayerPlan { name: LayerName::Files, paths });
    }
    let paths = programs.iter().map(|program| format!("/{PROGRAM_DIR}/{program}"));
    let paths = paths.chain(built.iter().map(|file| file.to.clone())).collect();
    layers.push(LayerPlan { name: LayerName::Payload, paths });
    layers
}

/// The glibc that a platform's programs are linked for, and why. `None` if they do not use it, or if something else than
/// xbuild's own toolchain links.
fn choose_glibc(
    linker: Linker,
    facts: &Facts,
    platform: &PlatformFacts<'_>,
    (base, sysroot): (&BaseFacts, Option<&SysrootFacts>),
) -> Result<Option<(GlibcVersion, String)>, PlanError> {
    let wanted = platform.wanted;
    let target = wanted.target.value;
    if target.libc != Libc::Gnu || !(linker.is_provided() || linker.needs_sysroot()) {
        return Ok(None);
    }
    if let (Some(version), Some(available)) = (wanted.glibc.value, base.glibc)
        && version > available
    {
        return Err(PlanError::GlibcTooNew { wanted: version, available, base: base.name.clone() });
    }
    if linker.needs_sysroot() {
        let version = sysroot.and_then(|sysroot| Some((sysroot.glibc?, &sysroot.release)));
        return Ok(version.map(|(version, release)| (version, format!("the glibc of {release}"))));
    }
    let (oldest, newest) = facts.provided.glibc(target);
    if let Some(version) = wanted.glibc.value {
        if version > newest || version < oldest {
            return Err(PlanError::GlibcUnknownToLinker {
                toolchain: facts.provided.describe(),
                triple: target.triple.clone(),
                wanted: version,
                oldest,
                newest,
            });
        }
        return Ok(Some((version, wanted.glibc.origin.to_string())));
    }
    Ok(Some(match base.glibc {
        Some(version) if version > newest => {
            (newest, format!("the newest that {} knows", facts.provided.describe()))
        }
        Some(version) if version < oldest => {
            (oldest, format!("the oldest that {NAME} links {} for", target.triple))
        }
        Some(version) => (version, format!("the glibc of `{}`", base.name)),
        None => (oldest, "the base's glibc is not known, so the oldest".into()),
    }))
}

/// The name of the image: the repository that it is pushed to, else its first tag, else the path of its first output.
#[must_use]
pub(crate) fn reference(plan: &Plan) -> String {
    let pushed = plan.outputs.iter().find(|output| !output.has_content());
    if let Some(output) = pushed {
        let names = if output.names.is_empty() { &plan.tags } else { &output.names };
        if let Some(name) = names.first().and_then(|name| name.parse::<ImageName>().ok()) {
            return familiar(&name.repository.to_string());
        }
    }
    plan.tags.first().cloned().unwrap_or_else(|| {
        let path = plan.outputs.iter().find_map(Output::path);
        path.map_or_else(|| plan.package.clone(), |path| path.display().to_string())
    })
}

fn created(settings: &Settings, facts: &Facts) -> Created {
    match (settings.source_date_epoch, &facts.commit) {
        (Some(seconds), _) => Created { seconds, from: CreatedFrom::SourceDateEpoch },
        (None, Some(commit)) => Created { seconds: commit.date, from: CreatedFrom::Commit },
        (None, None) => Created { seconds: 0, from: CreatedFrom::Epoch },
    }
}

/// The `org.opencontainers.image.*` annotations that are known from the project
/// (image specification, "Pre-Defined Annotation Keys").
fn annotations(facts: &Facts, created: Created) -> BTreeMap<String, String> {
    let package = &facts.project.package;
    let known = [
        ("created", jiff::Timestamp::from_second(created.seconds).ok().map(|time| time.to_string())),
        ("title", Some(package.name.clone())),
        ("version", Some(package.version.clone())),
        ("revision", facts.commit.as_ref().map(|commit| commit.revision.clone())),
        ("source", package.repository.clone()),
        ("url", package.homepage.clone()),
        ("documentation", package.documentation.clone()),
        ("description", package.description.clone()),
        ("licenses", package.license.clone()),
        ("authors", package.authors.clone()),
    ];
    known
        .into_iter()
        .filter_map(|(key, value)| Some((format!("org.opencontainers.image.{key}"), value?)))
        .collect()
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes the field by reference")]
fn triple_of<S: serde::Serializer>(target: &&'static Target, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&target.triple)
}
