//! What the check finds, as data. The words for people are in [`std::fmt::Display`].

use std::fmt;

use serde::Serialize;

use super::obstacle::{Needs, Obstacle, Skipped};
use crate::target::catalog::Libc;
use crate::target::platform::Platform;

/// Something that keeps an image from running, or may.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Finding {
    /// The platform.
    pub platform: Platform,
    /// How bad it is.
    pub severity: Severity,
    /// The file that was checked, an absolute path in the image; the name where a program was not found.
    pub file: String,
    /// What is wrong.
    #[serde(flatten)]
    pub problem: Problem,
    /// The next step, as one sentence without a full stop at its end.
    pub remedy: String,
    /// The reason that the configuration gives for allowing it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed: Option<String>,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// It works where certain things are not asked for, or it cannot be known from outside.
    Warning,
    /// It does not start.
    Error,
}

/// Declares [`Problem`] with the name of each kind, so that they can't drift apart.
macro_rules! problems {
    ($($(#[doc = $doc:literal])+ $name:literal $variant:ident { $($(#[doc = $field_doc:literal])+ $field:ident: $type:ty,)* })*) => {
        /// What is wrong.
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
        #[serde(tag = "check", rename_all_fields = "kebab-case")]
        #[non_exhaustive]
        pub enum Problem {
            $($(#[doc = $doc])+ #[serde(rename = $name)] $variant { $($(#[doc = $field_doc])+ $field: $type,)* },)*
        }

        impl Problem {
            /// The names of all kinds, in the order of the manual.
            pub const CHECKS: &'static [&'static str] = &[$($name),*];

            /// The name of its kind: in configurations and in JSON, stable across releases.
            #[must_use]
            pub const fn check(&self) -> &'static str {
                match self { $(Self::$variant { .. } => $name,)* }
            }
        }
    };
}

problems! {
    /// A file is a program or library for another machine.
    "wrong-architecture" WrongArchitecture {
        /// The file: the checked one, or its loader.
        path: String,
        /// What it is for.
        found: String,
        /// What it should be for.
        wanted: String,
    }
    /// Floating point arguments are passed in another way than the loader or the platform has it.
    "float-abi" FloatAbi {
        /// The file.
        path: String,
        /// What it has.
        found: String,
        /// What the others have.
        wanted: String,
    }
    /// It was built for newer processors than the platform promises.
    "processor" Processor {
        /// The file.
        path: String,
        /// What it was built for.
        needs: Needs,
        /// What the platform promises.
        promised: String,
    }
    /// It runs an instruction that only newer processors have, and does not ask whether this one does.
    "instruction" Instruction {
        /// The file.
        path: String,
        /// What a processor must have for it.
        extension: String,
        /// The instruction.
        instruction: String,
        /// Where the first one is: a function's name, or an address.
        function: String,
        /// What the platform promises.
        promised: String,
    }
    /// It calculates with registers that the platform's least floating point unit lacks.
    "registers" Registers {
        /// The file.
        path: String,
        /// Where it does first: a function's name, or an address.
        function: String,
    }
    /// A layer has an entry that engines do not unpack.
    "refused-entry" RefusedEntry {
        /// The file.
        path: String,
        /// Its type, as its header has it.
        kind: String,
        /// What that is.
        reason: String,
    }
    /// It begins as an ELF file, and cannot be read as one.
    "broken-elf" BrokenElf {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    }
    /// The dynamic loader that it asks for is not there.
    "missing-loader" MissingLoader {
        /// `PT_INTERP`.
        loader: String,
        /// Where a dangling link at that path leads.
        leads_to: Option<String>,
        /// The C library that it belongs to, where its name tells.
        libc: Option<Libc>,
    }
    /// The dynamic loader that it asks for is that of another C library than the image has.
    "other-libc" OtherLibc {
        /// `PT_INTERP`.
        loader: String,
        /// The program's C library.
        program: Libc,
        /// The image's.
        image: Libc,
    }
    /// The dynamic loader is there, and is no program that the user may execute.
    "loader-not-executable" LoaderNotExecutable {
        /// Its path.
        loader: String,
        /// Why.
        reason: String,
    }
    /// The loader is neither glibc's nor musl's, so that nobody knows what it looks for.
    "unknown-loader" UnknownLoader {
        /// Its path.
        loader: String,
    }
    /// A needed library is nowhere that the loader looks.
    "missing-library" MissingLibrary {
        /// `DT_NEEDED`.
        library: String,
        /// Who needs it.
        needed_by: String,
        /// Where it was looked for: directories and, where it was asked, the loader's cache.
        searched: Vec<String>,
        /// Files of that name that the loader passes over, each with the reason.
        skipped: Vec<Skipped>,
        /// Where in the image there is one that would do.
        elsewhere: Vec<String>,
    }
    /// The loader finds a file of the name and gives up on it.
    "unusable-library" UnusableLibrary {
        /// `DT_NEEDED`.
        library: String,
        /// Who needs it.
        needed_by: String,
        /// The file.
        path: String,
        /// Why.
        reason: String,
    }
    /// A library to be loaded before all others is not found; the loader goes on without it.
    "missing-preload" MissingPreload {
        /// What `LD_PRELOAD` or `/etc/ld.so.preload` says.
        library: String,
    }
    /// A library lacks a symbol version.
    "missing-version" MissingVersion {
        /// The version.
        version: String,
        /// The library that was found.
        library: String,
        /// Who needs it.
        needed_by: String,
        /// The newest version of that family that the library has.
        newest: Option<String>,
    }
    /// A version is needed of a library that is not loaded at all.
    "version-of-nothing" VersionOfNothing {
        /// The version.
        version: String,
        /// The library's name.
        library: String,
        /// Who needs it.
        needed_by: String,
    }
    /// Relative relocations are packed in a way that the image's glibc does not know (`DT_RELR`).
    "packed-relocations" PackedRelocations {
        /// The file.
        path: String,
        /// The glibc.
        libc: String,
    }
    /// Nobody defines a needed symbol.
    "missing-symbol" MissingSymbol {
        /// The symbols, each with its version behind an `@`.
        symbols: Vec<String>,
        /// Who needs them.
        needed_by: String,
    }
    /// It uses what glibc keeps for itself and changes without notice.
    "private-version" PrivateVersion {
        /// The library.
        library: String,
        /// Who uses it.
        needed_by: String,
    }
    /// The interpreter of a script is not there.
    "missing-interpreter" MissingInterpreter {
        /// What stands behind `#!`.
        interpreter: String,
        /// The script.
        script: String,
    }
    /// A text file is to be executed and does not say by what.
    "no-interpreter" NoInterpreter {
        /// The file.
        path: String,
    }
    /// A program is not found.
    "not-found" NotFound {
        /// Its name.
        program: String,
        /// Who asks for it: `entrypoint`, `cmd`, or a script's path.
        asked_by: String,
        /// Where it was looked for.
        searched: Vec<String>,
    }
    /// A program is there, and the user may not execute it.
    "not-executable" NotExecutable {
        /// Its path.
        path: String,
        /// The user.
        user: String,
        /// Why.
        reason: Obstacle,
    }
    /// A file is there, and the user may not read it.
    "not-readable" NotReadable {
        /// Its path.
        path: String,
        /// The user.
        user: String,
        /// Why.
        reason: String,
    }
    /// The image does not say what to run.
    "no-command" NoCommand {}
    /// The user or group to run as is not in the image.
    "unknown-user" UnknownUser {
        /// As the configuration has it.
        user: String,
        /// The file that it is not in.
        searched: String,
    }
    /// The directory to start in is not there.
    "missing-workdir" MissingWorkdir {
        /// The directory.
        workdir: String,
        /// Why it cannot be made either, if it can't.
        reason: Option<String>,
    }
    /// A library was added where no loader looks.
    "unreachable-library" UnreachableLibrary {
        /// The library.
        path: String,
    }
    /// A static program calls functions of glibc that load libraries when they are called.
    "static-glibc" StaticGlibc {
        /// What it calls.
        functions: Vec<String>,
    }
    /// It looks for certificates, and the image has none.
    "no-certificates" NoCertificates {}
    /// It looks up time zones, and the image has none.
    "no-time-zones" NoTimeZones {}
    /// A path of the machine that it was built on is in it, and the image has no such file.
    "machine-path" MachinePath {
        /// The path.
        path: String,
        /// The variable of cargo's that it is probably from.
        variable: Option<String>,
    }
}

/// A few of a list's elements, for a sentence.
pub(super) fn some(list: &[impl fmt::Display]) -> String {
    const MOST: usize = 5;
    let shown = list.iter().take(MOST).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match list.len().saturating_sub(MOST) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

impl fmt::Display for Problem {
    #[allow(clippy::too_many_lines, reason = "one arm for each kind")]
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongArchitecture { path, found, wanted } => {
                write!(formatter, "{path} is for {found}, not for {wanted}")
            }
            Self::FloatAbi { path, found, wanted } => {
                write!(formatter, "{path} has the {found} float ABI, and what it runs with the {wanted} one")
            }
            Self::Processor { path, needs, promised } => {
                write!(formatter, "{path} was built for {needs}, and the platform promises {promised}")
            }
            Self::Instruction { path, extension, instruction, function, promised } => write!(
                formatter,
                "{path} needs {extension} (`{instruction}` in {function}) and does not ask whether it is there; the \
                 platform promises {promised}"
            ),
            Self::Registers { path, function } => write!(
                formatter,
                "{path} calculates with registers of d16 to d31 (in {function}), which VFPv3-D16 lacks"
            ),
            Self::RefusedEntry { path, kind, reason } => {
                write!(
                    formatter,
                    "{path} is {reason} in its layer (type `{kind}`), which engines refuse to unpack"
                )
            }
            Self::BrokenElf { path, reason } => write!(formatter, "{path} cannot be run: {reason}"),
            Self::MissingLoader { loader, leads_to: Some(to), .. } => {
                write!(formatter, "its dynamic loader {loader} is a link to {to}, which is not there")
            }
            Self::MissingLoader { loader, leads_to: None, libc } => {
                let libc = libc.map_or_else(String::new, |libc| format!(" ({libc}'s)"));
                write!(formatter, "its dynamic loader {loader}{libc} is not in the image")
            }
            Self::OtherLibc { loader, program, image } => write!(
                formatter,
                "it is a {program} program, and the image has {image}: its dynamic loader {loader} is not there"
            ),
            Self::LoaderNotExecutable { loader, reason } => {
                write!(formatter, "its dynamic loader {loader} cannot be run: {reason}")
            }
            Self::UnknownLoader { loader } => write!(
                formatter,
                "its dynamic loader {loader} is neither glibc's nor musl's, so its libraries were not checked"
            ),
            Self::MissingLibrary { library, needed_by, searched, skipped, .. } => {
                write!(formatter, "{library}, which {needed_by} needs, is not found")?;
                if !searched.is_empty() {
                    write!(formatter, "; looked for in {}", searched.join(", "))?;
                }
                if !skipped.is_empty() {
                    write!(formatter, "; passed over {}", some(skipped))?;
                }
                Ok(())
            }
            Self::UnusableLibrary { library, needed_by, path, reason } => {
                let name = path.rsplit('/').next().unwrap_or(path);
                let called = if name == library { String::new() } else { format!(" (for {library})") };
                write!(formatter, "the loader cannot use {path}{called}, which {needed_by} needs: {reason}")
            }
            Self::MissingPreload { library } => {
                write!(
                    formatter,
                    "{library}, which is to be loaded first, is not found; it starts without it"
                )
            }
            Self::MissingVersion { version, library, needed_by, newest } => {
                write!(formatter, "{needed_by} needs {version} of {library}, which lacks it")?;
                match newest {
                    Some(newest) => write!(formatter, " and has {newest} as its newest"),
                    None => Ok(()),
                }
            }
            Self::VersionOfNothing { version, library, needed_by } => {
                write!(formatter, "{needed_by} needs {version} of {library}, which nothing loads")
            }
            Self::PackedRelocations { path, libc } => {
                write!(formatter, "{path} has packed relocations (DT_RELR), which {libc} does not know")
            }
            Self::MissingSymbol { symbols, needed_by } => {
                let plural = if symbols.len() == 1 { "symbol" } else { "symbols" };
                write!(formatter, "no library has the {plural} that {needed_by} needs: {}", some(symbols))
            }
            Self::PrivateVersion { library, needed_by } => {
                write!(formatter, "{needed_by} uses private parts of {library}, which fit one version only")
            }
            Self::MissingInterpreter { interpreter, script } if interpreter.ends_with('\r') => write!(
                formatter,
                "{script} has Windows line ends: its interpreter would be `{}` with a carriage return",
                interpreter.trim_end()
            ),
            Self::MissingInterpreter { interpreter, script } => {
                write!(formatter, "the interpreter {interpreter} of the script {script} is not in the image")
            }
            Self::NoInterpreter { path } => {
                write!(formatter, "{path} is neither a program nor a script that begins with `#!`")
            }
            Self::NotFound { program, asked_by, searched } if searched.is_empty() => {
                write!(formatter, "{program} ({asked_by}) is not in the image")
            }
            Self::NotFound { program, asked_by, searched } => {
                write!(formatter, "{program} ({asked_by}) is in none of {}", searched.join(", "))
            }
            Self::NotExecutable { path, user, reason } => {
                write!(formatter, "{path} cannot be executed by {user}: {reason}")
            }
            Self::NotReadable { path, user, reason } => {
                write!(formatter, "{path} cannot be read by {user}: {reason}")
            }
            Self::NoCommand {} => formatter.write_str("the image has neither an entrypoint nor a command"),
            Self::UnknownUser { user, searched } => {
                write!(formatter, "the image is to run as `{user}`, who is not in {searched}")
            }
            Self::MissingWorkdir { workdir, reason: None } => write!(
                formatter,
                "the directory to start in, {workdir}, is not in the image; engines make it, owned by root"
            ),
            Self::MissingWorkdir { workdir, reason: Some(reason) } => {
                write!(formatter, "the directory to start in, {workdir}, cannot be entered: {reason}")
            }
            Self::UnreachableLibrary { path } => {
                write!(
                    formatter,
                    "the library {path} is where no loader looks, and nothing says to look there"
                )
            }
            Self::StaticGlibc { functions } => write!(
                formatter,
                "it has a glibc linked statically and calls {}, which loads the shared glibc's files when it runs",
                functions.join(", ")
            ),
            Self::NoCertificates {} => {
                formatter.write_str("it looks for the system's certificates, and the image has none")
            }
            Self::NoTimeZones {} => {
                formatter.write_str("it looks up time zones, and the image has no /usr/share/zoneinfo")
            }
            Self::MachinePath { path, variable } => {
                let from = variable
                    .as_ref()
                    .map_or_else(String::new, |name| format!(", as `env!(\"{name}\")` gives it,"));
                write!(
                    formatter,
                    "it has the path {path} of the machine that built it{from} and the image does not"
                )
            }
        }
    }
}

impl Problem {
    /// What is missing or wrong, as one name: what `[check] allow` calls `missing`.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        match self {
            Self::MissingLibrary { library, .. }
            | Self::UnusableLibrary { library, .. }
            | Self::MissingPreload { library }
            | Self::PrivateVersion { library, .. } => Some(library),
            Self::MissingVersion { version, .. } | Self::VersionOfNothing { version, .. } => Some(version),
            Self::MissingLoader { loader, .. }
            | Self::OtherLibc { loader, .. }
            | Self::LoaderNotExecutable { loader, .. }
            | Self::UnknownLoader { loader } => Some(loader),
            Self::MissingInterpreter { interpreter, .. } => Some(interpreter),
            Self::NotFound { program, .. } => Some(program),
            Self::MissingSymbol { symbols, .. } => symbols.first().map(String::as_str),
            Self::UnknownUser { user, .. } => Some(user),
            Self::MissingWorkdir { workdir, .. } => Some(workdir),
            Self::WrongArchitecture { path, .. }
            | Self::FloatAbi { path, .. }
            | Self::Processor { path, .. }
            | Self::Instruction { path, .. }
            | Self::Registers { path, .. }
            | Self::RefusedEntry { path, .. }
            | Self::BrokenElf { path, .. }
            | Self::PackedRelocations { path, .. }
            | Self::NoInterpreter { path }
            | Self::NotExecutable { path, .. }
            | Self::NotReadable { path, .. }
            | Self::UnreachableLibrary { path }
            | Self::MachinePath { path, .. } => Some(path),
            Self::NoCommand {}
            | Self::StaticGlibc { .. }
            | Self::NoCertificates {}
            | Self::NoTimeZones {} => None,
        }
    }

    /// How bad it is where nobody says otherwise.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match self {
            Self::Registers { .. }
            | Self::UnknownLoader { .. }
            | Self::MissingPreload { .. }
            | Self::PrivateVersion { .. }
            | Self::NoCommand {}
            | Self::MissingWorkdir { reason: None, .. }
            | Self::UnreachableLibrary { .. }
            | Self::StaticGlibc { .. }
            | Self::NoCertificates {}
            | Self::NoTimeZones {}
            | Self::MachinePath { .. }
            | Self::NotReadable { .. } => Severity::Warning,
            _ => Severity::Error,
        }
    }
}
