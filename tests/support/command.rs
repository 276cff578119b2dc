//! Child processes with time limits. No test can hang: every process has a limit, and its process group is ended with
//! it.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use xbuild::error::ExitCode;

/// The time limit of a tool.
const TOOL_LIMIT: Duration = Duration::from_secs(300);
/// The time limit of xbuild: a cold run fetches toolchains and packages, while other tests do the same.
const XBUILD_LIMIT: Duration = Duration::from_secs(1500);

/// Every process that a run starts inherits this variable, so that survivors can be found.
const MARK: &str = "XBUILD_TEST_RUN";

/// A program to run.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    program: OsString,
    arguments: Vec<OsString>,
    wrapper: Vec<OsString>,
    environment: Vec<(OsString, Option<OsString>)>,
    dir: Option<PathBuf>,
    limit: Duration,
}

/// A program that runs.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    stdout: File,
    stderr: File,
    line: String,
    mark: String,
    start: Instant,
    limit: Duration,
    reaped: bool,
}

/// A program that has ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) line: String,
    pub(crate) elapsed: Duration,
}

/// A tool, found on `PATH`.
pub(crate) fn tool(program: impl Into<OsString>) -> Run {
    super::times::start();
    Run {
        program: program.into(),
        arguments: Vec::new(),
        wrapper: Vec::new(),
        environment: Vec::new(),
        dir: None,
        limit: TOOL_LIMIT,
    }
}

/// xbuild, with the tests' own cache and independent of the surroundings of `cargo test`.
pub(crate) fn xbuild() -> Run {
    xbuild_at(Path::new(env!("CARGO_BIN_EXE_xbuild")))
}

/// The cargo subcommand's binary.
pub(crate) fn cargo_xbuild() -> Run {
    xbuild_at(Path::new(env!("CARGO_BIN_EXE_cargo-xbuild")))
}

/// A program in the environment that xbuild itself gets.
pub(crate) fn xbuild_at(program: &Path) -> Run {
    let mut run = tool(program);
    run.limit = XBUILD_LIMIT;
    for (name, _) in std::env::vars_os() {
        if disturbs(&name.to_string_lossy()) {
            run = run.env_remove(&name);
        }
    }
    run.env("XDG_CACHE_HOME", super::scratch_root().join("cache"))
        .env("XDG_CONFIG_HOME", configuration_dir())
        .env("NO_PROXY", "127.0.0.1,localhost")
}

/// True for variables that `cargo test` and its caller set for this process, and for those that would configure the
/// runs.
fn disturbs(name: &str) -> bool {
    let ours = ["CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_BIN_", "CARGO_BUILD_", "CARGO_PROFILE_", "XBUILD_"];
    let exact = [
        "CARGO",
        "CARGO_CRATE_NAME",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_INCREMENTAL",
        "CARGO_PRIMARY_PACKAGE",
        "CARGO_TARGET_DIR",
        "CARGO_TARGET_TMPDIR",
        "CARGO_TERM_COLOR",
        "CI",
        "CLICOLOR",
        "CLICOLOR_FORCE",
        "LD_LIBRARY_PATH",
        "NO_COLOR",
        "RUSTFLAGS",
        "SOURCE_DATE_EPOCH",
    ];
    exact.contains(&name) || ours.iter().any(|prefix| name.starts_with(prefix))
}

/// A configuration directory without a file of xbuild's, but with the user's own for pip and uv, since the package
/// index is a setting of the machine.
fn configuration_dir() -> PathBuf {
    let dir = super::scratch_root().join("config");
    fs::create_dir_all(&dir).expect("the scratch directory is ours");
    let own = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".config")));
    for name in ["pip", "uv"] {
        if let Some(existing) = own.as_ref().map(|own| own.join(name)).filter(|path| path.is_dir()) {
            // Another test may have made the link already.
            std::os::unix::fs::symlink(existing, dir.join(name)).ok();
        }
    }
    dir
}

impl Run {
    pub(crate) fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    pub(crate) fn args<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// The arguments of a command line without quoting.
    pub(crate) fn words(self, words: &str) -> Self {
        self.args(words.split_whitespace())
    }

    pub(crate) fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.as_ref().to_owned(), Some(value.as_ref().to_owned())));
        self
    }

    pub(crate) fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.as_ref().to_owned(), None));
        self
    }

    pub(crate) fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// Runs `wrapper` with the program and its arguments appended.
    pub(crate) fn wrapped<A: Into<OsString>>(mut self, wrapper: impl IntoIterator<Item = A>) -> Self {
        self.wrapper = wrapper.into_iter().map(Into::into).collect();
        self
    }

    /// Runs it with this umask.
    pub(crate) fn umask(self, mask: &str) -> Self {
        self.wrapped([
            "sh".to_owned(),
            "-c".to_owned(),
            format!("umask {mask}; exec \"$@\""),
            "sh".to_owned(),
        ])
    }

    pub(crate) fn start(self) -> Running {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let mark = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let words: Vec<OsString> =
            self.wrapper.into_iter().chain([self.program]).chain(self.arguments).collect();
        let line = words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        // Files and not pipes: a process that keeps them open cannot block the test, and nothing blocks on the test.
        let [stdout, stderr] = [(); 2].map(|()| tempfile::tempfile().expect("a temporary file"));
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).process_group(0).stdin(Stdio::null()).env(MARK, &mark);
        command.stdout(stdout.try_clone().expect("a second handle"));
        command.stderr(stderr.try_clone().expect("a second handle"));
        for (name, value) in self.environment {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        if let Some(dir) = self.dir {
            command.current_dir(dir);
        }
        let start = Instant::now();
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start `{line}`: {error}"));
        Running { child, stdout, stderr, line, mark, start, limit: self.limit, reaped: false }
    }

    #[track_caller]
    pub(crate) fn run(self) -> Finished {
        self.start().wait()
    }

    /// Runs it to success and returns its standard output.
    #[track_caller]
    pub(crate) fn text(self) -> String {
        self.run().success().stdout
    }
}

impl Running {
    /// Sends a signal to the process itself, not to its group.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal)
            .expect("the process exists until it is waited for");
    }

    /// The largest resident set that it has had so far, in KiB; 0 when it has ended.
    ///
    /// `spawn` returns a moment before the child has its own memory: until then the kernel reports the tests' memory
    /// and program.
    pub(crate) fn peak(&self) -> u64 {
        let process = Path::new("/proc").join(self.child.id().to_string());
        let program = fs::read_link(process.join("exe")).ok();
        if program.is_none() || program == std::env::current_exe().ok() {
            return 0;
        }
        let status = fs::read_to_string(process.join("status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
        line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child of ours").is_some()
    }

    /// What it has written to its standard error so far.
    pub(crate) fn stderr(&self) -> String {
        contents(&self.stderr)
    }

    #[track_caller]
    pub(crate) fn wait(mut self) -> Finished {
        loop {
            if let Some(status) = self.child.try_wait().expect("a child of ours") {
                self.reaped = true;
                return Finished {
                    status,
                    stdout: contents(&self.stdout),
                    stderr: contents(&self.stderr),
                    line: std::mem::take(&mut self.line),
                    elapsed: self.start.elapsed(),
                };
            }
            let (line, limit) = (&self.line, self.limit);
            assert!(
                self.start.elapsed() < limit,
                "`{line}` did not end within {limit:?}; it wrote\n{}",
                contents(&self.stderr)
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// A name by which [`survivors`] finds processes that this run leaves behind.
    pub(crate) fn mark(&self) -> String {
        self.mark.clone()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.reaped {
            kill_process_group(Pid::from_child(&self.child), Signal::KILL).ok();
            self.child.wait().ok();
        }
    }
}

fn contents(file: &File) -> String {
    // With a separate file position: the child shares the handle's.
    let length = file.metadata().expect("a plain file").len();
    let mut bytes = vec![0; usize::try_from(length).expect("output fits into memory")];
    file.read_exact_at(&mut bytes, 0).expect("a plain file that only grows");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The command lines of the processes that still run from the run with this mark.
pub(crate) fn survivors(mark: &str) -> Vec<String> {
    let wanted = format!("{MARK}={mark}");
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc is mounted").flatten() {
        // A process may end meanwhile, and a zombie has no environment any more.
        let Ok(environment) = fs::read(entry.path().join("environ")) else { continue };
        if environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes()) {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            found.push(String::from_utf8_lossy(&line).replace('\0', " "));
        }
    }
    found
}

impl Finished {
    #[track_caller]
    pub(crate) fn success(self) -> Self {
        assert!(self.status.success(), "{}", self.describe());
        self
    }

    /// Asserts the exit code, that standard output is empty, and that standard error contains each of `words`, in this
    /// order.
    #[track_caller]
    pub(crate) fn fails(self, code: ExitCode, words: &[&str]) -> Self {
        assert_eq!(self.status.code(), Some(code.number().into()), "not {code}: {}", self.describe());
        assert_eq!(self.stdout, "", "a failure prints no reference: {}", self.describe());
        self.tells(words)
    }

    /// Asserts that standard error contains each of `words`, in this order.
    #[track_caller]
    pub(crate) fn tells(self, words: &[&str]) -> Self {
        let mut rest = self.stderr.as_str();
        for word in words {
            let Some(position) = rest.find(word) else {
                panic!("`{word}` is missing, or not in its place: {}", self.describe());
            };
            rest = &rest[position + word.len()..];
        }
        self
    }

    /// The digest in the reference on standard output, which must contain nothing else.
    #[track_caller]
    pub(crate) fn digest(&self) -> String {
        let line = self.stdout.strip_suffix('\n').unwrap_or_default();
        let digest = line.rsplit_once('@').map(|(_, digest)| digest).unwrap_or_default();
        assert!(
            super::layout::is_digest(digest) && !line.contains('\n'),
            "not one line with a reference: {}",
            self.describe()
        );
        digest.to_owned()
    }

    pub(crate) fn was_killed(&self) -> bool {
        self.status.signal() == Some(9)
    }

    pub(crate) fn describe(&self) -> String {
        format!(
            "`{}` ended with {} after {:?}\n-- stdout\n{}\n-- stderr\n{}",
            self.line, self.status, self.elapsed, self.stdout, self.stderr
        )
    }
}
