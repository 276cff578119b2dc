//! Chooses what links a platform's programs. Pure: the plan calls it, and the build does what it says.

use serde::Serialize;

use super::ToolchainChoice;
use crate::error::ExitCode;
use crate::origin::Sourced;
use crate::target::catalog::Libc;

/// What links a target's programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Linker {
    /// zig, which also compiles the C code of build scripts.
    Zig,
    /// The linker and the musl that the Rust toolchain includes.
    RustLld,
    /// The linker that the Rust toolchain includes, with a sysroot: the C library of the base's release.
    Lld,
    /// Whatever cargo's configuration says; nothing is set for C code either.
    Configured,
}

impl Linker {
    /// True if it is what xbuild finds or provides: see `provided`.
    #[must_use]
    pub fn is_provided(self) -> bool {
        self == Self::Zig
    }

    /// True if it links against packages of a distribution.
    #[must_use]
    pub fn needs_sysroot(self) -> bool {
        self == Self::Lld
    }

    /// Its name, for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Zig => super::provided::NAME,
            Self::RustLld => "rust-lld",
            Self::Lld => "rust-lld with a sysroot",
            Self::Configured => "cargo's configuration",
        }
    }
}

/// What compiles a platform's C and C++ code, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Compiler {
    /// Its name and version, for people.
    pub name: String,
    /// Why, in a few words.
    pub from: String,
}

/// The compiler of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CompilerFacts {
    /// There is one, with this name and version.
    Found(String),
    /// There is none that can be used.
    Missing {
        /// Why not.
        why: String,
        /// What to do about it.
        hint: Option<String>,
    },
}

/// Whether programs need libraries of a distribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Libraries {
    /// As far as is known, no.
    None,
    /// Crates are known to look for some. They may find them elsewhere.
    Found,
    /// They are asked for.
    Asked,
}

/// What the choice of a linker depends on beside the settings.
#[derive(Clone, Debug)]
pub(crate) struct LinkerFacts {
    /// True if cargo's configuration names a linker for the triple.
    pub configured: bool,
    /// True if the Rust toolchain has rust-lld.
    pub rust_lld: bool,
    /// True if it is known that the triple's standard library has to be built from its source.
    pub builds_standard: bool,
    /// The first package that compiles C code, if there is one.
    pub c_code: Option<String>,
    /// The compiler of this machine, if it was looked for.
    pub compiler: Option<CompilerFacts>,
    /// Why there is nothing to link against but what the provided toolchain brings, if that is known.
    pub no_sysroot: Option<String>,
    /// Whether libraries of a sysroot are needed.
    pub libraries: Libraries,
    /// True if the lock pins the provided toolchain and no sysroot: it is from before sysroots, or made without.
    pub pinned: bool,
}

/// What links, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LinkerChoice {
    /// What links.
    pub linker: Linker,
    /// Why, in a few words.
    pub from: String,
    /// What compiles C code, if it is not what links.
    pub compiler: Option<Compiler>,
    /// Why it cannot, although it was asked for.
    pub obstacle: Option<Obstacle>,
}

/// Why the linker that was asked for cannot link a platform's programs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// The Rust toolchain does not have rust-lld.
    #[error("the Rust toolchain has no rust-lld")]
    NoLld,
    /// A package compiles C code, and there is no compiler for it.
    #[error("`{package}` compiles C code, for which it brings no compiler")]
    CCode {
        /// The package.
        package: String,
    },
    /// There is no compiler for C code.
    #[error("nothing compiles C code for it: {why}")]
    NoCompiler {
        /// Why not.
        why: String,
        /// What to do about it.
        hint: Option<String>,
        /// True if libraries are asked for, which other ways do not have.
        libraries: bool,
    },
    /// A package compiles C code against musl, whose headers are in no sysroot.
    #[error("`{package}` compiles C code, and there are no headers of musl for it")]
    NoMuslHeaders {
        /// The package.
        package: String,
    },
    /// Libraries of a sysroot are asked for, and there is none.
    #[error("`build-packages` asks for libraries of a distribution, and {why}")]
    NoLibraries {
        /// Why there are none.
        why: String,
    },
    /// The standard library is built from its source, and then comes without musl's start-up files.
    #[error("the standard library is built from its source, and comes without start files then")]
    BuildsStandard,
}

impl Obstacle {
    /// What to do about it.
    #[must_use]
    pub(crate) fn hint(&self) -> String {
        let other = format!("`toolchain = \"{}\"` or `\"auto\"`", super::provided::NAME);
        match self {
            Self::NoLld => format!("use a Rust that rustup has installed, or {other}"),
            Self::CCode { .. } => {
                format!(
                    "use {other}, or `\"{}\"` for a C library of the base's release",
                    super::compiler::NAME
                )
            }
            Self::NoCompiler { hint, libraries, .. } => {
                let install = hint.as_ref().map(|hint| format!("{hint}; or ")).unwrap_or_default();
                let other = if *libraries { "leave `build-packages` out".into() } else { format!("use {other}") };
                format!("{install}{other}")
            }
            Self::NoLibraries { .. } => {
                "leave `build-packages` out for this platform, or choose a base and a toolchain that have them".into()
            }
            Self::NoMuslHeaders { .. } | Self::BuildsStandard => format!("use {other}"),
        }
    }

    /// The exit code of the error.
    #[must_use]
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::NoCompiler { .. } => ExitCode::Toolchain,
            Self::NoLld
            | Self::CCode { .. }
            | Self::NoLibraries { .. }
            | Self::NoMuslHeaders { .. }
            | Self::BuildsStandard => ExitCode::Config,
        }
    }
}

/// What prevents rust-lld from linking programs with this C library, beside C code.
fn obstacle(libc: Libc, facts: &LinkerFacts) -> Option<Obstacle> {
    if !facts.rust_lld {
        return Some(Obstacle::NoLld);
    }
    (libc == Libc::Musl && facts.builds_standard).then_some(Obstacle::BuildsStandard)
}

/// What prevents the compiler of this machine from compiling for this C library, or the compiler.
fn compiler(libc: Libc, facts: &LinkerFacts, from: String) -> Result<Option<Compiler>, Obstacle> {
    match (libc, &facts.c_code, &facts.compiler) {
        (Libc::Musl, Some(package), _) => Err(Obstacle::NoMuslHeaders { package: package.clone() }),
        (Libc::Gnu, _, Some(CompilerFacts::Missing { why, hint })) => {
            let libraries = facts.libraries == Libraries::Asked;
            Err(Obstacle::NoCompiler { why: why.clone(), hint: hint.clone(), libraries })
        }
        (Libc::Gnu, _, Some(CompilerFacts::Found(name))) => Ok(Some(Compiler { name: name.clone(), from })),
        (Libc::Musl, None, _) | (Libc::Gnu, _, None) => Ok(None),
    }
}

/// True if [`choose()`] will take what xbuild finds or provides, whatever the facts.
#[must_use]
pub(crate) fn is_certainly_provided(asked: ToolchainChoice) -> bool {
    asked == ToolchainChoice::Zig
}

/// What links programs with this C library, and compiles C code.
#[must_use]
pub(crate) fn choose(asked: &Sourced<ToolchainChoice>, libc: Libc, facts: &LinkerFacts) -> LinkerChoice {
    let from = asked.origin.to_string();
    match asked.value {
        ToolchainChoice::Cargo => without_libraries(Linker::Configured, from, facts),
        ToolchainChoice::Zig => without_libraries(Linker::Zig, from, facts),
        ToolchainChoice::Lld => {
            let code = facts.c_code.clone().map(|package| Obstacle::CCode { package });
            with_lld(libc, facts, from, code.map_or(Ok(None), Err))
        }
        ToolchainChoice::Clang => with_lld(libc, facts, from.clone(), compiler(libc, facts, from)),
        ToolchainChoice::Auto => best(libc, facts),
    }
}

/// The fastest way that fits.
fn best(libc: Libc, facts: &LinkerFacts) -> LinkerChoice {
    let obstacle = obstacle(libc, facts);
    let zig = |from: String| without_libraries(Linker::Zig, from, facts);
    if facts.configured {
        return without_libraries(
            Linker::Configured,
            "cargo's configuration names a linker for the triple".into(),
            facts,
        );
    }
    let fits = obstacle.is_none() && facts.no_sysroot.is_none() && !facts.pinned;
    let compiles = facts.c_code.is_none() || matches!(facts.compiler, Some(CompilerFacts::Found(_)));
    let libraries = match facts.libraries {
        Libraries::None => false,
        Libraries::Found => fits && compiles,
        Libraries::Asked => true,
    };
    if libc == Libc::Gnu && libraries {
        let from = "only it links against libraries of a distribution";
        let c_code = facts.c_code.as_ref().map(|package| format!("for the C code of `{package}`"));
        return with_lld(
            libc,
            facts,
            from.into(),
            c_code.map_or(Ok(None), |from| compiler(libc, facts, from)),
        );
    }
    match (&facts.c_code, obstacle, &facts.no_sysroot) {
        (Some(package), ..) => zig(format!("it also compiles the C code of `{package}`")),
        (None, Some(obstacle), _) => zig(obstacle.to_string()),
        (None, None, _) if libc == Libc::Musl => {
            with_lld(libc, facts, "musl, and no crate compiles C code".into(), Ok(None))
        }
        (None, None, _) if facts.pinned => zig("the lock pins it".into()),
        (None, None, Some(why)) => zig(why.clone()),
        (None, None, None) => {
            with_lld(libc, facts, "the fastest, and no crate compiles C code".into(), Ok(None))
        }
    }
}

/// LLVM's linker, with what compiles C code or what speaks against it.
fn with_lld(
    libc: Libc,
    facts: &LinkerFacts,
    from: String,
    compiler: Result<Option<Compiler>, Obstacle>,
) -> LinkerChoice {
    let linker = if libc == Libc::Musl { Linker::RustLld } else { Linker::Lld };
    let why = match libc {
        Libc::Musl => Some("they are for glibc".to_owned()),
        Libc::Gnu => facts.no_sysroot.clone(),
    };
    let libraries =
        why.filter(|_| facts.libraries == Libraries::Asked).map(|why| Obstacle::NoLibraries { why });
    let (compiler, missing) =
        compiler.map_or_else(|missing| (None, Some(missing)), |compiler| (compiler, None));
    LinkerChoice { linker, from, compiler, obstacle: obstacle(libc, facts).or(missing).or(libraries) }
}

/// A linker that knows nothing of sysroots.
fn without_libraries(linker: Linker, from: String, facts: &LinkerFacts) -> LinkerChoice {
    let why = || format!("{} does not link against them", linker.name());
    let obstacle = (facts.libraries == Libraries::Asked).then(|| Obstacle::NoLibraries { why: why() });
    LinkerChoice { linker, from, compiler: None, obstacle }
}

#[cfg(test)]
impl LinkerFacts {
    /// Nothing that speaks for or against anything.
    pub(crate) const NOTHING: Self = Self {
        configured: false,
        rust_lld: true,
        builds_standard: false,
        c_code: None,
        compiler: None,
        no_sysroot: None,
        libraries: Libraries::None,
        pinned: false,
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin::Origin;

    #[test]
    fn what_is_certain_is_chosen_whatever_the_facts() {
        for value in ToolchainChoice::ALL {
            for libc in [Libc::Gnu, Libc::Musl] {
                let chosen = choose(&Sourced { value, origin: Origin::Default }, libc, &LinkerFacts::NOTHING);
                if is_certainly_provided(value) {
                    assert!(chosen.linker.is_provided(), "{value:?} {libc:?}");
                }
            }
        }
    }
}
