//! The implementation of a wrapper's script: `xbuild __zig SPEC TOOL ARGUMENTS…`.
//!
//! This runs in cargo's process group, so a signal that ends cargo also ends it. It must be fast: a crate with C code
//! calls it hundreds of times.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::scripts::Root;
use super::translate::{Task, Translation, translate};
use super::work::{Libraries, Note, has_sources};
use super::{REMARKS_VARIABLE, Spec, leading, leading_link, neutral, response, scripts, side};
use crate::elf::{ParseError, runpath_to_rpath};
use crate::sys::env::{self, Environment};
use crate::sys::process::{Command, ProcessError};
use crate::sys::{fs, store};
use crate::target::catalog::Target;

/// The hidden command with which the programs are called as a wrapper.
pub(crate) const COMMAND: &str = "__zig";
/// The name of zig's C compiler for callers that always compile for the target.
pub(crate) const LINKER: &str = "linker";
/// The tool that wraps the host's pkg-config.
pub(crate) const PKG_CONFIG: &str = "pkg-config";
/// The tool that only reports for whom it is called: its exit code is 0 for the target.
pub(crate) const SIDE: &str = "side";

/// The exit code if zig could not be run.
const FAILED: u8 = 1;

/// Why a wrapper fails apart from the program that it calls.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the wrapper was called without a specification and a tool")]
    Usage,
    #[error(
        "`{0}` is to be compiled, and there is no C compiler: `toolchain = \"lld\"` only links; use `\"zig\"` or `\"auto\"`"
    )]
    NoCompiler(String),
    #[error(
        "`{0}` asks for LLVM's C++ library, and the sysroot has GNU's; leave it out, and link `stdc++` if a library is named"
    )]
    NoLibcxx(String),
    #[error("neither pkg-config nor pkgconf is installed")]
    NoPkgConfig,
    #[error("the wrapper's specification is wrong: {0}")]
    Spec(#[from] serde_json::Error),
    #[error("the wrapper's target `{0}` is not known to this version")]
    Target(String),
    #[error(
        "`{0}` compiles for the processor of this machine, which the platform does not promise; leave it out, or allow it \
         with `allow-native-cpu = true` under [payload]"
    )]
    Native(String),
    #[error(transparent)]
    Refused(#[from] super::translate::Refused),
    #[error("the file that zig has linked cannot be read: {0}")]
    Linked(#[from] ParseError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Process(#[from] ProcessError),
}

/// Runs a tool of zig in place of another compiler. `arguments` are those after [`COMMAND`]; the output of zig and the
/// wrapper is written to `stderr`. Returns the exit code.
pub(crate) fn run(
    arguments: impl IntoIterator<Item = OsString>,
    environment: &Environment,
    stderr: &mut dyn Write,
) -> u8 {
    ended(call(arguments.into_iter().collect(), environment, stderr), stderr)
}

/// The exit code of a call; an error is written to `stderr`.
pub(crate) fn ended(result: Result<u8, Error>, stderr: &mut dyn Write) -> u8 {
    match result {
        Ok(code) => code,
        Err(error) => {
            // If stderr is closed, the error cannot be reported.
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
    if spec.host {
        let (triple, arguments) = (&spec.triple, arguments.as_slice());
        let call = Call { triple, spec: &path, root: None, tool: &tool, arguments };
        if let Some(result) = on_host(&call, environment) {
            return result;
        }
    }
    let tool = if tool == LINKER { "cc".into() } else { tool };
    let read = |path: &OsStr| fs::read(Path::new(path));
    let zig = neutral::plain(&spec).arg(&tool);
    if tool != "cc" && tool != "c++" {
        return Err(zig.args(arguments).exec().into());
    }
    let target = Target::by_triple(&spec.triple).ok_or_else(|| Error::Target(spec.triple.clone()))?;
    let arguments = response::expand(arguments, &read)?;
    if !spec.native {
        refuse_native(&arguments)?;
    }
    let translation = translate(&arguments, target, &spec.version, spec.objcopy.is_some())?;
    append(&Note::remarks("zig", &spec.triple, &translation.remarks), environment)?;
    match translation.task {
        Task::Ask => Err(zig.args(leading(&spec)).args(translation.arguments).exec().into()),
        Task::Compile => {
            // The real path is mapped, even if the directory was reached through links.
            let dir = env::current_dir()?;
            let zig = zig.args(leading(&spec)).args(neutral::prefix_maps(&spec, environment, &dir));
            Err(zig.args(translation.arguments).env("PWD", dir).exec().into())
        }
        Task::Link(ref output) => link_program(&spec, &tool, output, &translation, environment, stderr),
    }
}

/// Links a program or library, and does the work that zig's linker leaves out.
fn link_program(
    spec: &Spec,
    tool: &OsString,
    output: &Path,
    translation: &Translation,
    environment: &Environment,
    stderr: &mut dyn Write,
) -> Result<u8, Error> {
    let mut all = leading_link(spec, !has_sources(&translation.arguments));
    all.extend(translation.arguments.iter().cloned());
    store::dir(&spec.cache)?;
    let libraries = Libraries::of(spec, tool, &all);
    let told = libraries.may_be_missing();
    if told {
        append(&[Note::waiting(spec, &libraries)], environment)?;
    }
    let dir = output.parent().unwrap_or(Path::new("."));
    let linked = link(neutral::linking(spec).arg(tool), &all, dir);
    if told {
        append(&[Note::ended(spec, &libraries)], environment)?;
    }
    let (exit, said) = linked?;
    stderr.write_all(&said)?;
    if exit != 0 {
        return Ok(exit);
    }
    libraries.are_there()?;
    if translation.rpath {
        let mut bytes = fs::read(output)?;
        if runpath_to_rpath(&mut bytes)? {
            fs::write_atomic(output, &bytes, 0o755)?;
        }
    }
    match (&spec.objcopy, translation.strip) {
        (Some(objcopy), Some(what)) => {
            let search = environment.var_os("LD_LIBRARY_PATH");
            Ok(code(objcopy.strip(what, output, search).inherit()?.code()))
        }
        _ => Ok(0),
    }
}

/// A call of a wrapper's tool by a caller that may want a program for the host.
pub(crate) struct Call<'a> {
    /// The target's triple, which is also the host's.
    pub triple: &'a str,
    /// The path of the wrapper's specification.
    pub spec: &'a Path,
    /// The target's own libraries, if there are any.
    pub root: Option<&'a Root>,
    /// The tool.
    pub tool: &'a OsStr,
    /// Its arguments.
    pub arguments: &'a [OsString],
}

/// Handles calls for the host, and tools that no compiler has. `None` for all other calls.
pub(crate) fn on_host(call: &Call<'_>, environment: &Environment) -> Option<Result<u8, Error>> {
    if call.tool == LINKER {
        return None;
    }
    let for_host = side::is_for_host(call.triple, environment);
    let tool = call.tool.to_str().filter(|tool| for_host || [SIDE, PKG_CONFIG].contains(tool))?;
    if tool == SIDE {
        return Some(Ok(u8::from(for_host)));
    }
    let wrappers = call.spec.parent().and_then(Path::parent).unwrap_or(call.spec);
    let (program, first) = side::host_tool(tool, wrappers, environment);
    let command = |program: PathBuf| {
        let command = Command::new(program).args(first.clone()).args(call.arguments.iter().cloned());
        if for_host {
            return command;
        }
        let variables = scripts::pkg_config(&call.spec.with_file_name("empty"), call.root);
        variables.into_iter().fold(command, |command, (name, value)| match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        })
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

/// Refuses an argument that selects the processor of this machine. `-mtune=native` does not restrict the processors on
/// which the code runs.
pub(crate) fn refuse_native(arguments: &[OsString]) -> Result<(), Error> {
    let is_native =
        |argument: &&OsString| matches!(argument.to_str(), Some("-march=native" | "-mcpu=native"));
    match arguments.iter().find(is_native) {
        Some(argument) => Err(Error::Native(argument.to_string_lossy().into_owned())),
        None => Ok(()),
    }
}

fn link(zig: Command, arguments: &[OsString], dir: &Path) -> Result<(u8, Vec<u8>), Error> {
    let (status, said) = match response::for_zig(arguments) {
        Some(text) => {
            let mut file = fs::temporary_file(dir)?;
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
pub(crate) fn code(status: Option<i32>) -> u8 {
    status.and_then(|code| u8::try_from(code).ok()).unwrap_or(FAILED)
}

/// Stores notes for the xbuild that runs the build, which reports them. This is one short write to a file that is
/// opened for appending, so that the lines of concurrent wrappers do not mix.
pub(crate) fn append(kept: &[Note], environment: &Environment) -> io::Result<()> {
    let Some(path) = environment.path(REMARKS_VARIABLE).filter(|_| !kept.is_empty()) else { return Ok(()) };
    let mut lines = Vec::new();
    for one in kept {
        serde_json::to_writer(&mut lines, one)?;
        lines.push(b'\n');
    }
    fs::OpenOptions::new().create(true).append(true).open(path)?.write_all(&lines)
}

#[cfg(test)]
mod tests {
    use crate::target::abi::GlibcVersion;
    use semver::Version;

    use super::*;
    use crate::toolchain::driver::work::Library;
    use crate::toolchain::driver::{DIR_VARIABLE, Wrapper};
    use crate::toolchain::objcopy::Objcopy;
    use crate::toolchain::zig::{Zig, ZigWay};

    /// A wrapper around a shell script instead of zig.
    struct Fake {
        dir: fs::TempDir,
        spec: PathBuf,
    }

    impl Fake {
        fn new(script: &str) -> Self {
            Self::make(script, false)
        }

        /// One that reports the directory of its own files.
        fn with_library(script: &str) -> Self {
            Self::make(script, true)
        }

        fn make(script: &str, has_library: bool) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let program = |name: &str, script: &str| {
                let path = dir.path().join(name);
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
            let library = dir.path().join("its lib");
            fs::create_dir(&library).unwrap();
            fs::write_atomic(&library.join("start.S"), b"", 0o644).unwrap();
            let spec = Spec::new(&zig, target, Some(GlibcVersion(2, 36)), Some(objcopy), dir.path())
                .with_library(has_library.then_some(library));
            let wrapper = Wrapper::install(spec, target, Path::new("/xbuild"), dir.path()).unwrap();
            Self { spec: wrapper.cc.with_file_name("spec.json"), dir }
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
        let output = fake.dir.path().join("out");
        let remarks = fake.dir.path().join("remarks");
        let environment = [(REMARKS_VARIABLE, remarks.as_os_str()), ("LD_LIBRARY_PATH", OsStr::new("/own"))]
            .into_iter()
            .collect();
        let arguments = ["a.o", "-Wl,--strip-debug", "-Wl,-O1", "-o", output.to_str().unwrap()];
        let (code, said) = fake.run(&arguments, &environment);
        assert_eq!(code, 0, "{said}");
        let leading = "-target\naarch64-linux-gnu.2.36\n-fno-sanitize=all\n-g\n-O2\n-Wl,--no-gc-sections";
        assert_eq!(said, format!("cc\n{leading}\na.o\n"));
        assert_eq!(fs::read_to_string(&output).unwrap(), "linked\nstripped with /rust/lib:/own\n");
        let kept = fs::read_to_string(&remarks).unwrap();
        let kept: Vec<Note> = kept.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let triple = || "aarch64-unknown-linux-gnu".to_owned();
        assert!(matches!(&kept[1], Note::Remark { argument, .. } if argument == "-O1"), "{kept:?}");
        let library = Library::C;
        assert_eq!(
            kept[2..],
            [Note::Waiting { triple: triple(), library }, Note::Ended { triple: triple(), library }]
        );
        // The libraries exist after the first link.
        fake.run(&arguments, &environment);
        assert_eq!(fs::read_to_string(&remarks).unwrap().lines().count(), 6);
    }

    #[test]
    fn a_link_runs_where_it_was_called_and_knows_no_directory_of_the_machine() {
        let fake = Fake::with_library(
            "echo \"$PWD $ZIG_LOCAL_CACHE_DIR $ZIG_LIB_DIR $*\" >&2; ls $ZIG_LIB_DIR >&2; exit 1",
        );
        let (_, said) = fake.run(&["a b.o", "-o", "x"], &Environment::default());
        let leading = "-target aarch64-linux-gnu.2.36 -fno-sanitize=all -g -O2 -Wl,--no-gc-sections";
        let places = "/proc/self/cwd /proc/self/fd/8 /proc/self/fd/9";
        assert_eq!(said, format!("{places} cc {leading} a b.o -o x\nstart.S\n"));
        let (_, said) = fake.run(&["a.c", "-o", "x"], &Environment::default());
        assert!(said.contains("-g a.c -o x"), "one that compiles is not told how: {said}");
    }

    #[test]
    fn what_zig_says_and_its_code_are_kept() {
        let fake = Fake::new("echo 'error: unsupported linker arg: --odd' >&2; exit 3");
        let (code, said) = fake.run(&["a.o", "-Wl,--odd", "-o", "x"], &Environment::default());
        assert_eq!((code, said.as_str()), (3, "error: unsupported linker arg: --odd\n"));
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
        let dir = fake.dir.path().join("o");
        fs::create_dir(&dir).unwrap();
        let response = fake.dir.path().join("response");
        fs::write_atomic(&response, "/some/long/path.o\n".repeat(60_000).as_bytes(), 0o644).unwrap();
        let given = format!("@{}", response.display());
        let output = dir.join("out");
        let (code, said) = fake.run(&[&given, "-o", output.to_str().unwrap()], &Environment::default());
        assert_eq!((code, said.as_str()), (0, "\"-target\""));
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0, "the file is gone");
    }

    #[test]
    fn what_is_for_the_host_goes_to_the_hosts_tools() {
        let fake = Fake::new("echo zig \"$1\" >&2");
        let spec = fs::read_to_string(&fake.spec).unwrap().replace("\"host\": false", "\"host\": true");
        fs::write_atomic(&fake.spec, spec.as_bytes(), 0o644).unwrap();
        let triple = "aarch64-unknown-linux-gnu";
        let variables = |out: &str| {
            let out = format!("/w/target/{out}release/build/a-1/out");
            [(DIR_VARIABLE, "/w/target"), ("OUT_DIR", out.as_str())].into_iter().collect::<Environment>()
        };
        let path = fake.spec.clone();
        let side =
            |environment: &Environment| run([path.clone().into(), SIDE.into()], environment, &mut Vec::new());
        let (host, target) = (variables(""), variables(&format!("{triple}/")));
        assert_eq!((side(&host), side(&target)), (1, 0));
        // Programs that would replace this process cannot be tested here; calls of zig can.
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
