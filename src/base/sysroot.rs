//! What a platform's programs are linked against: packages of the base's own release, so that they ask for nothing that
//! the base does not have.
//!
//! If the base is no distribution with such packages, or an older glibc is asked for, they come from the newest release
//! whose glibc is not newer.

use std::fmt;

use serde::Serialize;

use super::{BaseError, Bases, ResolvedBase, Resolver, architecture};
use crate::base::AddedPackage;
use crate::error::{ExitCode, Explain};
use crate::host::Host;
use crate::lock::{self, Pins, SysrootPin};
use crate::packages::{
    Development, Package, Pinned, ReleaseRequest, ResolvedPackages, SysrootRequest, release_for,
    resolve_pinned, resolve_sysroot,
};
use crate::settings::{BaseSource, PackagesSettings, PlatformSettings};
use crate::target::abi::GlibcVersion;
use crate::target::catalog::Libc;
use crate::target::platform::Platform;
use crate::toolchain::provided;

/// The packages that a platform's programs are linked against.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct SysrootFacts {
    /// The release's codename.
    pub release: String,
    /// Why this release.
    pub from: String,
    /// Its glibc.
    #[serde(skip)]
    pub glibc: Option<GlibcVersion>,
    /// The size of its packages in bytes.
    pub download_size: u64,
    /// The development packages that are asked for or known to be needed, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub development: Vec<AddedPackage>,
    /// Its packages.
    pub packages: Vec<AddedPackage>,
}

impl fmt::Display for SysrootFacts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, size) = (self.packages.len(), self.download_size.div_ceil(1_000_000));
        write!(formatter, "{}: {count} packages, {size} MB to download", self.release)
    }
}

/// A sysroot whose packages are chosen. None of them need be on this disk yet.
#[derive(Clone, Debug)]
pub(crate) struct ResolvedSysroot {
    /// The packages.
    pub packages: ResolvedPackages,
    /// What the base gets if programs need libraries of them.
    pub at_run_time: Vec<Package>,
    /// Why this release.
    from: String,
    /// True if it is the base's own release.
    own: bool,
    /// The components that they are from; empty for the default.
    components: Vec<String>,
    /// True if C code is compiled against it, too.
    c_code: bool,
    /// The development packages that it has beyond those of every sysroot.
    development: Vec<Development>,
    /// The entry of a lock that they are from.
    pin: Option<Box<SysrootPin>>,
}

impl ResolvedSysroot {
    /// The facts for `plan`.
    #[must_use]
    pub(crate) fn facts(&self) -> SysrootFacts {
        let packages = self.packages.set.plain();
        let development = self.development.iter().map(|development| {
            let mut known = packages.packages.iter();
            let version = known.find(|package| package.name == development.package);
            AddedPackage {
                name: development.package.clone(),
                version: version.map(|package| package.version.clone()).unwrap_or_default(),
                why: development.why.clone(),
            }
        });
        SysrootFacts {
            development: development.collect(),
            release: packages.release.clone(),
            from: format!("{}{}", self.from, self.packages.pinned_text()),
            glibc: packages.glibc(),
            download_size: packages.download_size(),
            packages: packages.packages.iter().map(AddedPackage::of).collect(),
        }
    }

    /// The releases that its packages were chosen from, if they are not those of the base.
    #[must_use]
    pub(crate) fn other_releases(&self) -> Option<&ResolvedPackages> {
        (!self.own).then_some(&self.packages)
    }

    /// Its entry for a lock: the one that it was taken from, if there is one.
    #[must_use]
    pub(crate) fn pin(&self, wanted: &PlatformSettings) -> SysrootPin {
        let architecture = &self.packages.set.architecture;
        let packages: Vec<String> = names(&self.development).collect();
        let asked = SysrootRequest { architecture, c_code: self.c_code, packages: &packages, base: None };
        let set = (&self.packages.set, &self.at_run_time[..]);
        let fresh = || SysrootPin::of(&wanted.platform, &self.components, &asked, set);
        self.pin.as_deref().cloned().unwrap_or_else(fresh)
    }
}

/// Why a platform has no sysroot.
#[derive(Debug, thiserror::Error)]
pub enum SysrootError {
    /// No release is old enough.
    #[error(
        "no release of Debian has a glibc as old as {glibc} ({from}), which programs for {platform} would be linked against"
    )]
    NoRelease {
        /// The platform.
        platform: Platform,
        /// The glibc that programs must run with.
        glibc: GlibcVersion,
        /// Where that is from.
        from: String,
    },
    /// The base's glibc is not known, and none is asked for.
    #[error(
        "it is not known which glibc `{base}` has, so nothing is known to link programs for {platform} against"
    )]
    UnknownGlibc {
        /// The platform.
        platform: Platform,
        /// The base's name.
        base: String,
    },
    /// `--locked` was given, and the lock does not have the sysroot.
    #[error(
        "the packages that programs for {platform} are linked against are not pinned, and --locked forbids choosing them"
    )]
    NotPinned {
        /// The platform.
        platform: Platform,
    },
    /// Its packages could not be chosen.
    #[error("what programs are linked against: {error}")]
    Packages {
        /// Why not.
        error: Box<BaseError>,
        /// True if there are development packages among them.
        development: bool,
    },
}

impl Explain for SysrootError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::NoRelease { .. } | Self::UnknownGlibc { .. } => ExitCode::Config,
            Self::NotPinned { .. } => ExitCode::Locked,
            Self::Packages { error, .. } => error.exit_code(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NoRelease { .. } => Some("`toolchain = \"auto\"` links for older ones".into()),
            Self::UnknownGlibc { .. } => {
                Some("say for which glibc with `glibc = \"2.36\"`, or leave `toolchain` out".into())
            }
            Self::NotPinned { .. } => Some("run `xbuild lock` and commit the file".into()),
            Self::Packages { error, development } => {
                let other = if *development {
                    "`build-packages` under [debian] says which development packages are taken; `[]` means none".into()
                } else {
                    format!("`toolchain = \"{}\"` links without packages", provided::NAME)
                };
                Some(error.hint().map_or_else(|| other.clone(), |hint| format!("{hint}; {other}")))
            }
        }
    }
}

/// The release that a sysroot is made of, and why.
#[derive(Debug, PartialEq, Eq)]
struct Choice<'a> {
    release: &'a str,
    /// True if it is the base's own, so that its packages come from where the base's come from.
    own: bool,
    from: String,
}

/// Chooses the release. `base` is the base's name and glibc.
fn choose<'a>(
    wanted: &'a PlatformSettings,
    (name, available): (&str, Option<GlibcVersion>),
) -> Result<Choice<'a>, SysrootError> {
    let platform = || wanted.platform.clone();
    let asked = wanted.glibc.value;
    if let BaseSource::Packages { suite, .. } = &wanted.base.value
        && asked.is_none_or(|asked| available.is_some_and(|available| asked >= available))
    {
        return Ok(Choice { release: suite, own: true, from: format!("the release of `{name}`") });
    }
    let (glibc, from) = match (asked, available) {
        (Some(asked), _) => (asked, wanted.glibc.origin.to_string()),
        (None, Some(available)) => (available, format!("the glibc of `{name}`")),
        (None, None) => {
            return Err(SysrootError::UnknownGlibc { platform: platform(), base: name.to_owned() });
        }
    };
    match release_for(glibc) {
        Some(release) => Ok(Choice { release, own: false, from: format!("for glibc {glibc}, {from}") }),
        None => Err(SysrootError::NoRelease { platform: platform(), glibc, from }),
    }
}

/// The release whose packages programs on a base are linked against. An error says why there is none.
pub(crate) fn release_of_sysroot(
    wanted: &PlatformSettings,
    base: &ResolvedBase,
) -> Result<String, SysrootError> {
    let facts = base.facts();
    let choice = choose(wanted, (&facts.name, facts.glibc))?;
    let failed = |error| SysrootError::Packages { error: Box::new(error), development: false };
    architecture(wanted).map_err(failed)?;
    Ok(choice.release.to_owned())
}

/// True if the base's release will be asked for a sysroot. The platform's linker need not be known yet.
pub(super) fn is_likely(wanted: &PlatformSettings) -> bool {
    wanted.toolchain.value.may_need_sysroot() && wanted.target.value.libc == Libc::Gnu
}

fn names(development: &[Development]) -> impl Iterator<Item = String> {
    development.iter().map(|development| development.package.clone())
}

impl Bases {
    /// Chooses the packages that programs on a base are linked against, those that C code is compiled against if there is
    /// any, and development packages.
    pub(crate) fn resolve_sysroot(
        &self,
        wanted: &PlatformSettings,
        (base, c_code, development): (&ResolvedBase, bool, &[Development]),
        (pins, packages): (&Pins, &PackagesSettings),
        host: Host<'_>,
    ) -> Result<ResolvedSysroot, SysrootError> {
        let facts = base.facts();
        let choice = choose(wanted, (&facts.name, facts.glibc))?;
        let suites;
        let (suites, components, moment) = match &wanted.base.value {
            BaseSource::Packages { suites, components, snapshot, .. } if choice.own => {
                (suites.as_slice(), components.as_slice(), snapshot.as_deref())
            }
            _ => {
                suites = wanted.sources.of_release(choice.release);
                (suites.as_slice(), wanted.sources.components.as_slice(), wanted.sources.snapshot.as_deref())
            }
        };
        let request = ReleaseRequest { release: choice.release, suites, components, moment };
        let failed = |error: BaseError| SysrootError::Packages {
            error: Box::new(error),
            development: !development.is_empty(),
        };
        let architecture = architecture(wanted).map_err(failed)?;
        let of_base = choice.own.then_some(&*wanted.packages);
        let requested: Vec<String> = names(development).collect();
        let asked = SysrootRequest { architecture, c_code, packages: &requested, base: of_base };
        let pin = pins.sysroots.get(&wanted.platform).filter(|pin| pin.is_for(&request, &asked));
        let (resolved, at_run_time) = match pin {
            Some(whole) => {
                let pin = &whole.packages;
                let pinned =
                    Pinned { set: pin.set(), snapshot: pin.snapshot.clone(), date: lock::newest(&pin.index) };
                let resolved =
                    resolve_pinned(pinned, &request, packages, host).map_err(|error| failed(error.into()))?;
                (resolved, whole.at_run_time())
            }
            None if pins.strict => {
                return Err(SysrootError::NotPinned { platform: wanted.platform.clone() });
            }
            None => {
                let resolver = Resolver { bases: self, pins, packages, host };
                let archive = resolver.archive(&request).map_err(failed)?;
                resolve_sysroot(&archive, &asked, host).map_err(|error| failed(error.into()))?
            }
        };
        Ok(ResolvedSysroot {
            packages: resolved,
            at_run_time,
            from: choice.from,
            own: choice.own,
            components: components.to_vec(),
            c_code,
            development: development.to_vec(),
            pin: pin.map(|pin| Box::new(pin.clone())),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::plan::sample;

    /// The release for the first platform of an `xbuild.toml`, on a base with this glibc, and why.
    fn chosen(text: &str, glibc: Option<GlibcVersion>) -> Result<(String, bool, String), SysrootError> {
        let settings = sample::settings(text, Path::new("/project"));
        let choice = choose(&settings.platforms[0], ("the-base", glibc))?;
        Ok((choice.release.to_owned(), choice.own, choice.from))
    }

    #[test]
    fn the_bases_own_release_is_taken_unless_an_older_glibc_is_asked_for() {
        let on = |more: &str, base: &str, glibc| {
            chosen(&format!("{more}\nbase = \"{base}\"\nplatforms = [\"linux/amd64\"]"), glibc)
        };
        let (bookworm, trixie) = (Some(GlibcVersion(2, 36)), Some(GlibcVersion(2, 41)));
        let own = |release: &str| (release.to_owned(), true, "the release of `the-base`".to_owned());
        assert_eq!(on("", "apt:bookworm", bookworm).unwrap(), own("bookworm"));
        // Whatever its glibc is: it may be one that is not in any table yet.
        assert_eq!(on("", "apt:forky", Some(GlibcVersion(2, 42))).unwrap(), own("forky"));
        assert_eq!(on("glibc = \"2.36\"", "apt:bookworm", bookworm).unwrap(), own("bookworm"));
        let (release, own, from) = on("glibc = \"2.36\"", "apt:trixie", trixie).unwrap();
        assert_eq!((release.as_str(), own), ("bookworm", false));
        assert!(from.contains("2.36") && from.contains("xbuild.toml"), "{from}");
        let image = "registry.example/image:1";
        let (release, own, from) = on("", image, Some(GlibcVersion(2, 39))).unwrap();
        assert_eq!(
            (release.as_str(), own, from.as_str()),
            ("bookworm", false, "for glibc 2.39, the glibc of `the-base`")
        );
        let error = on("glibc = \"2.17\"", image, bookworm).unwrap_err();
        assert!(matches!(&error, SysrootError::NoRelease { glibc: GlibcVersion(2, 17), .. }), "{error}");
        let error = on("", image, None).unwrap_err();
        assert!(matches!(&error, SysrootError::UnknownGlibc { .. }), "{error}");
        assert_eq!(on("glibc = \"2.36\"", image, None).unwrap().0, "bookworm");
    }
}
