//! Chooses what links a platform's programs. Pure: the plan calls it, and the build does what it says.

use serde::Serialize;

use super::ToolchainChoice;
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
}

/// What links, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LinkerChoice {
    /// What links.
    pub linker: Linker,
    /// Why, in a few words.
    pub from: String,
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
            Self::CCode { .. } | Self::BuildsStandard => format!("use {other}"),
        }
    }
}

/// What prevents rust-lld from linking programs with this C library.
fn obstacle(libc: Libc, facts: &LinkerFacts) -> Option<Obstacle> {
    if !facts.rust_lld {
        return Some(Obstacle::NoLld);
    }
    if let Some(package) = &facts.c_code {
        return Some(Obstacle::CCode { package: package.clone() });
    }
    (libc == Libc::Musl && facts.builds_standard).then_some(Obstacle::BuildsStandard)
}

/// True if [`choose()`] will take what xbuild finds or provides, unless there are facts against it.
#[must_use]
pub(crate) fn is_likely_provided(asked: ToolchainChoice, libc: Libc) -> bool {
    match asked {
        ToolchainChoice::Zig => true,
        ToolchainChoice::Auto => libc == Libc::Gnu,
        ToolchainChoice::Lld | ToolchainChoice::Cargo => false,
    }
}

/// What links programs with this C library, and compiles C code if it is zig.
#[must_use]
pub(crate) fn choose(asked: &Sourced<ToolchainChoice>, libc: Libc, facts: &LinkerFacts) -> LinkerChoice {
    let obstacle = obstacle(libc, facts);
    let rust_can_link = libc == Libc::Musl && obstacle.is_none();
    let (linker, from) = match (asked.value, &facts.c_code) {
        (ToolchainChoice::Cargo, _) => (Linker::Configured, asked.origin.to_string()),
        (ToolchainChoice::Zig, _) => (Linker::Zig, asked.origin.to_string()),
        (ToolchainChoice::Lld, _) => {
            let linker = if libc == Libc::Musl { Linker::RustLld } else { Linker::Lld };
            return LinkerChoice { linker, from: asked.origin.to_string(), obstacle };
        }
        (ToolchainChoice::Auto, _) if facts.configured => {
            (Linker::Configured, "cargo's configuration names a linker for the triple".into())
        }
        (ToolchainChoice::Auto, _) if rust_can_link => {
            (Linker::RustLld, "musl, and no crate compiles C code".into())
        }
        (ToolchainChoice::Auto, Some(package)) => {
            (Linker::Zig, format!("it also compiles the C code of `{package}`"))
        }
        (ToolchainChoice::Auto, None) => {
            (Linker::Zig, "it links for every C library without a sysroot".into())
        }
    };
    LinkerChoice { linker, from, obstacle: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin::Origin;

    #[test]
    fn what_is_likely_is_what_is_chosen_without_facts_against_it() {
        let facts = LinkerFacts { configured: false, rust_lld: true, builds_standard: false, c_code: None };
        for value in
            [ToolchainChoice::Auto, ToolchainChoice::Lld, ToolchainChoice::Zig, ToolchainChoice::Cargo]
        {
            for libc in [Libc::Gnu, Libc::Musl] {
                let chosen = choose(&Sourced { value, origin: Origin::Default }, libc, &facts);
                assert_eq!(
                    is_likely_provided(value, libc),
                    chosen.linker.is_provided(),
                    "{value:?} {libc:?}"
                );
            }
        }
    }
}
