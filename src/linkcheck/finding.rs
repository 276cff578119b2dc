//! What the check finds, as data. The messages are in [`std::fmt::Display`].

use std::fmt;

use serde::Serialize;

use super::obstacle::{Needs, Obstacle, Skipped};
use crate::target::catalog::Libc;
use crate::target::platform::Platform;

/// Something that prevents an image from running, or may do so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Finding {
    /// The platform.
    pub platform: Platform,
    /// How serious it is.
    pub severity: Severity,
    /// The checked file as an absolute path in the image, or the name of a program that was not found.
    pub file: String,
    /// What is wrong.
    #[serde(flatten)]
    pub problem: Problem,
    /// The next step, as one sentence without a full stop at its end.
    pub remedy: String,
    /// The reason in the configuration for allowing it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed: Option<String>,
}

/// How serious a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// It works unless certain features are used, or it cannot be decided from outside.
    Warning,
    /// It does not start.
    Error,
}

/// Declares [`Problem`] with the name of each kind, so that they can't get out of step.
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
    /// Floating point arguments are passed in another way than the loader or the platform does.
    "float-abi" FloatAbi {
        /// The file.
        path: String,
        /// The file's float ABI.
        found: String,
        /// The float ABI of the others.
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
    /// It runs an instruction that only newer processors have, without checking for it.
    "instruction" Instruction {
        /// The file.
        path: String,
        /// The extension that the instruction needs.
        extension: String,
        /// The instruction.
        instruction: String,
        /// Where the first such instruction is: a function's name, or an address.
        function: String,
        /// What the platform promises.
        promised: String,
    }
    /// It calculates with registers that the platform's baseline floating point unit lacks.
    "registers" Registers {
        /// The file.
        path: String,
        /// Where the first such instruction is: a function's name, or an address.
        function: String,
    }
    /// A layer has an entry that engines do not unpack.
    "refused-entry" RefusedEntry {
        /// The file.
        path: String,
        /// Its type, as in its header.
        kind: String,
        /// What that type is.
        reason: String,
    }
    /// It begins like an ELF file, but cannot be read as one.
    "broken-elf" BrokenElf {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    }
    /// The dynamic loader that it names does not exist.
    "missing-loader" MissingLoader {
        /// `PT_INTERP`.
        loader: String,
        /// Where a dangling link at that path points.
        leads_to: Option<String>,
        /// The C library that it belongs to, if its name shows that.
        libc: Option<Libc>,
    }
    /// The dynamic loader that it names belongs to another C library than the image has.
    "other-libc" OtherLibc {
        /// `PT_INTERP`.
        loader: String,
        /// The program's C library.
        program: Libc,
        /// The image's.
        image: Libc,
    }
    /// The dynamic loader exists, but the user cannot execute it.
    "loader-not-executable" LoaderNotExecutable {
        /// Its path.
        loader: String,
        /// Why.
        reason: String,
    }
    /// The loader is neither glibc's nor musl's, so its search path is unknown.
    "unknown-loader" UnknownLoader {
        /// Its path.
        loader: String,
    }
    /// A needed library is not in the loader's search path.
    "missing-library" MissingLibrary {
        /// `DT_NEEDED`.
        library: String,
        /// The file that needs it.
        needed_by: String,
        /// What was searched: directories and, if it was used, the loader's cache.
        searched: Vec<String>,
        /// Files of that name that the loader skips, each with the reason.
        skipped: Vec<Skipped>,
        /// Paths in the image of files that would do.
        elsewhere: Vec<String>,
    }
    /// The loader finds a file of that name but fails at it.
    "unusable-library" UnusableLibrary {
        /// `DT_NEEDED`.
        library: String,
        /// The file that needs it.
        needed_by: String,
        /// The file.
        path: String,
        /// Why.
        reason: String,
    }
    /// A library to preload is not found; the loader continues without it.
    "missing-preload" MissingPreload {
        /// The name in `LD_PRELOAD` or `/etc/ld.so.preload`.
        library: String,
    }
    /// A library lacks a symbol version.
    "missing-version" MissingVersion {
        /// The version.
        version: String,
        /// The library that was found.
        library: String,
        /// The file that needs it.
        needed_by: String,
        /// The newest version of that family that the library has.
        newest: Option<String>,
    }
    /// A version is needed from a library that is not loaded at all.
    "version-of-nothing" VersionOfNothing {
        /// The version.
        version: String,
        /// The library's name.
        library: String,
        /// The file that needs it.
        needed_by: String,
    }
    /// Relative relocations are packed in a way that the image's C library does not support (`DT_RELR`).
    "packed-relocations" PackedRelocations {
        /// The file.
        path: String,
        /// The C library and its version.
        libc: String,
    }
    /// No file defines a needed symbol.
    "missing-symbol" MissingSymbol {
        /// The symbols, each with its version after an `@`.
        symbols: Vec<String>,
        /// The file that needs them.
        needed_by: String,
    }
    /// It uses private symbols of glibc, which change without notice.
    "private-version" PrivateVersion {
        /// The library.
        library: String,
        /// The file that uses it.
        needed_by: String,
    }
    /// The interpreter of a script does not exist.
    "missing-interpreter" MissingInterpreter {
        /// The path after `#!`.
        interpreter: String,
        /// The script.
        script: String,
    }
    /// A text file is to be executed but does not name an interpreter.
    "no-interpreter" NoInterpreter {
        /// The file.
        path: String,
    }
    /// A program is not found.
    "not-found" NotFound {
        /// Its name.
        program: String,
        /// What names it: `entrypoint`, `cmd`, or a script's path.
        asked_by: String,
        /// The directories that were searched.
        searched: Vec<String>,
    }
    /// A program exists, but the user may not execute it.
    "not-executable" NotExecutable {
        /// Its path.
        path: String,
        /// The user.
        user: String,
        /// Why.
        reason: Obstacle,
    }
    /// A file exists, but the user may not read it.
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
        /// The user or group as the configuration has it.
        user: String,
        /// The file that it is not in.
        searched: String,
    }
    /// The working directory does not exist.
    "missing-workdir" MissingWorkdir {
        /// The directory.
        workdir: String,
        /// Why it cannot be created either, if it cannot.
        reason: Option<String>,
    }
    /// A library was added to a directory that no loader searches.
    "unreachable-library" UnreachableLibrary {
        /// The library.
        path: String,
    }
    /// A static program calls functions of glibc that load libraries at run time.
    "static-glibc" StaticGlibc {
        /// The functions that it calls.
        functions: Vec<String>,
    }
    /// It looks for certificates, and the image has none.
    "no-certificates" NoCertificates {}
    /// It looks up time zones, and the image has none.
    "no-time-zones" NoTimeZones {}
    /// It contains a path of the machine that built it, and the image has no such file.
    "machine-path" MachinePath {
        /// The path.
        path: String,
        /// The cargo variable that it probably comes from.
        variable: Option<String>,
    }
}

/// The first few elements of a list, for a sentence.
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
                write!(
                    formatter,
                    "{path} has the {found} float ABI, but what it runs with has the {wanted} one"
                )
            }
            Self::Processor { path, needs, promised } => {
                write!(formatter, "{path} was built for {needs}, and the platform promises {promised}")
            }
            Self::Instruction { path, extension, instruction, function, promised } => write!(
                formatter,
                "{path} needs {extension} (`{instruction}` in {function}) and does not check for it; the \
                 platform promises {promised}"
            ),
            Self::Registers { path, function } => write!(
                formatter,
                "{path} calculates with the registers d16 to d31 (in {function}), which VFPv3-D16 lacks"
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
                    "the library {library}, which is to be preloaded, is not found; the program starts without it"
                )
            }
            Self::MissingVersion { version, library, needed_by, newest } => {
                write!(formatter, "{needed_by} needs {version} of {library}, which lacks it")?;
                match newest {
                    Some(newest) => write!(formatter, "; its newest version is {newest}"),
                    None => Ok(()),
                }
            }
            Self::VersionOfNothing { version, library, needed_by } => {
                write!(formatter, "{needed_by} needs {version} of {library}, which nothing loads")
            }
            Self::PackedRelocations { path, libc } => {
                write!(formatter, "{path} has packed relocations (DT_RELR), which {libc} does not support")
            }
            Self::MissingSymbol { symbols, needed_by } => {
                let plural = if symbols.len() == 1 { "symbol" } else { "symbols" };
                write!(formatter, "no library has the {plural} that {needed_by} needs: {}", some(symbols))
            }
            Self::PrivateVersion { library, needed_by } => {
                write!(formatter, "{needed_by} uses private symbols of {library}, which fit one version only")
            }
            Self::MissingInterpreter { interpreter, script } if interpreter.ends_with('\r') => write!(
                formatter,
                "{script} has Windows line endings: its interpreter would be `{}` with a carriage return",
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
                write!(formatter, "the library {path} is not in the search path of any loader")
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
                    .map_or_else(String::new, |name| format!(" (the value of `env!(\"{name}\")`)"));
                write!(
                    formatter,
                    "it contains the path {path} of the machine that built it{from}, but the image has no such file"
                )
            }
        }
    }
}

impl Problem {
    /// The name of what is missing or wrong. `[check] allow` calls it `missing`.
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

    /// Its severity by default.
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
