//! Child processes that end when they should.
//!
//! Every child leads a process group of its own. When the work is cancelled (Ctrl-C, a time limit), the whole group
//! gets SIGTERM and, two seconds later, SIGKILL, so that no compiler outlives its build. If a child exits while a
//! grandchild still holds its pipes (a compiler cache's server, say), we do not wait for the grandchild.

mod told;

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use super::cancel::{Cancel, Cancelled};
use super::clock::Instant;
use crate::error::{ExitCode, Explain};
use told::Told;

/// How long a cancelled group has between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(2);
/// How often starting a program is retried while the file is busy (`ETXTBSY`).
const BUSY_TRIES: u32 = 20;
/// A directory that always exists and contains none of a project's files.
const NEUTRAL: &str = "/";
/// How long pipes are read after the child itself has exited.
const DRAIN: Duration = Duration::from_secs(2);

/// A program to run, its arguments and the changes to its environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The program: a path, or a name that is looked up with `find`.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Variables to set (`Some`) or to remove (`None`); all others are inherited.
    pub environment: Vec<(OsString, Option<OsString>)>,
    /// Where it runs.
    pub directory: Directory,
    /// True if it sees the variables of [`CREDENTIALS`].
    pub credentials: bool,
    /// Its standard input; used by [`Command::lines`] and the methods that call it.
    pub input: Vec<u8>,
    /// The maximum number of bytes read of each output. A program that writes more gets a broken pipe.
    pub most: Option<u64>,
}

/// Where a program runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Directory {
    /// In `/`: Python, uv and others read modules and settings from the current directory, and the files there need not
    /// be trustworthy.
    #[default]
    Neutral,
    /// In xbuild's own current directory: for paths that the user gave to the program.
    Current,
    /// In this directory, because the program works on its content.
    At(PathBuf),
}

/// Variables with secrets that only xbuild itself needs. They are removed for the programs that it starts: cargo would
/// pass them on to every build script and procedural macro.
pub const CREDENTIALS: [&str; 3] =
    ["XBUILD_REGISTRY_PASSWORD", "XBUILD_REGISTRY_TOKEN", "DOCKER_AUTH_CONFIG"];

/// Looks up a program by its name in the absolute directories of `PATH`. `.` and an empty entry stand for the current
/// directory, which may contain anybody's files, and are skipped. A path with a slash is used as it is, relative to the
/// current directory.
///
/// The error is of [`io::ErrorKind::NotFound`] if there is no such program, and another one if a directory cannot be
/// searched, so that it is not known.
fn find(program: &Path, path: Option<&OsStr>) -> io::Result<PathBuf> {
    let current = super::env::current_dir().unwrap_or_else(|_| NEUTRAL.into());
    find_from(program, path, &current)
}

fn find_from(program: &Path, path: Option<&OsStr>, current: &Path) -> io::Result<PathBuf> {
    let directories = std::env::split_paths(path.unwrap_or_default());
    let absolute: Vec<PathBuf> = directories.filter(|directory| directory.is_absolute()).collect();
    // Joining an empty list gives an empty text, which stands for the current directory.
    let is_name = program.parent().is_none_or(|parent| parent.as_os_str().is_empty());
    if is_name && absolute.is_empty() {
        return Err(NotFound.into());
    }
    let path = std::env::join_paths(absolute).map_err(io::Error::other)?;
    let mut obstacle = None;
    let found = which::WhichConfig::new()
        .binary_name(program.into())
        .custom_path_list(path)
        .custom_cwd(current.into())
        .nonfatal_error_handler(|error| {
            if let which::NonFatalError::Io(error) = error
                && !matches!(error.kind(), NotFound | NotADirectory | PermissionDenied)
            {
                obstacle.get_or_insert(error);
            }
        })
        .first_result();
    found.map_err(|_| obstacle.unwrap_or_else(|| NotFound.into()))
}

/// A line that a child wrote, without its line end. Not necessarily UTF-8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// To its standard output.
    Stdout(Vec<u8>),
    /// To its standard error.
    Stderr(Vec<u8>),
}

/// Looks up a program as `find` does; `None` if it does not exist.
pub fn find_any(program: &Path, path: Option<&OsStr>) -> Result<Option<PathBuf>, ProcessError> {
    match find(program, path) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == NotFound => Ok(None),
        Err(source) => Err(ProcessError::Start { program: program.to_owned(), source }),
    }
}

/// The result of a finished child.
#[derive(Clone, Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// All it wrote to its standard output.
    pub stdout: Vec<u8>,
    /// All it wrote to its standard error.
    pub stderr: Vec<u8>,
}

/// Why a program did not run to its end.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It could not be started.
    #[error("cannot start `{}`: {source}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// Its output cannot be read.
    #[error("cannot read what `{}` writes: {source}", program.display())]
    Read {
        /// The program.
        program: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// It was stopped.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// It ran and failed, where the caller asked for success.
    #[error("`{command}` failed ({status}){}", quoted(stderr))]
    Failed {
        /// The command line.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// The last lines of its standard error.
        stderr: String,
    },
}

impl ProcessError {
    /// True if the program does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Start { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

impl Explain for ProcessError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Start { .. } | Self::Failed { .. } => ExitCode::Toolchain,
            Self::Read { source, .. } => ExitCode::of_io(source),
            Self::Cancelled(cancelled) => cancelled.exit_code(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Start { program, source } if source.kind() == io::ErrorKind::NotFound => {
                Some(format!("install `{}` or put it on PATH", program.display()))
            }
            Self::Cancelled(cancelled) => cancelled.hint(),
            _ => None,
        }
    }
}

fn quoted(stderr: &str) -> String {
    stderr.lines().fold(String::new(), |text, line| text + "\n  | " + line)
}

impl Command {
    /// A command without arguments, in a neutral directory, with the inherited environment less the secrets.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            directory: Directory::Neutral,
            credentials: false,
            input: Vec::new(),
            most: None,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), Some(value.into())));
        self
    }

    /// Removes an environment variable.
    #[must_use]
    pub fn env_remove(mut self, name: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), None));
        self
    }

    /// Sets the directory to run in.
    #[must_use]
    pub fn dir(mut self, dir: &Path) -> Self {
        self.directory = Directory::At(dir.to_owned());
        self
    }

    /// Runs it in the current directory, for paths that the user gave to the program.
    #[must_use]
    pub fn here(mut self) -> Self {
        self.directory = Directory::Current;
        self
    }

    /// Passes the variables of [`CREDENTIALS`] on to it.
    #[must_use]
    pub fn with_credentials(mut self) -> Self {
        self.credentials = true;
        self
    }

    /// Sets its standard input. At most a line or two: it must fit into the pipe's buffer.
    #[must_use]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }

    /// Limits how many bytes are read of each of its outputs.
    #[must_use]
    pub fn at_most(mut self, bytes: u64) -> Self {
        self.most = Some(bytes);
        self
    }

    /// The command line in shell syntax, for messages.
    #[must_use]
    pub fn display(&self) -> String {
        let words =
            std::iter::once(self.program.as_os_str()).chain(self.arguments.iter().map(OsString::as_os_str));
        shell_words::join(words.map(OsStr::to_string_lossy))
    }

    /// Runs it and collects its output, whatever its exit status.
    pub fn output(&self, cancel: &Cancel) -> Result<Output, ProcessError> {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let status = self.lines(cancel, |line| {
            let (buffer, bytes) = match line {
                Line::Stdout(bytes) => (&mut stdout, bytes),
                Line::Stderr(bytes) => (&mut stderr, bytes),
            };
            buffer.extend(bytes);
            buffer.push(b'\n');
        })?;
        Ok(Output { status, stdout, stderr })
    }

    /// Runs it and returns its standard output; an error unless it succeeds.
    pub fn text(&self, cancel: &Cancel) -> Result<String, ProcessError> {
        let output = self.output(cancel)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let stderr = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = stderr.lines().collect();
        Err(ProcessError::Failed {
            command: self.display(),
            status: output.status,
            stderr: lines[lines.len().saturating_sub(20)..].join("\n"),
        })
    }

    /// Runs it and passes on each line as soon as it is written.
    pub fn lines(&self, cancel: &Cancel, on_line: impl FnMut(Line)) -> Result<ExitStatus, ProcessError> {
        cancel.check()?;
        let told = Told::starting(self);
        let ended = self.run(cancel, on_line);
        told.ended(&ended);
        ended
    }

    fn run(&self, cancel: &Cancel, mut on_line: impl FnMut(Line)) -> Result<ExitStatus, ProcessError> {
        let mut child = Running::new(self.spawn()?);
        if let Some(mut stdin) = child.0.stdin.take() {
            // A program that does not read its input may have ended already; its exit status then shows the failure.
            stdin.write_all(&self.input).ok();
        }
        let lines = listen(&mut child.0, self.most)
            .map_err(|source| ProcessError::Start { program: self.program.clone(), source })?;
        let mut exited: Option<(ExitStatus, Instant)> = None;
        let mut pause = Duration::from_millis(1);
        loop {
            match lines.recv_timeout(pause) {
                Ok(line) => {
                    pause = Duration::from_millis(1);
                    let program = self.program.clone();
                    on_line(line.map_err(|source| ProcessError::Read { program, source })?);
                }
                // Both pipes are closed: only the exit itself is missing.
                Err(RecvTimeoutError::Disconnected) => {
                    if let Some((status, _)) = exited {
                        return Ok(status);
                    }
                    super::clock::sleep(Duration::from_millis(1));
                }
                Err(RecvTimeoutError::Timeout) => pause = (pause * 2).min(Duration::from_millis(25)),
            }
            if exited.is_none() {
                cancel.check()?;
                exited = child.try_wait(&self.program)?.map(|status| (status, Instant::now()));
            }
            if let Some((status, since)) = exited
                && since.elapsed() > DRAIN
            {
                return Ok(status);
            }
        }
    }

    fn spawn(&self) -> Result<Child, ProcessError> {
        let mut command = self.standard()?;
        command.process_group(0);
        command.stdin(if self.input.is_empty() { Stdio::null() } else { Stdio::piped() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        match &self.directory {
            Directory::Neutral => command.current_dir(NEUTRAL),
            Directory::Current => &mut command,
            Directory::At(directory) => command.current_dir(directory),
        };
        // A program that was just written is busy while a child that another thread is starting, between its fork and
        // its exec, still holds our descriptor of the file.
        for _ in 0..BUSY_TRIES {
            match command.spawn() {
                Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {
                    super::clock::sleep(Duration::from_millis(10));
                }
                result => return result.map_err(|source| self.not_started(source)),
            }
        }
        command.spawn().map_err(|source| self.not_started(source))
    }

    fn not_started(&self, source: io::Error) -> ProcessError {
        ProcessError::Start { program: self.program.clone(), source }
    }

    /// Replaces this process with the program. Returns only if that fails.
    #[must_use]
    pub fn exec(&self) -> ProcessError {
        match self.standard() {
            Ok(mut command) => self.not_started(command.exec()),
            Err(error) => error,
        }
    }

    /// Runs it in this process's group with the inherited standard streams, for the compiler wrapper: a signal to the
    /// group reaches it directly.
    pub fn inherit(&self) -> Result<ExitStatus, ProcessError> {
        self.standard()?.status().map_err(|source| self.not_started(source))
    }

    /// The same, but captures its standard error.
    pub fn inherit_stdout(&self) -> Result<(ExitStatus, Vec<u8>), ProcessError> {
        let child = self.standard()?.stderr(Stdio::piped()).spawn();
        let output = child.and_then(Child::wait_with_output).map_err(|source| self.not_started(source))?;
        Ok((output.status, output.stderr))
    }

    /// Program, arguments and environment in the standard library's form.
    fn standard(&self) -> Result<std::process::Command, ProcessError> {
        let own = self.environment.iter().rev().find(|(name, _)| name == "PATH");
        let path = own.map_or_else(|| std::env::var_os("PATH"), |(_, value)| value.clone());
        // The standard library would take `.` on PATH for the current directory.
        let program = match find(&self.program, path.as_deref()) {
            Err(_) if self.program.is_absolute() => self.program.clone(),
            found => found.map_err(|source| self.not_started(source))?,
        };
        tracing::trace!(found = %program.display(), "{}", self.program.display());
        let mut command = std::process::Command::new(program);
        // rustup and busybox decide by the name that they were started with which program they are.
        command.arg0(&self.program).args(&self.arguments);
        for (name, value) in &self.environment {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        if !self.credentials {
            for name in CREDENTIALS {
                command.env_remove(name);
            }
        }
        Ok(command)
    }
}

/// The running process groups, for [`kill_all_and_exit`].
static GROUPS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

fn groups() -> std::sync::MutexGuard<'static, BTreeSet<i32>> {
    // The set is consistent after every operation, so a panic elsewhere has not broken it.
    GROUPS.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Ends this process at once and kills every child's group. Used for the second Ctrl-C, and for a first one that the
/// work does not react to: only the directories in the system's temporary directory are cleaned up. Half-written files
/// never have their final name, and the next run to the same path removes them.
pub fn kill_all_and_exit(code: u8) -> ! {
    for group in groups().iter().copied().filter_map(Pid::from_raw) {
        // The group may be gone already.
        kill_process_group(group, Signal::KILL).ok();
    }
    super::fs::remove_scratch();
    std::process::exit(code.into())
}

/// A child whose whole group is ended if this is dropped before it has exited.
struct Running(Child);

impl Running {
    fn new(child: Child) -> Self {
        if let Ok(id) = i32::try_from(child.id()) {
            groups().insert(id);
        }
        Self(child)
    }

    fn try_wait(&mut self, program: &Path) -> Result<Option<ExitStatus>, ProcessError> {
        self.0.try_wait().map_err(|source| ProcessError::Start { program: program.to_owned(), source })
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
            // The group may be gone already.
            kill_process_group(group, signal).ok();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
        if let Ok(id) = i32::try_from(self.0.id()) {
            groups().remove(&id);
        }
    }
}

impl Running {
    fn end(&mut self) {
        if matches!(self.0.try_wait(), Ok(Some(_))) {
            return;
        }
        self.signal(Signal::TERM);
        let end = Instant::now() + GRACE;
        while Instant::now() < end && matches!(self.0.try_wait(), Ok(None)) {
            super::clock::sleep(Duration::from_millis(10));
        }
        // Sent even if the leader has gone: others of its group may ignore SIGTERM.
        self.signal(Signal::KILL);
        self.0.wait().ok();
    }
}

/// Reads both pipes on threads of their own. On standard error a carriage return also ends a line: progress displays
/// redraw their line that way.
fn listen(child: &mut Child, most: Option<u64>) -> io::Result<Receiver<io::Result<Line>>> {
    let (sender, receiver) = mpsc::sync_channel(1024);
    let start = |pipe: Option<Box<dyn Read + Send>>, ends: &'static [u8], wrap: fn(Vec<u8>) -> Line| {
        let Some(pipe) = pipe else { return Ok(()) };
        let sender = sender.clone();
        let pipe = pipe.take(most.unwrap_or(u64::MAX));
        let read = move || {
            if let Err(error) =
                split(BufReader::new(pipe), ends, &mut |line| sender.send(Ok(wrap(line))).is_ok())
            {
                // The receiver may be gone already.
                sender.send(Err(error)).ok();
            }
        };
        thread::Builder::new().spawn(read).map(drop)
    };
    start(child.stdout.take().map(|pipe| Box::new(pipe) as _), b"\n", Line::Stdout)?;
    start(child.stderr.take().map(|pipe| Box::new(pipe) as _), b"\n\r", Line::Stderr)?;
    Ok(receiver)
}

/// Passes on the text between line ends until `send` returns false. `\r\n` is one line end, not two.
fn split(mut pipe: impl BufRead, ends: &[u8], send: &mut dyn FnMut(Vec<u8>) -> bool) -> io::Result<()> {
    let (mut line, mut after_return) = (Vec::new(), false);
    loop {
        let buffer = match pipe.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            buffer => buffer?,
        };
        if buffer.is_empty() {
            break;
        }
        let length = buffer.len();
        for byte in buffer {
            let is_end = ends.contains(byte);
            let had_return = std::mem::replace(&mut after_return, is_end && *byte == b'\r');
            if !is_end {
                line.push(*byte);
            } else if had_return && *byte == b'\n' {
                // The `\n` of a `\r\n`.
            } else if !send(std::mem::take(&mut line)) {
                return Ok(());
            }
        }
        pipe.consume(length);
    }
    if !line.is_empty() {
        send(line);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
