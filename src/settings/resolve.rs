//! Resolves settings: flags over environment over project over user over defaults. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use super::annotation::Annotations;
use super::destinations::{check_outputs, sorted};
use super::error::{Error, Problem};
use super::flags::Flags;
use super::platforms::{known_platform, triple};
use super::sources::{Found, Host, Sources, of_document, parsed, platform_tables, sourced};
use super::{
    BaseSource, DEFAULT_BASE, DEFAULT_PLATFORMS, DEFAULT_TIMEOUT, LockSettings, Machine, PlatformSettings,
    Settings, check, image, packages, registries, values,
};
use crate::config::{Document, Project, ProjectFile, Text, UserFile};
use crate::origin::{Origin, Sourced};
use crate::packages::{PackagesSettings, PackagesSources};
use crate::sys::env::Environment;
use crate::target::catalog::{self, Libc, Target};
use crate::target::platform::Platform;
use crate::toolchain::ToolchainChoice;
use crate::toolchain::provided::{ProvidedSettings, ProvidedWay};

/// An option that may be given in general and for one platform.
struct ScopedFlag<'a> {
    option: &'static str,
    general: Option<&'a str>,
    /// `each=`, which only time limits have.
    each: Option<&'a str>,
    by_platform: BTreeMap<Platform, &'a str>,
}

/// The options that may be given for one platform.
struct ScopedFlags<'a> {
    base: ScopedFlag<'a>,
    toolchain: ScopedFlag<'a>,
    glibc: ScopedFlag<'a>,
    timeout: ScopedFlag<'a>,
}

impl<'a> ScopedFlag<'a> {
    fn parse(option: &'static str, texts: &'a [String]) -> Result<Self, Error> {
        let mut flag = Self { option, general: None, each: None, by_platform: BTreeMap::new() };
        let origin = Origin::Flag(option);
        for text in texts {
            let (what, previous) = match text.split_once('=') {
                Some(("each", value)) if option == "--timeout" => {
                    ("each platform".to_owned(), flag.each.replace(value))
                }
                // The text before the `=` is a platform, or the `=` is part of a path.
                Some((scope, value)) if !scope.contains(':') => {
                    let platform = known_platform(scope).map_err(|problem| problem.at(&origin))?;
                    (platform.to_string(), flag.by_platform.insert(platform, value))
                }
                _ => ("all platforms".to_owned(), flag.general.replace(text)),
            };
            if previous.is_some() {
                return Err(Problem::Twice { option, what }.at(&origin));
            }
        }
        Ok(flag)
    }

    fn platform(&self, platform: &Platform) -> Option<&'a str> {
        self.by_platform.get(platform).copied()
    }
}

/// Merges all sources into one value.
///
/// # Errors
///
/// If a value is invalid, conflicts with another, or names something unknown: a platform, a target, a base, a file
/// outside the project. The error gives the value's location.
pub fn resolve(
    flags: &Flags,
    environment: &Environment,
    project: &Project,
    user: Option<&Document<UserFile>>,
    host: &Host,
) -> Result<Settings, Error> {
    let tables = project.documents.iter().map(platform_tables).collect::<Result<_, _>>()?;
    let sources = Sources { flags, environment, project: &project.documents, user, host, tables };
    let files = project.documents.iter().map(|document| &document.source);
    let files = files.chain(user.map(|document| &document.source)).map(|source| source.path.clone());
    let outputs = sources.outputs()?;
    let tags = sources.tags()?;
    let annotations = sources.annotations(&outputs)?;
    let (platforms, platforms_origin) = sources.platforms(&annotations)?;
    check_outputs(&outputs, &tags, platforms.len())?;
    let timeout = ScopedFlag::parse("--timeout", &flags.timeout)?;
    Ok(Settings {
        manifest_path: project.manifest_path.clone(),
        payload: sources.payload(),
        platforms,
        platforms_origin,
        named: sources.named(&outputs),
        tags,
        compression: sources.compression(&outputs)?,
        outputs: sorted(outputs),
        index_annotations: annotations.index,
        index_descriptor_annotations: annotations.index_descriptor,
        on_failure: flags.on_failure.or(sources.project_value(|file| file.on_failure)).unwrap_or_default(),
        partial: flags.partial,
        check: check::check(&project.documents, flags, environment)?,
        timeout: sources.total_timeout(timeout.general)?,
        machine: sources.machine()?,
        source_date_epoch: sources.source_date_epoch()?,
        color: host.color,
        files: files.collect(),
        lock: LockSettings::of(project, flags),
    })
}

/// The time limit of a command that needs no project: `--timeout`, or the variable, or the user's file.
pub(crate) fn resolve_timeout(
    flag: Option<&str>,
    environment: &Environment,
    user: Option<&Document<UserFile>>,
    host: &Host,
) -> Result<Duration, Error> {
    let flags = Flags::default();
    let sources = Sources { flags: &flags, environment, project: &[], user, host, tables: Vec::new() };
    sources.total_timeout(flag)
}

/// Parses the age in an option: `30d`.
pub(crate) fn resolve_age(option: &'static str, text: &str) -> Result<Duration, Error> {
    values::age(text).map_err(|problem| problem.at(&Origin::Flag(option)))
}

/// Parses a limit in bytes in an option: `5GB`.
pub(crate) fn resolve_most(option: &'static str, text: &str) -> Result<u64, Error> {
    values::most(text).map_err(|problem| problem.at(&Origin::Flag(option)))
}

/// The settings of the machine, for commands that need no project.
///
/// # Errors
///
/// If a value of the environment or of the user's file is invalid.
pub fn resolve_machine(
    offline: bool,
    environment: &Environment,
    user: Option<&Document<UserFile>>,
    host: &Host,
) -> Result<Machine, Error> {
    let flags = Flags { offline, ..Flags::default() };
    Sources { flags: &flags, environment, project: &[], user, host, tables: Vec::new() }.machine()
}

impl<'a> Sources<'a> {
    /// The platforms' names, and where each was given.
    fn platform_names(&self) -> Result<(Vec<(String, Origin)>, Origin), Error> {
        let split = |texts: &mut dyn Iterator<Item = &str>, origin: &Origin| {
            texts
                .flat_map(|text| text.split(','))
                .map(str::trim)
                .filter(|text| !text.is_empty())
                .map(|text| (text.to_owned(), origin.clone()))
                .collect::<Vec<_>>()
        };
        let (names, origin) = if !self.flags.platforms.is_empty() {
            let origin = Origin::Flag("--platform");
            (split(&mut self.flags.platforms.iter().map(String::as_str), &origin), origin)
        } else if let Some(found) = self.of_environment("XBUILD_PLATFORM") {
            (split(&mut std::iter::once(found.text), &found.origin), found.origin)
        } else if let Some((document, list)) = self
            .project
            .iter()
            .find_map(|document| document.value.platforms.as_ref().map(|list| (document, list)))
        {
            let origin = |text: &Text| Origin::Project(document.location(text.span()));
            let names = list.iter().map(|text| (text.get_ref().clone(), origin(text))).collect();
            // The list has no location of its own, so that of its first element is used.
            let first = list.first().map_or(0..0, Text::span);
            (names, Origin::Project(document.location(first)))
        } else {
            let names = DEFAULT_PLATFORMS.iter().map(|name| ((*name).to_owned(), Origin::Default));
            (names.collect(), Origin::Default)
        };
        if names.is_empty() {
            return Err(Problem::NoPlatforms.at(&origin));
        }
        Ok((names, origin))
    }

    fn platforms(&self, annotations: &Annotations) -> Result<(Vec<PlatformSettings>, Origin), Error> {
        let flags = ScopedFlags {
            base: ScopedFlag::parse("--base", &self.flags.base)?,
            toolchain: ScopedFlag::parse("--toolchain", &self.flags.toolchain)?,
            glibc: ScopedFlag::parse("--glibc", &self.flags.glibc)?,
            timeout: ScopedFlag::parse("--timeout", &self.flags.timeout)?,
        };
        let (names, origin) = self.platform_names()?;
        // True for platforms that only `all` asks for: they are dropped if no target serves them.
        let mut wanted: BTreeMap<Platform, bool> = BTreeMap::new();
        for (name, origin) in names {
            match name.as_str() {
                "all" => {
                    for platform in catalog::platforms() {
                        wanted.entry(platform).or_insert(true);
                    }
                }
                "local" => {
                    wanted.insert(self.host.platform.clone(), false);
                }
                name => {
                    wanted.insert(known_platform(name).map_err(|problem| problem.at(&origin))?, false);
                }
            }
        }
        let mut platforms = Vec::new();
        for (platform, only_by_all) in wanted {
            match self.platform(&platform, &flags, annotations) {
                Err(Error::Value { problem, .. }) if only_by_all && problem.is_unserved() => (),
                // Debian has no port for it in any release, or Rust no library.
                Ok(resolved)
                    if only_by_all
                        && (resolved.target.value.rust.library_from_source
                            || matches!(resolved.base.value, BaseSource::Packages { .. })
                                && resolved.target.value.port.is_none()) => {}
                resolved => platforms.push(resolved?),
            }
        }
        let flags = [&flags.base, &flags.toolchain, &flags.glibc, &flags.timeout];
        let scoped = flags.iter().flat_map(|flag| flag.by_platform.keys().map(|name| (name, flag.option)));
        let of_packages = packages::flag_platforms(self.flags)?;
        for (name, option) in scoped
            .chain(of_packages.iter().map(|name| (name, packages::OPTION)))
            .chain(annotations.platforms().into_iter().map(|name| (name, "--annotation")))
        {
            if !platforms.iter().any(|settings| settings.platform == *name) {
                return Err(Problem::NotBuilt { platform: name.clone() }.at(&Origin::Flag(option)));
            }
        }
        Ok((platforms, origin))
    }

    fn platform(
        &self,
        platform: &Platform,
        flags: &ScopedFlags<'a>,
        annotations: &Annotations,
    ) -> Result<PlatformSettings, Error> {
        let scoped = |flag: &ScopedFlag<'a>, name| {
            self.of_flag(flag.option, flag.platform(platform).or(flag.general))
                .or_else(|| self.of_environment(name))
        };
        let base = scoped(&flags.base, "XBUILD_BASE")
            .or_else(|| self.of_platform(platform, |table| table.base.as_ref(), |file| file.base.as_ref()))
            .or_else(|| self.of_user(|file| file.base.as_ref()));
        let base = self.base(base)?;
        let toolchain = scoped(&flags.toolchain, "XBUILD_TOOLCHAIN").or_else(|| {
            self.of_platform(platform, |table| table.toolchain.as_ref(), |file| file.toolchain.as_ref())
        });
        let toolchain = sourced(toolchain, |found| values::toolchain(found.text))?;
        let glibc = scoped(&flags.glibc, "XBUILD_GLIBC")
            .or_else(|| self.of_platform(platform, |table| table.glibc.as_ref(), |file| file.glibc.as_ref()));
        let glibc = sourced(glibc, |found| values::glibc(found.text).map(Some))?;
        let timeout = self
            .of_flag("--timeout", flags.timeout.platform(platform).or(flags.timeout.each))
            .or_else(|| {
                let general = |file: &'a ProjectFile| file.platform_timeout.as_ref();
                self.of_platform(platform, |table| table.timeout.as_ref(), general)
            })
            .map(|found| parsed(&found, |found| values::duration(found.text)))
            .transpose()?;
        Ok(PlatformSettings {
            target: self.target(platform, &base)?,
            packages: packages::packages(self, platform, &base.value)?,
            build_packages: packages::build_packages(self, platform)?,
            sources: self.packages_sources()?,
            base,
            glibc: glibc.unwrap_or_else(|| Sourced::default_of(None)),
            toolchain: toolchain.unwrap_or_else(|| Sourced::default_of(ToolchainChoice::default())),
            image: image::image(self, platform, &self.flags.labels, annotations)?,
            files: image::files(self, platform)?,
            timeout,
            platform: platform.clone(),
        })
    }

    fn base(&self, found: Option<Found<'a>>) -> Result<Sourced<BaseSource>, Error> {
        let mut base = match sourced(found, |found| values::base(found.text, found.dir))? {
            Some(base) => base,
            None => Sourced::default_of(
                values::base(DEFAULT_BASE, &self.host.dir).map_err(|problem| problem.at(&Origin::Default))?,
            ),
        };
        if let BaseSource::Packages { suite, suites, components, snapshot } = &mut base.value {
            *suites = self.suites(suite)?;
            *snapshot = self.snapshot()?;
            *components = self.project_value(|file| file.distribution.components.clone()).unwrap_or_default();
        }
        Ok(base)
    }

    /// The configured sources of packages for an image.
    fn packages_sources(&self) -> Result<PackagesSources, Error> {
        let texts = |list: Option<&Vec<Text>>| -> Vec<String> {
            list.into_iter().flatten().map(|text| text.get_ref().clone()).collect()
        };
        Ok(PackagesSources {
            project: texts(self.project_value(|file| file.distribution.suites.as_ref())),
            user: texts(self.user.and_then(|document| document.value.distribution.suites.as_ref())),
            components: self.project_value(|file| file.distribution.components.clone()).unwrap_or_default(),
            snapshot: self.snapshot()?,
        })
    }

    /// The moment as of which Debian's packages are taken.
    fn snapshot(&self) -> Result<Option<String>, Error> {
        let found = self.project.iter().find_map(|document| {
            document.value.distribution.snapshot.as_ref().map(|text| of_document(document, text))
        });
        found.map(|found| parsed(&found, |found| values::snapshot(found.text))).transpose()
    }

    /// The configured suites of a release. The project names them for its own base, so a suite of another release is a
    /// mistake; the user's file names them for whatever is built on the machine.
    fn suites(&self, release: &str) -> Result<Vec<String>, Error> {
        let belongs = |suite: &str| crate::packages::is_of_release(suite, release);
        for document in self.project {
            let Some(suites) = &document.value.distribution.suites else { continue };
            for suite in suites {
                if !belongs(suite.get_ref()) {
                    let origin = Origin::Project(document.location(suite.span()));
                    let (given, release) = (suite.get_ref().clone(), release.to_owned());
                    return Err(Problem::ForeignSuite { given, release }.at(&origin));
                }
            }
            return Ok(suites.iter().map(|suite| suite.get_ref().clone()).collect());
        }
        let suites = self.user.and_then(|document| document.value.distribution.suites.as_ref());
        Ok(suites.into_iter().flatten().map(Text::get_ref).filter(|suite| belongs(suite)).cloned().collect())
    }

    fn target(
        &self,
        platform: &Platform,
        base: &Sourced<BaseSource>,
    ) -> Result<Sourced<&'static Target>, Error> {
        let explicit = self.of_platform(platform, |table| table.triple.as_ref(), |_| None);
        if let Some(found) = explicit {
            let value = parsed(&found, |found| triple(found.text, platform))?;
            return Ok(Sourced { value, origin: found.origin });
        }
        let (libc, problem) = match base.value {
            BaseSource::Scratch => (Libc::Musl, Problem::NoStaticTarget { platform: platform.clone() }),
            _ => (Libc::Gnu, Problem::NoTarget { platform: platform.clone() }),
        };
        Target::by_platform(platform, libc).map(Sourced::default_of).ok_or_else(|| problem.at(&base.origin))
    }

    fn total_timeout(&self, flag: Option<&'a str>) -> Result<Duration, Error> {
        let found = self
            .of_flag("--timeout", flag)
            .or_else(|| self.of_environment("XBUILD_TIMEOUT"))
            .or_else(|| self.of_project(|file| file.timeout.as_ref()))
            .or_else(|| self.of_user(|file| file.timeout.as_ref()));
        found.map_or(Ok(DEFAULT_TIMEOUT), |found| parsed(&found, |found| values::duration(found.text)))
    }

    fn tags(&self) -> Result<Vec<String>, Error> {
        let mut tags = BTreeSet::new();
        let mut add = |text: &str, origin: &Origin| {
            tags.insert(values::tag(text).map_err(|problem| problem.at(origin))?);
            Ok::<(), Error>(())
        };
        let split = |text: &'a str| text.split(',').map(str::trim).filter(|text| !text.is_empty());
        if !self.flags.tags.is_empty() {
            for text in self.flags.tags.iter().flat_map(|text| split(text)) {
                add(text, &Origin::Flag("--tag"))?;
            }
        } else if let Some(found) = self.of_environment("XBUILD_TAG") {
            for text in split(found.text) {
                add(text, &found.origin)?;
            }
        } else if let Some(document) = self.project.iter().find(|document| document.value.tags.is_some()) {
            for text in document.value.tags.iter().flatten() {
                add(text.get_ref(), &Origin::Project(document.location(text.span())))?;
            }
        }
        Ok(tags.into_iter().collect())
    }

    fn machine(&self) -> Result<Machine, Error> {
        let cache = self
            .of_environment("XBUILD_CACHE_DIR")
            .or_else(|| self.of_user(|file| file.cache_dir.as_ref()))
            .map(|found| self.home_path(&found));
        let environment = self.environment;
        let cache = cache
            .or_else(|| {
                // The XDG specification: a relative path is invalid and must be ignored.
                let dir = environment.path("XDG_CACHE_HOME").filter(|path| path.is_absolute());
                dir.map(|dir| dir.join("xbuild"))
            })
            .or_else(|| environment.path("HOME").map(|home| home.join(".cache").join("xbuild")))
            .ok_or(Error::NoCacheDirectory)?;
        let program =
            self.of_environment("XBUILD_ZIG")
                .or_else(|| self.of_user(|file| file.provided.path.as_ref()))
                // A bare name is looked up on PATH, which is not done here.
                .map(|found| {
                    if found.text.contains('/') { self.home_path(&found) } else { PathBuf::from(found.text) }
                });
        let ways = self.user.and_then(|document| document.value.provided.ways.as_ref());
        let mut seen = BTreeSet::new();
        let ways = ways.map_or(ProvidedWay::ALL, |ways| ways.get_ref()).iter();
        let ways = ways.copied().filter(|way| seen.insert(*way)).collect();
        let mirror = |name, get: fn(&UserFile) -> Option<&Text>| {
            self.of_environment(name)
                .or_else(|| self.of_user(get))
                .map(|found| parsed(&found, |found| values::url(found.text)))
                .transpose()
        };
        let keyrings = self.user.and_then(|document| document.value.distribution.keyrings.as_ref());
        Ok(Machine {
            cache: self.host.dir.join(cache),
            offline: self.flags.offline || self.flags.frozen,
            provided: ProvidedSettings { path: program, ways },
            packages: PackagesSettings {
                mirror: mirror("XBUILD_DEBIAN_MIRROR", |file| file.distribution.mirror.as_ref())?,
                security_mirror: mirror("XBUILD_DEBIAN_SECURITY_MIRROR", |file| {
                    file.distribution.security_mirror.as_ref()
                })?,
                snapshot: mirror("XBUILD_DEBIAN_SNAPSHOT", |file| file.distribution.snapshot.as_ref())?,
                keyrings: keyrings
                    .into_iter()
                    .flatten()
                    .filter_map(|text| self.of_user(|_| Some(text)))
                    .map(|found| self.home_path(&found))
                    .collect(),
            },
            registries: registries::registries(environment, self.user)?,
        })
    }

    fn source_date_epoch(&self) -> Result<Option<i64>, Error> {
        self.of_environment("SOURCE_DATE_EPOCH")
            .map(|found| parsed(&found, |found| values::epoch(found.text.trim())))
            .transpose()
    }
}
