//! Explains messages of compilers, linkers and build scripts to users who build for another machine. Pure.
//!
//! These messages are other programs', and change with their versions. `said.toml` has what each supported program
//! really prints, and `tests/tools/explanations.rs` checks that with the programs that are installed.

use std::collections::BTreeSet;
use std::fmt;

use crate::packages;
use crate::toolchain::host_tools::{HostTool, Tool};
use crate::toolchain::provided;

/// At most this many explanations are shown; more do not help.
const MOST: usize = 4;

/// Why something did not compile or link, as far as the messages show.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The target's standard library is incomplete.
    Standard,
    /// A program that compiles or links is missing.
    Tool(String),
    /// A program or library that a build script needs on this machine is missing.
    HostTool(String),
    /// A library to link is missing.
    Library(String),
    /// A package of pkg-config is missing.
    Package(String),
    /// A header is missing.
    Header(String),
    /// No library has this symbol.
    Symbol(String),
    /// An object is for another machine.
    Foreign(String),
    /// zig's linker does not support an argument.
    Argument(String),
    /// zig was asked for a static program with glibc.
    StaticGlibc,
    /// zig could not build a library of its own.
    OwnLibrary,
    /// The compiler was killed.
    Killed,
}

impl fmt::Display for Cause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Standard => formatter
                .write_str("the standard library of the target is damaged: remove and add it with rustup"),
            Self::Tool(tool) => write!(
                formatter,
                "`{tool}` is not installed: install it, or remove the setting that names it (`linker` in \
                 `.cargo/config.toml`, a variable such as `CC_…`), and zig compiles and links"
            ),
            Self::HostTool(name) => {
                let remedy = Tool::by_name(name).map_or_else(|| "install it".to_owned(), Tool::remedy);
                write!(formatter, "`{name}` is not installed on this machine: {remedy}")
            }
            Self::Library(library) => write!(
                formatter,
                "the program links the system library `{library}`, which is missing for this target: {}have the crate \
                 build its own (a feature named `bundled`, `vendored` or `static`), or name a directory that has it for \
                 the target (`-L` in the target's `rustflags`)",
                remedy(library)
            ),
            Self::Package(package) => write!(
                formatter,
                "a crate asks pkg-config for `{package}`, and this machine's own libraries are not for this target: {}have \
                 the crate build its own (a feature named `bundled`, `vendored` or `static`), or set \
                 `PKG_CONFIG_PATH_<target>` to a directory that describes the target's",
                remedy(package)
            ),
            Self::Header(header) => write!(
                formatter,
                "C code includes `{header}` of a library that is missing for this target: have the crate build its own \
                 (a feature named `bundled`, `vendored` or `static`), or name a directory that has it (`-I` in \
                 `CFLAGS_<target>`)"
            ),
            Self::Symbol(symbol) if symbol.contains("std::__cxx11::") => write!(
                formatter,
                "`{symbol}` is of GNU's C++ library, which an object compiled elsewhere needs, but zig links LLVM's: \
                 have the crate compile it here"
            ),
            Self::Symbol(symbol) => write!(
                formatter,
                "no linked library defines `{symbol}`: link the one that does (`cargo::rustc-link-lib`), unless it is \
                 of a newer glibc than the program is linked for"
            ),
            Self::Foreign(object) => write!(formatter, "`{object}` is for another machine: {CALLS_ANOTHER}"),
            Self::Argument(argument) => write!(
                formatter,
                "zig's linker does not support `{argument}`, and xbuild has no replacement for it: it \
                 comes from rustflags, from `.cargo/config.toml` or from a build script that prints \
                 `cargo::rustc-link-arg`"
            ),
            Self::StaticGlibc => {
                formatter.write_str("zig links glibc only dynamically: build for a musl target")
            }
            Self::OwnLibrary => write!(
                formatter,
                "zig could not build a library of its own; {} may, which `xbuild toolchain install zig` installs",
                provided::own_version()
            ),
            Self::Killed => formatter.write_str(KILLED),
        }
    }
}

/// What cargo says of a build script that failed, before the package.
const SCRIPT_FAILED: &str = "failed to run custom build command for ";

/// How a distribution's package with the library is used, if one is known.
fn remedy(library: &str) -> String {
    // A linker is also told a file's name.
    let name = library.strip_prefix("lib").and_then(|name| name.split_once(".so")).map(|(name, _)| name);
    let found = packages::remedy(library).or_else(|| packages::remedy(name?));
    found.map(|remedy| format!("{remedy}, ")).unwrap_or_default()
}

const KILLED: &str = "the compiler was killed, usually because memory ran out: try fewer jobs (`--jobs 1`)";

/// Why an object is for another machine, and what to do about it.
const CALLS_ANOTHER: &str = "the build script that made it calls a compiler of this machine by its own name, and not the one that `CC_<target>` \
     names. The crate may have a feature with which it compiles another way (such as `cmake-build`), or links a library of \
     the system";

/// The text before a name in a line, and the cause that the name belongs to.
type Phrase = (&'static str, fn(String) -> Cause);

const PHRASES: &[Phrase] = &[
    // zig, with the quotes of 0.15 and 0.16, and with those of 0.17.
    ("unable to find dynamic system library ", library),
    ("unable to find static system library ", library),
    ("unsupported linker arg: ", Cause::Argument),
    ("unsupported linker extension flag: ", Cause::Argument),
    // LLD.
    ("unable to find library -l", library),
    ("undefined symbol: ", Cause::Symbol),
    ("undefined hidden symbol: ", Cause::Symbol),
    ("undefined protected symbol: ", Cause::Symbol),
    // GNU ld and gold.
    ("cannot find -l", library),
    ("undefined reference to ", Cause::Symbol),
    // mold.
    ("library not found: ", library),
    // rustc.
    ("could not find native static library ", library),
    ("can't find crate for `std`", no_name),
    ("can't find crate for `core`", no_name),
    // cc-rs.
    ("failed to find tool ", Cause::Tool),
    // prost-build.
    ("Could not find `protoc`. ", protoc),
    // bindgen, and clang-sys by itself.
    ("Unable to find libclang: ", libclang),
    ("couldn't find any valid shared libraries matching: ['libclang", libclang),
    // nasm-rs.
    ("Unable to run nasm: No such file or directory", nasm),
    // capnpc.
    ("Failed to execute `capnp --version`: No such file or directory", capnp),
    // The pkg-config crate, and pkg-config.
    ("The system library `", Cause::Package),
    // zig.
    ("libc of the specified target requires dynamic linking", static_glibc),
    ("sub-compilation of ", own_library),
    // cargo.
    ("signal: 9, SIGKILL", killed),
];

/// `-l:libpq.so.5` names a file.
fn library(name: String) -> Cause {
    Cause::Library(name.strip_prefix(':').map(str::to_owned).unwrap_or(name))
}

fn no_name(_: String) -> Cause {
    Cause::Standard
}

fn protoc(_: String) -> Cause {
    Cause::HostTool("protoc".into())
}

fn libclang(_: String) -> Cause {
    Cause::HostTool("libclang".into())
}

fn nasm(_: String) -> Cause {
    Cause::HostTool("nasm".into())
}

fn capnp(_: String) -> Cause {
    Cause::HostTool("capnp".into())
}

fn static_glibc(_: String) -> Cause {
    Cause::StaticGlibc
}

fn own_library(_: String) -> Cause {
    Cause::OwnLibrary
}

fn killed(_: String) -> Cause {
    Cause::Killed
}

/// The causes that messages show, without duplicates, in the order of their kinds. `said` has no colours.
#[must_use]
pub fn causes(said: &str) -> BTreeSet<Cause> {
    said.lines().filter_map(cause).collect()
}

/// The causes as a hint, if there are any. `named` says where the failed linker is set, which is more useful than
/// saying that it is missing. `tools` are those of this machine that builds may need: if one is missing and the build of
/// a package failed that may need it, that is said, too. So it is if a build script failed and had `no_compiler`: nobody
/// knows what it does.
#[must_use]
pub(crate) fn hint(
    said: &str,
    named: Option<String>,
    tools: &[HostTool],
    no_compiler: bool,
) -> Option<String> {
    let mut causes = causes(said);
    causes.retain(|cause| named.is_none() || !matches!(cause, Cause::Tool(_)));
    let mut lines: Vec<String> = named.into_iter().collect();
    let missing = |name: &str| tools.iter().find(|tool| tool.is_missing() && tool.name == name);
    lines.extend(causes.iter().take(MOST).map(|cause| {
        match cause {
            Cause::HostTool(name) => missing(name)
                .map_or_else(|| cause.to_string(), |tool| format!("{}: {}", tool.lack(), tool.remedy())),
            cause => cause.to_string(),
        }
    }));
    if causes.len() > MOST {
        lines.push(format!("and {} more of these kinds", causes.len() - MOST));
    }
    let unsaid = tools.iter().filter(|tool| {
        tool.is_missing()
            && !causes.contains(&Cause::HostTool(tool.name.clone()))
            && tool.needed_by.iter().any(|by| says_script_failed(said, &by.package))
    });
    lines.extend(unsaid.map(HostTool::warning));
    if no_compiler && said.contains(SCRIPT_FAILED) {
        lines.push(format!(
            "build scripts had no compiler for C code of this target, since no crate is known to compile any: \
             `toolchain = \"{}\"` gives them one",
            provided::NAME
        ));
    }
    (!lines.is_empty()).then(|| lines.join("\n      "))
}

/// cargo: ``error: failed to run custom build command for `app v1.0.0 (/app)` ``.
fn says_script_failed(said: &str, package: &str) -> bool {
    said.contains(&format!("{SCRIPT_FAILED}`{package} v"))
}

fn cause(line: &str) -> Option<Cause> {
    if let Some(cause) = header(line)
        .or_else(|| linker(line))
        .or_else(|| foreign(line))
        .or_else(|| package(line))
        .or_else(|| not_installed(line))
    {
        return Some(cause);
    }
    PHRASES.iter().find_map(|(phrase, cause)| {
        let (_, rest) = line.split_once(phrase)?;
        // An opening quote in the phrase distinguishes it from other sentences that begin the same way.
        let rest = if phrase.ends_with(['`', '\'']) { &line[line.len() - rest.len() - 1..] } else { rest };
        Some(cause(name(rest)))
    })
}

/// clang: `fatal error: 'openssl/ssl.h' file not found`; GCC: `fatal error: openssl/ssl.h: No such file or directory`.
fn header(line: &str) -> Option<Cause> {
    let (_, rest) = line.split_once(" error: ")?;
    let (is_clang, is_gcc) =
        (rest.contains(" file not found"), rest.ends_with(": No such file or directory"));
    let is_header = is_clang || is_gcc && line.contains("fatal error: ");
    is_header.then(|| Cause::Header(name(rest.strip_suffix(": No such file or directory").unwrap_or(rest))))
}

/// rustc: ``linker `aarch64-linux-gnu-gcc` not found``.
fn linker(line: &str) -> Option<Cause> {
    let (_, rest) = line.split_once("error: linker ")?;
    rest.contains(" not found").then(|| Cause::Tool(name(rest)))
}

/// LLD: `error: libx.a(x.o) is incompatible with y.o`, or with its name of the machine.
fn foreign(line: &str) -> Option<Cause> {
    let (object, _) = line.split_once(" error: ")?.1.split_once(" is incompatible with ")?;
    let name = object.rsplit('/').next().unwrap_or(object);
    Some(Cause::Foreign(name.to_owned()))
}

/// The cmake package: ``is `cmake` not installed?``; openssl-src: `Command 'perl' not found. Is perl installed?`; a shell
/// that the autotools package starts: `make: 1: exec: make: not found`.
fn not_installed(line: &str) -> Option<Cause> {
    if let Some((_, rest)) = line.split_once(": exec: ") {
        return Some(Cause::HostTool(rest.strip_suffix(": not found")?.to_owned()));
    }
    let rest = line.strip_suffix(" installed?")?;
    let (before, program) = rest.strip_suffix(" not").unwrap_or(rest).rsplit_once(' ')?;
    let asks = before.rsplit(' ').next().is_some_and(|word| word == "is" || word == "Is");
    // `Is it installed?` asks about something else.
    Tool::by_name(&name(program)).filter(|_| asks).map(|tool| Cause::HostTool(tool.name.clone()))
}

/// pkgconf: `Package libpq was not found in the pkg-config search path.` and `Package 'libpq', required by 'virtual:world',
/// not found`.
fn package(line: &str) -> Option<Cause> {
    let rest = line.trim_start().strip_prefix("Package ")?;
    if let Some((package, _)) = rest.split_once(" was not found in the ") {
        return Some(Cause::Package(package.to_owned()));
    }
    rest.ends_with(", not found").then(|| Cause::Package(name(rest)))
}

/// The name at the beginning of a text: the part in quotes of any kind, or everything up to the end of the word. A
/// symbol may contain spaces, but then nothing follows it.
fn name(text: &str) -> String {
    let mut characters = text.chars();
    let closing: &[char] = match characters.next() {
        Some('`') => &['`', '\''],
        Some('\'') => &['\''],
        Some('"') => &['"'],
        Some('\u{2018}') => &['\u{2019}'],
        Some('\u{201c}') => &['\u{201d}'],
        _ => {
            let end = text.find(": ").unwrap_or(text.len());
            return text[..end].trim_end().to_owned();
        }
    };
    let inside = characters.as_str();
    inside.find(closing).map_or(inside, |end| &inside[..end]).to_owned()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::toolchain::host_tools::NeededBy;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Table {
        said: Vec<Said>,
    }

    /// What a tool printed, and its meaning: a kind of cause, with a name if it has one.
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Said {
        by: String,
        text: String,
        cause: String,
        #[serde(default)]
        name: String,
    }

    fn kind(cause: &Cause) -> (&'static str, &str) {
        match cause {
            Cause::Standard => ("standard", ""),
            Cause::Tool(name) => ("tool", name),
            Cause::HostTool(name) => ("host-tool", name),
            Cause::Library(name) => ("library", name),
            Cause::Package(name) => ("package", name),
            Cause::Header(name) => ("header", name),
            Cause::Symbol(name) => ("symbol", name),
            Cause::Foreign(name) => ("foreign", name),
            Cause::Argument(name) => ("argument", name),
            Cause::StaticGlibc => ("static-glibc", ""),
            Cause::OwnLibrary => ("own-library", ""),
            Cause::Killed => ("killed", ""),
        }
    }

    #[test]
    fn what_the_supported_tools_print_is_understood() {
        let table: Table = toml::from_str(include_str!("said.toml")).unwrap();
        for Said { by, text, cause, name } in table.said {
            let causes = causes(&text);
            let found: Vec<_> = causes.iter().map(kind).collect();
            if cause == "none" {
                assert_eq!(found, [], "{by}: {text}");
            } else {
                assert_eq!(found, [(cause.as_str(), name.as_str())], "{by}: {text}");
            }
        }
    }

    #[test]
    fn a_tool_is_told_with_what_this_machine_needs_or_for_a_build_that_may_need_it() {
        let tool = HostTool {
            name: "cmake".into(),
            is_library: false,
            needed_by: vec![NeededBy { package: "z-sys".into(), through: Some("cmake".into()) }],
            path: None,
            misnamed: None,
            variables: vec!["CMAKE".into()],
            install: Some("apk add cmake".into()),
        };
        let failed = "error: failed to run custom build command for `z-sys v1.0.0`\n";
        let said = format!("{failed}is `cmake` not installed?\n");
        let hint = |said: &str, tool: &HostTool| super::hint(said, None, std::slice::from_ref(tool), false);
        let expected = "`cmake` is not installed on this machine: install it with `apk add cmake`, or set CMAKE to its path";
        assert_eq!(hint(&said, &tool).unwrap(), expected);
        // A build may fail in any words.
        assert_eq!(hint(failed, &tool).unwrap(), tool.warning());
        assert_eq!(hint(&failed.replace("z-sys", "y-sys"), &tool), None);
        assert_eq!(hint(failed, &HostTool { path: Some("/bin/cmake".into()), ..tool }), None);
        // Nothing in the graph showed it, so how to install it on this machine is not known.
        let unknown = super::hint(&said, None, &[], false).unwrap();
        assert!(unknown.contains("`apt-get install cmake` on Debian"), "{unknown}");
    }

    #[test]
    fn each_cause_is_told_once_and_not_all_of_very_many() {
        let many = ["a", "b", "c", "d", "e", "f", "g", "h", "i"]
            .map(|name| format!("undefined symbol: {name}\n"))
            .concat();
        let hint = hint(&many.repeat(3), None, &[], false).unwrap();
        assert_eq!(hint.lines().count(), MOST + 1);
        assert!(hint.ends_with("and 5 more of these kinds"), "{hint}");
        assert_eq!(
            super::hint("error[E0425]: cannot find value `x` in this scope\n", None, &[], false),
            None
        );
        let failed = format!("error: {SCRIPT_FAILED}`app v1.0.0 (/app)`\n");
        let no_compiler = super::hint(&failed, None, &[], true).unwrap();
        assert!(no_compiler.contains("`toolchain = \"zig\"`"), "{no_compiler}");
        assert_eq!(super::hint(&failed, None, &[], false), None);
        let missing = "error: linker `clang` not found\n";
        assert_eq!(
            super::hint(missing, Some("it is named there".into()), &[], false).unwrap(),
            "it is named there"
        );
    }
}
