//! The next step for each problem, which must work with the image's base.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use super::Request;
use super::finding::Problem;
use super::obstacle::{Needs, Obstacle, Skipped};
use crate::rootfs::System;
use crate::target::catalog::{Libc, Target};

static PACKAGES: LazyLock<Packages> = LazyLock::new(|| {
    toml::from_str(include_str!("packages.toml")).expect("packages.toml is part of the program and tested")
});

/// The kind of base that an image has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// Assembled by xbuild from Debian's packages.
    Packages {
        /// The release's codename.
        release: String,
    },
    /// No base.
    Scratch,
    /// An image that the project is built on. If it is Debian, packages can be added to it.
    Base,
    /// Another image, or unknown.
    #[default]
    Image,
}

/// `packages.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Packages {
    /// The `ID` in the os-release of the distribution that has the packages. Derivatives have another.
    distribution: String,
    libraries: BTreeMap<String, Provided>,
    programs: BTreeMap<String, String>,
}

/// The package with a library: the same in all releases, or one for each.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Provided {
    All(String),
    By(BTreeMap<String, String>),
}

/// The Debian package with a library in a release.
#[must_use]
pub(super) fn package_of_library(library: &str, release: &str) -> Option<&'static str> {
    match PACKAGES.libraries.get(library)? {
        Provided::All(package) => Some(package),
        Provided::By(releases) => releases.get(release).map(String::as_str),
    }
}

/// True if the root filesystem is of the distribution whose packages are known.
fn has_known_packages(request: &Request<'_>) -> bool {
    matches!(request.origin, Origin::Packages { .. })
        || request.root.system().is_some_and(|system| has_id(&system))
}

fn has_id(system: &System) -> bool {
    system.id == PACKAGES.distribution
}

/// The next step, as one sentence.
#[allow(clippy::too_many_lines, reason = "one arm for each kind")]
pub(super) fn remedy(request: &Request<'_>, problem: &Problem) -> String {
    match problem {
        Problem::MissingLibrary { library, elsewhere, skipped, .. } => {
            missing_library(request, library, elsewhere, skipped)
        }
        Problem::MissingVersion { version, newest, needed_by, .. } => {
            missing_version(request, version, newest.as_deref(), needed_by)
        }
        Problem::WrongArchitecture { path, .. } if is_added(request, path) => format!(
            "add the file for {} instead: `[[platform.\"{}\".files]]` is for one platform only",
            request.platform, request.platform
        ),
        Problem::WrongArchitecture { .. } => {
            format!("use a base whose image for {} has programs for that platform", request.platform)
        }
        Problem::FloatAbi { .. } => "use a program and a base with the same float ABI, such as Debian's armhf".into(),
        Problem::Processor { needs: Needs::Neon(_), promised, .. } => format!(
            "build it for {promised}: without `-Ctarget-cpu`, `-Ctarget-feature=+neon` and `-mfpu=neon`, or with \
             `-mfpu=vfpv3-d16`; or check for NEON before using it (`is_arm_feature_detected!`, `getauxval`)"
        ),
        Problem::Instruction { path, extension, promised, .. } => instruction(request, path, extension, promised),
        Problem::Registers { .. } => {
            "build it with `-Ctarget-feature=-d32` or `-mfpu=vfpv3-d16`, or allow it if it only has to run on \
             processors with NEON"
                .into()
        }
        Problem::Processor { needs, promised, .. } => {
            format!("build for {promised}: look for `target-cpu` or `-march` in the flags that ask for {needs}")
        }
        Problem::RefusedEntry { .. } => {
            "pack the layer again, sparse files with `tar --format=posix` or without `--sparse`, or use another base"
                .into()
        }
        Problem::BrokenElf { .. } => "build or copy the file again".into(),
        Problem::MissingLoader { libc: Some(Libc::Gnu), .. } | Problem::OtherLibc { program: Libc::Gnu, .. } => {
            gnu_loader(request)
        }
        Problem::OtherLibc { program: Libc::Musl, .. } | Problem::MissingLoader { libc: Some(Libc::Musl), .. } => {
            "link it statically, or use a base with musl, such as an Alpine image as oci:PATH".into()
        }
        Problem::MissingLoader { libc: None, .. } | Problem::UnknownLoader { .. } => {
            "use the base that the program was linked for".into()
        }
        Problem::LoaderNotExecutable { .. } => "use a base whose loader is intact, or give it mode 0755".into(),
        Problem::UnusableLibrary { path, .. } => {
            format!("put the right file at {path}, or remove it if there is another one")
        }
        Problem::MissingPreload { .. } => "correct LD_PRELOAD or /etc/ld.so.preload".into(),
        Problem::VersionOfNothing { .. } => "link the program again: its list of libraries was modified".into(),
        Problem::PackedRelocations { .. } => {
            "link it without `-z pack-relative-relocs`, or use a base with glibc 2.36 or musl 1.2.4 or later".into()
        }
        Problem::MissingSymbol { .. } => {
            "use the version of the library that the program was built with, or build with the image's".into()
        }
        Problem::PrivateVersion { .. } => "do not change the base, or link it without glibc's private symbols".into(),
        Problem::MissingInterpreter { interpreter, .. } if interpreter.ends_with('\r') => {
            "save the script with Unix line endings".into()
        }
        Problem::MissingInterpreter { interpreter, .. } => {
            program(request, interpreter.rsplit('/').next().unwrap_or(interpreter))
        }
        Problem::NoInterpreter { .. } => "start it with a line such as `#!/bin/sh`".into(),
        Problem::NotFound { program: name, .. } if name.contains('/') => {
            "correct the path, or add the file with [[files]]".into()
        }
        Problem::NotFound { program: name, .. } => program(request, name),
        Problem::NotExecutable { reason: Obstacle::Dangling(_), .. } => "add the file that the link points to".into(),
        Problem::NotExecutable { reason: Obstacle::Directory, .. } => "name a program in it".into(),
        Problem::NotExecutable { path, .. } if is_added(request, path) => {
            "give it `mode = \"0755\"` in [[files]], or run as another `user` under [image]".into()
        }
        Problem::NotExecutable { .. } => "run as another `user` under [image], or start another program".into(),
        Problem::NotReadable { .. } => {
            "give it an `owner` or a `mode` in [[files]] that lets the user read it".into()
        }
        Problem::NoCommand {} => "set `entrypoint` or `cmd` under [image]".into(),
        Problem::UnknownUser { .. } => {
            "write the numbers, as in `user = \"65532:65532\"`, or a user that the image has".into()
        }
        Problem::MissingWorkdir { .. } => {
            "add the directory with [[files]], with its `owner`, or choose another `workdir`".into()
        }
        Problem::UnreachableLibrary { path } => look_there(path),
        Problem::StaticGlibc { .. } => "link it with musl (a musl triple), or dynamically".into(),
        Problem::NoCertificates {} if takes_packages(request) => package(request, "ca-certificates"),
        Problem::NoTimeZones {} if takes_packages(request) => package(request, "tzdata"),
        Problem::NoCertificates {} => {
            "use a base with ca-certificates, add a bundle as /etc/ssl/certs/ca-certificates.crt with [[files]], or \
             build the certificates in (webpki-roots)"
                .into()
        }
        Problem::MachinePath { variable, .. } if variable.as_deref() == Some("OUT_DIR") => {
            "build the file in (`include_bytes!`), or add it with [[files]] and `from-build` and open it at its path \
             in the image; while the program contains the path, every build directory results in another image"
                .into()
        }
        Problem::MachinePath { .. } => {
            "build the file in (`include_str!`, `include_bytes!`), or add it with [[files]] and open it at its path \
             in the image; while the program contains the path, every build directory results in another image"
                .into()
        }
        Problem::NoTimeZones {} => {
            "use a base with tzdata, or add /usr/share/zoneinfo with [[files]]; otherwise all times are UTC".into()
        }
    }
}

/// The next step for code that needs more than the platform promises.
fn instruction(request: &Request<'_>, path: &str, extension: &str, promised: &str) -> String {
    let target = Target::judging(request.platform);
    let better = target.and_then(|target| Some((&target.platform, target.better(request.platform)?.0)));
    let say = better.map_or_else(String::new, |(platform, variant)| {
        format!(", or declare what it needs with a platform such as {platform}/{variant}")
    });
    let own_base = matches!(request.origin, Origin::Packages { .. } | Origin::Base);
    if own_base && !is_added(request, path) {
        return format!("use a base that is built for {promised}{say}");
    }
    format!(
        "build it for {promised}: without `-Ctarget-cpu`, `-Ctarget-feature` and `-march` that give it {extension}{say}; or \
         check for it first (`is_x86_feature_detected!` and the like, `getauxval`)"
    )
}

fn is_added(request: &Request<'_>, path: &str) -> bool {
    request.root.real_path(path).is_some_and(|real| request.added.contains(&real))
}

/// How to add a directory to the loader's search path.
fn look_there(path: &str) -> String {
    let dir = path.rsplit_once('/').map_or("/", |(dir, _)| dir);
    format!(
        "add its directory to the loader's search path: `env = {{ LD_LIBRARY_PATH = \"{dir}\" }}` under [image]"
    )
}

/// True if the project can add packages to its base.
fn takes_packages(request: &Request<'_>) -> bool {
    matches!(request.origin, Origin::Packages { .. } | Origin::Base) && has_known_packages(request)
}

/// How to get a package's content into the image.
fn package(request: &Request<'_>, name: &str) -> String {
    if matches!(request.origin, Origin::Packages { .. } | Origin::Base) {
        return format!("Debian's {name} has it: add it with `packages = [\"{name}\"]` under [debian]");
    }
    let architecture = Target::all()
        .iter()
        .filter(|target| target.serves(request.platform))
        .find_map(|target| Some(target.port.as_ref()?.architecture.as_str()))
        .map_or_else(String::new, |architecture| format!(":{architecture}"));
    format!("install Debian's package {name}{architecture} in the base image")
}

fn missing_library(
    request: &Request<'_>,
    library: &str,
    elsewhere: &[String],
    skipped: &[Skipped],
) -> String {
    if let Some(path) = elsewhere.first() {
        return format!("{library} is at {path}; {}", look_there(path));
    }
    if skipped.iter().any(|skipped| skipped.denied) {
        return "give the library or its directory a mode that lets the user read it".into();
    }
    let release = match request.origin {
        Origin::Packages { release } => Some(release.clone()),
        _ => request.root.system().filter(has_id).and_then(|system| system.codename),
    };
    if let Some(name) = release.and_then(|release| package_of_library(library, &release)) {
        return package(request, name);
    }
    match request.origin {
        Origin::Scratch => {
            "link it statically, or use a base with its libraries, such as apt:bookworm".into()
        }
        Origin::Packages { .. } | Origin::Base | Origin::Image => {
            format!("use a base that has {library}, or add it with [[files]]")
        }
    }
}

fn missing_version(request: &Request<'_>, version: &str, newest: Option<&str>, needed_by: &str) -> String {
    let glibc = version.starts_with("GLIBC_");
    let own = is_added(request, needed_by);
    let has = newest.and_then(|newest| newest.strip_prefix("GLIBC_"));
    match (glibc, own, has) {
        (true, true, Some(has)) => {
            format!("let zig link it for the base's glibc: `glibc = \"{has}\"`, or use a newer base")
        }
        (true, ..) => "use a newer base, or a file that was built for the base's glibc".into(),
        (false, ..) if version.starts_with("GLIBCXX_") || version.starts_with("CXXABI_") => {
            "use a base with a newer libstdc++, or link it statically (`-static-libstdc++`)".into()
        }
        (false, ..) => "use a base with a newer version of the library".into(),
    }
}

fn gnu_loader(request: &Request<'_>) -> String {
    if !matches!(request.origin, Origin::Scratch) && has_known_packages(request) {
        return package(request, "libc6");
    }
    let target = |libc| Target::by_platform(request.platform, libc);
    let has_port = target(Libc::Gnu).is_some_and(|target| target.port.is_some());
    let base = format!("use a base with glibc{}", if has_port { ", such as apt:bookworm" } else { "" });
    match target(Libc::Musl) {
        Some(_) => format!("build for a musl triple, which links statically, or {base}"),
        None => base,
    }
}

fn program(request: &Request<'_>, name: &str) -> String {
    match PACKAGES.programs.get(name).filter(|_| has_known_packages(request)) {
        Some(known) => package(request, known),
        None => format!("use a base that has {name}, or add it with [[files]]"),
    }
}
