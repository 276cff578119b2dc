//! What happens when a wrapper's script is called: `xbuild __zig SPEC TOOL ARGUMENTS…`.
//!
//! This runs inside of cargo's process group, so whatever ends cargo ends it, and must stay quick: a crate with
//! C code calls it hundreds of times.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::translate::{Remark, Task, translate};
use super::{PREFIXES_VARIABLE, REMARKS_VARIABLE, SEPARATOR, Spec, leading, pinned, response, side};
use crate::catalog::Target;
use crate::elf::{ParseError, runpath_to_rpath};
use crate::sys::env::Environment;
use crate::sys::fs;
use crate::sys::process::{Command, ProcessError};

/// The hidden command, by which the programs know that they are called as a wrapper.
pub(super) const COMMAND: &str = "__zig";
/// The tool that is zig's C compiler for whoever knows that it is for the target.
pub(super) const LINKER: &str = "linker";
/// The tool that stands for the host's pkg-config.
pub(super) const PKG_CONFIG: &str = "pkg-config";
/// The tool that does nothing but say for whom it is called: its exit code is 0 for the target.
pub(super) const SIDE: &str = "side";

/// The exit code when zig did not come to run.
const FAILED: u8 = 1;

/// Why a wrapper fails before or beside what it calls.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("the wrapper was called without a specification and a tool")]
    Usage,
    #[error("neither pkg-config nor pkgconf is installed")]
    NoPkgConfig,
    #[error("the wrapper's specification is wrong: {0}")]
    Spec(#[from] serde_json::Error),
    #[error("the wrapper's target `{0}` is not known to this version")]
    Target(String),
    #[error(transparent)]
    Refused(#[from] super::translate::Refused),
    #[error("what zig has linked cannot be read: {0}")]
    Linked(#[from] ParseError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Process(#[from] ProcessError),
}

/// A remark as it is kept for the xbuild that runs the build.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct KeptRemark {
    /// The linker or compiler that is not told.
    pub(crate) tool: String,
    pub(crate) triple: String,
    pub(crate) argument: String,
    pub(crate) reason: String,
}

/// Runs a tool of zig as another compiler would run. `arguments` are those after [`COMMAND`]; what zig and the
/// wrapper have to say goes to `stderr`. Returns the exit code.
pub(super) fn run(
    arguments: impl IntoIterator<Item = OsString>,
    environment: &Environment,
    stderr: &mut dyn Write,
) -> u8 {
    ended(call(arguments.into_iter().collect(), environment, stderr), stderr)
}

/// The exit code of a call, whose error goes to `stderr`.
pub(super) fn ended(result: Result<u8, Error>, stderr: &mut dyn Write) -> u8 {
    match result {
        Ok(code) => code,
        Err(error) => {
            // Whoever called a compiler and has closed its stderr wants no explanation.
            writeln!(stderr, "xbuild: {error}").ok();
            FAILED
        }
    }
}

fn call(arguments: Vec<OsString>, environment: &Environment, stderr: &mut dyn Write) -> Result<u8, Error> {
    let mut arguments = arguments.into_iter();
    let (Some(path), Some(tool)) = (arguments.next(), arguments.next()) else { return Err(Error::Usage) };
    let path = PathBuf::from(path);
    let spec: Spec = serde_json::from_slice(&fs::read(&path)?)?;
    if spec.host
        && let Some(result) = on_host(&spec, &path, &tool, arguments.as_slice(), environment)
    {
        return result;
    }
    let tool = if tool == LINKER { "cc".into() } else { tool };
    let read = |path: &OsStr| fs::read(Path::new(path));
    let mut zig = Command::new(&spec.zig).arg(&tool);
    for name in ["ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR"] {
        zig = zig.env(name, &spec.cache);
    }
    if tool != "cc" && tool != "c++" {
        return Err(zig.args(arguments).exec().into());
    }
    let target = Target::by_triple(&spec.triple).ok_or_else(|| Error::Target(spec.triple.clone()))?;
    let arguments = response::expand(arguments, &read)?;
    let translation = translate(&arguments, target, &spec.version, spec.objcopy.is_some())?;
    keep(&translation.remarks, "zig", &spec.triple, environment)?;
    match translation.task {
        Task::Ask => Err(zig.args(leading(&spec)).args(translation.arguments).exec().into()),
        Task::Compile => {
            let zig = zig.args(leading(&spec)).args(prefix_maps(environment));
            Err(zig.args(translation.arguments).exec().into())
        }
        Task::Link(output) => {
            // Without `-g` zig leaves out all symbols.
            let mut all = leading(&spec);
            all.push("-g".into());
            all.extend(translation.arguments);
            let folder = output.parent().unwrap_or(Path::new("."));
            let (exit, said) = link(zig, &all, folder)?;
            stderr.write_all(&said)?;
            if exit != 0 {
                explain(&String::from_utf8_lossy(&said), &spec, target, stderr)?;
                return Ok(exit);
            }
            if translation.rpath {
                let mut bytes = fs::read(&output)?;
                if runpath_to_rpath(&mut bytes)? {
                    fs::write_atomic(&output, &bytes, 0o755)?;
                }
            }
            match &spec.objcopy {
                Some(objcopy) if translation.strip_debug => {
                    let search = environment.var_os("LD_LIBRARY_PATH");
                    Ok(code(objcopy.strip_debug(&output, search).inherit()?.code()))
                }
                _ => Ok(0),
            }
        }
    }
}

/// What is called for the host, and what is asked for and no tool of zig's. `None` for all else.
fn on_host(
    spec: &Spec,
    path: &Path,
    tool: &OsStr,
    arguments: &[OsString],
    environment: &Environment,
) -> Option<Result<u8, Error>> {
    if tool == LINKER {
        return None;
    }
    let for_host = side::is_for_host(&spec.triple, environment);
    let tool = tool.to_str().filter(|tool| for_host || [SIDE, PKG_CONFIG].contains(tool))?;
    if tool == SIDE {
        return Some(Ok(u8::from(for_host)));
    }
    let wrappers = path.parent().and_then(Path::parent).unwrap_or(path);
    let (program, first) = side::host_tool(tool, wrappers, environment);
    let command = |program: PathBuf| {
        let command = Command::new(program).args(first.clone()).args(arguments.iter().cloned());
        if for_host {
            return command;
        }
        // It finds nothing then, and crates fall back to what they bring.
        let empty = path.with_file_name("empty");
        command
            .env("PKG_CONFIG_LIBDIR", empty)
            .env("PKG_CONFIG_PATH", "")
            .env_remove("PKG_CONFIG_SYSROOT_DIR")
    };
    let mut error = command(program).exec();
    if tool == PKG_CONFIG && error.is_not_found() {
        error = command("pkgconf".into()).exec();
        if error.is_not_found() {
            return Some(Err(Error::NoPkgConfig));
        }
    }
    Some(Err(error.into()))
}

fn link(zig: Command, arguments: &[OsString], folder: &Path) -> Result<(u8, Vec<u8>), Error> {
    let (status, said) = match response::for_zig(arguments) {
        Some(text) => {
            let mut file = fs::temporary_file(folder)?;
            file.write_all(&text)?;
            let mut argument = OsString::from("@");
            argument.push(file.path());
            zig.arg(argument).inherit_stdout()?
        }
        None => zig.args(arguments.iter().cloned()).inherit_stdout()?,
    };
    Ok((code(status.code()), said))
}

/// A program's exit code.
pub(super) fn code(status: Option<i32>) -> u8 {
    status.and_then(|code| u8::try_from(code).ok()).unwrap_or(FAILED)
}

/// Arguments that keep the paths of this machine out of C objects (`__FILE__`, debug information).
fn prefix_maps(environment: &Environment) -> Vec<OsString> {
    let prefixes = environment.var(PREFIXES_VARIABLE).unwrap_or_default();
    prefixes
        .split(SEPARATOR)
        .filter(|prefix| !prefix.is_empty())
        .map(|prefix| format!("-ffile-prefix-map={prefix}").into())
        .collect()
}

/// Keeps remarks for the xbuild that runs the build, which reports them. One short write to a file that is
/// opened for appending, so that wrappers that do this at once don't mix their lines.
pub(super) fn keep(
    remarks: &[Remark],
    tool: &str,
    triple: &str,
    environment: &Environment,
) -> io::Result<()> {
    let Some(path) = environment.path(REMARKS_VARIABLE) else { return Ok(()) };
    let mut lines = Vec::new();
    for remark in remarks {
        let kept = KeptRemark {
            tool: tool.to_owned(),
            triple: triple.to_owned(),
            argument: remark.argument.clone(),
            reason: remark.reason.clone(),
        };
        serde_json::to_writer(&mut lines, &kept)?;
        lines.push(b'\n');
    }
    if lines.is_empty() {
        return Ok(());
    }
    fs::OpenOptions::new().create(true).append(true).open(path)?.write_all(&lines)
}

/// Adds what a person needs to know to zig's own message.
fn explain(said: &str, spec: &Spec, target: &Target, stderr: &mut dyn Write) -> io::Result<()> {
    for line in said.lines() {
        if let Some(argument) = after(line, "unsupported linker arg: ")
            .or_else(|| after(line, "unsupported linker extension flag: "))
        {
            writeln!(
                stderr,
                "xbuild: zig {} does not take the linker argument `{argument}`. Nothing in the list of known \
                 arguments says what to do about it. It comes from rustflags, from `.cargo/config.toml` or from \
                 a build script that prints `cargo::rustc-link-arg`",
                spec.version
            )?;
        } else if let Some(rest) = after(line, "unable to find dynamic system library '") {
            let library = rest.split('\'').next().unwrap_or(rest);
            writeln!(
                stderr,
                "xbuild: the program links the system library `{library}`, of which there is none for {}. Have \
                 the crate build its own (a feature named `bundled`, `vendored` or `static`)",
                target.triple
            )?;
        } else if line.contains("libc of the specified target requires dynamic linking") {
            writeln!(stderr, "xbuild: zig links glibc dynamically only; build for a musl target")?;
        }
    }
    if spec.version < *pinned() && said.contains("error: sub-compilation of") {
        writeln!(stderr, "xbuild: zig {} could not build its own libraries; {} may", spec.version, pinned())?;
    }
    Ok(())
}

fn after<'a>(line: &'a str, words: &str) -> Option<&'a str> {
    line.split_once(words).map(|(_, rest)| rest.trim())
}

#[cfg(test)]
mod tests {
    use semver::Version;

    use super::*;
    use crate::compile::wrapper::{FOLDER_VARIABLE, Wrapper};
    use crate::settings::ZigWay;
    use crate::toolchain::objcopy::Objcopy;
    use crate::toolchain::zig::Zig;

    /// A wrapper around a shell script in zig's place.
    struct Fake {
        folder: fs::TempDir,
        spec: PathBuf,
    }

    impl Fake {
        fn new(script: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let program = |name: &str, script: &str| {
                let path = folder.path().join(name);
                fs::write_atomic(&path, format!("#!/bin/sh\n{script}\n").as_bytes(), 0o755).unwrap();
                path
            };
            let zig =
                Zig { program: program("zig", script), version: Version::new(0, 17, 1), way: ZigWay::Cache };
            let objcopy = Objcopy {
                program: program("objcopy", "echo stripped with $LD_LIBRARY_PATH >> \"$2\""),
                libraries: PathBuf::from("/rust/lib"),
            };
            let target = Target::by_triple("aarch64-unknown-linux-gnu").unwrap();
            let spec = Spec::new(&zig, target, Some((2, 36)), Some(objcopy), folder.path());
            let wrapper = Wrapper::install(spec, target, Path::new("/xbuild"), folder.path()).unwrap();
            Self { spec: wrapper.cc.with_file_name("spec.json"), folder }
        }

        fn run(&self, arguments: &[&str], environment: &Environment) -> (u8, String) {
            let mut stderr = Vec::new();
            let all = [self.spec.to_str().unwrap(), "cc"].into_iter().chain(arguments.iter().copied());
            let code = run(all.map(OsString::from), environment, &mut stderr);
            (code, String::from_utf8(stderr).unwrap())
        }
    }

    #[test]
    fn links_and_strips_only_the_debug_information() {
        let fake = Fake::new("while [ \"$1\" != -o ]; do echo \"$1\" >&2; shift; done; echo linked > \"$2\"");
        let output = fake.folder.path().join("out");
        let remarks = fake.folder.path().join("remarks");
        let environment = [(REMARKS_VARIABLE, remarks.as_os_str()), ("LD_LIBRARY_PATH", OsStr::new("/own"))]
            .into_iter()
            .collect();
        let arguments = ["a.o", "-Wl,--strip-debug", "-Wl,-O1", "-o", output.to_str().unwrap()];
        let (code, said) = fake.run(&arguments, &environment);
        assert_eq!(code, 0, "{said}");
        assert_eq!(said, "cc\n-target\naarch64-linux-gnu.2.36\n-fno-sanitize=all\n-g\na.o\n");
        assert_eq!(fs::read_to_string(&output).unwrap(), "linked\nstripped with /rust/lib:/own\n");
        let kept = fs::read_to_string(&remarks).unwrap();
        let kept: Vec<KeptRemark> = kept.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(kept.len(), 2);
        assert_eq!(
            (kept[1].triple.as_str(), kept[1].argument.as_str()),
            ("aarch64-unknown-linux-gnu", "-O1")
        );
    }

    #[test]
    fn a_refusal_of_zig_is_explained_and_its_code_is_kept() {
        let fake = Fake::new("echo 'error: unsupported linker arg: --odd' >&2; exit 3");
        let (code, said) = fake.run(&["a.o", "-Wl,--odd", "-o", "x"], &Environment::default());
        assert_eq!(code, 3);
        assert!(said.starts_with("error: unsupported linker arg: --odd\nxbuild: "), "{said}");
        let fake = Fake::new("echo \"error: unable to find dynamic system library 'pq' using\" >&2; exit 1");
        let (_, said) = fake.run(&["a.o", "-lpq", "-o", "x"], &Environment::default());
        assert!(said.contains("system library `pq`"), "{said}");
    }

    #[test]
    fn what_zig_cannot_do_is_refused_before_it_runs() {
        let fake = Fake::new("echo ran >&2");
        let (code, said) = fake.run(&["a.o", "-Wl,--emit-relocs", "-o", "x"], &Environment::default());
        assert_eq!(code, FAILED);
        assert!(said.contains("zig cannot take `--emit-relocs`") && !said.contains("ran"), "{said}");
    }

    #[test]
    fn a_long_command_line_goes_through_a_file() {
        let fake = Fake::new("for last; do :; done; head -c 9 \"${last#@}\" >&2");
        let folder = fake.folder.path().join("o");
        fs::create_dir(&folder).unwrap();
        let response = fake.folder.path().join("response");
        fs::write_atomic(&response, "/some/long/path.o\n".repeat(60_000).as_bytes(), 0o644).unwrap();
        let given = format!("@{}", response.display());
        let output = folder.join("out");
        let (code, said) = fake.run(&[&given, "-o", output.to_str().unwrap()], &Environment::default());
        assert_eq!((code, said.as_str()), (0, "\"-target\""));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "the file is gone");
    }

    #[test]
    fn what_is_for_the_host_goes_to_the_hosts_tools() {
        let fake = Fake::new("echo zig \"$1\" >&2");
        let spec = fs::read_to_string(&fake.spec).unwrap().replace("\"host\": false", "\"host\": true");
        fs::write_atomic(&fake.spec, spec.as_bytes(), 0o644).unwrap();
        let triple = "aarch64-unknown-linux-gnu";
        let variables = |out: &str| {
            let out = format!("/w/target/{out}release/build/a-1/out");
            [(FOLDER_VARIABLE, "/w/target"), ("OUT_DIR", out.as_str())].into_iter().collect::<Environment>()
        };
        let path = fake.spec.clone();
        let side =
            |environment: &Environment| run([path.clone().into(), SIDE.into()], environment, &mut Vec::new());
        let (host, target) = (variables(""), variables(&format!("{triple}/")));
        assert_eq!((side(&host), side(&target)), (1, 0));
        // What would replace this process cannot be tried here; what zig does, can.
        let link = |tool: &str, environment: &Environment| {
            let mut stderr = Vec::new();
            let arguments = [path.clone().into(), tool.into(), "a.o".into(), "-o".into(), "x".into()];
            assert_eq!(run(arguments, environment, &mut stderr), 0);
            String::from_utf8(stderr).unwrap()
        };
        assert_eq!(link("cc", &target), "zig cc\n");
        assert_eq!(link(LINKER, &host), "zig cc\n");
    }
}
