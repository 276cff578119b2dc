//! Builds a project twice, with as much as possible changed around the second build.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::{Comparison, ReproError, compare, copy};
use crate::error::ExitCode;
use crate::event::{Event, Level, Reporter};
use crate::layout::Layout;
use crate::oci::Digest;
use crate::payload::configuration::Configuration;
use crate::payload::metadata;
use crate::settings::Settings;
use crate::sys::cancel::Cancel;
use crate::sys::env::Environment;
use crate::sys::process::{Command, Line};
use crate::sys::{fs, store};
use crate::toolchain::rust;

/// The maximum number of lines that are kept of a build's errors.
const LINES: usize = 40;

/// What to build, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    /// The program to build with: xbuild itself.
    pub program: &'a Path,
    /// The settings of a build of the project.
    pub settings: &'a Settings,
    /// The environment in which the project's toolchain is looked up.
    pub environment: &'a Environment,
    /// The configuration file that was named, absolute.
    pub config: Option<&'a Path>,
    /// The options of `xbuild build`, except for those that set the paths of the project, its configuration, the output
    /// and the target directory, and the number of jobs.
    pub options: &'a [OsString],
    /// The directory in which both images are kept; `None` to discard them.
    pub keep: Option<&'a Path>,
    /// True if the second build gets an empty cache of its own.
    pub cold: bool,
}

impl Request<'_> {
    fn manifest_path(&self) -> &Path {
        &self.settings.manifest_path
    }
}

/// Builds twice and compares.
pub(crate) fn twice(
    request: &Request<'_>,
    reporter: &dyn Reporter,
    cancel: &Cancel,
) -> Result<Comparison, ReproError> {
    if let Some(keep) = request.keep
        && fs::symlink_metadata(keep).is_ok()
    {
        return Err(ReproError::Exists(keep.to_owned()));
    }
    let dir_for_all = request.settings.machine.cache.join("repro");
    store::open(&request.settings.machine.cache)?;
    store::dir(&dir_for_all)?;
    let scratch = fs::temporary_dir(&dir_for_all)?;
    let images = match request.keep {
        Some(keep) => {
            fs::create_dir_all(keep)?;
            keep.to_owned()
        }
        None => scratch.path().to_owned(),
    };
    let note = |text: String| reporter.report(Event::Note { level: Level::Info, platform: None, text });

    let manifest_path = request.manifest_path();
    let payload = &request.settings.payload;
    note(format!("first build: in {}", dir(manifest_path).display()));
    let mut first = base(request, manifest_path, request.config, "022");
    if let Some(target_dir) = &payload.target_dir {
        first = first.arg("--target-dir").arg(target_dir);
    }
    if let Some(jobs) = payload.jobs {
        first = first.arg(format!("--jobs={jobs}"));
    }
    let one = build("first", &first, &images.join("first"), reporter, cancel)?;

    let place = Place::of(request, scratch.path(), reporter, cancel)?;
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let jobs = if payload.jobs == Some(1) || processors == 1 { 2 } else { 1 };
    let mut varied = place.varied.clone();
    varied.extend([
        "an empty target directory".into(),
        "umask 077".into(),
        "TZ=Pacific/Kiritimati".into(),
        "LC_ALL=tr_TR.UTF-8".into(),
        format!("--jobs {jobs}"),
    ]);
    if request.cold {
        varied.push("an empty cache".into());
    }
    note(format!("second build: with {}", varied.join(", ")));
    let mut second = base(request, &place.manifest_path, place.config.as_deref(), "077")
        .arg("--target-dir")
        .arg(scratch.path().join("target"))
        .arg(format!("--jobs={jobs}"))
        .env("TZ", "Pacific/Kiritimati")
        .env("LC_ALL", "tr_TR.UTF-8")
        .env("LANG", "tr_TR.UTF-8");
    if request.cold {
        // Beside the copy of the project, so that it has another path and is removed with it.
        second = second.env("XBUILD_CACHE_DIR", scratch.path().join("cache"));
    }
    let two = build("second", &second, &images.join("second"), reporter, cancel)?;

    let (layout_one, layout_two) =
        (Layout::open(&images.join("first"))?, Layout::open(&images.join("second"))?);
    let differences = compare((&layout_one, &one), (&layout_two, &two), cancel)?;
    Ok(Comparison { reproducible: one == two, first: one, second: two, varied, differences })
}

/// The location of the second build.
struct Place {
    manifest_path: PathBuf,
    config: Option<PathBuf>,
    varied: Vec<String>,
}

impl Place {
    /// A copy of the project, or the project itself if a copy would be incomplete.
    fn of(
        request: &Request<'_>,
        scratch: &Path,
        reporter: &dyn Reporter,
        cancel: &Cancel,
    ) -> Result<Self, ReproError> {
        let (workspace, packages) = project(request, reporter, cancel)?;
        let Some(root) = copy::root(&workspace, &packages)? else {
            let outside = packages.iter().find(|package| !package.starts_with(&workspace));
            reporter.report(Event::warning(format!(
                "both builds are in the project's own directory, because the project takes `{}` \
                     from outside",
                outside.map_or_else(|| workspace.display(), |package| package.display())
            )));
            return Ok(Self {
                manifest_path: request.manifest_path().to_owned(),
                config: request.config.map(ToOwned::to_owned),
                varied: Vec::new(),
            });
        };
        // Another length, too: a path that is truncated or padded then has another size.
        let copied =
            scratch.join("another").join("place").join(root.file_name().unwrap_or("project".as_ref()));
        copy::copy(&root, &copied, &request.settings.machine.cache, cancel)?;
        let moved = |path: &Path| path.strip_prefix(&root).map(|rest| copied.join(rest)).ok();
        let manifest_path =
            moved(request.manifest_path()).unwrap_or_else(|| request.manifest_path().to_owned());
        let config = request.config.map(|path| moved(path).unwrap_or_else(|| path.to_owned()));
        Ok(Self { manifest_path, config, varied: vec!["another directory".into()] })
    }
}

/// The workspace's directory, and those of all packages that cargo takes from a path or a directory of vendored
/// packages.
fn project(
    request: &Request<'_>,
    reporter: &dyn Reporter,
    cancel: &Cancel,
) -> Result<(PathBuf, Vec<PathBuf>), ReproError> {
    let manifest_path = request.manifest_path();
    let rust = rust::detect(dir(manifest_path), request.environment, cancel)?;
    let metadata = metadata::metadata(&rust, manifest_path, &request.settings.payload, cancel, reporter)?;
    // Vendored packages are in a directory that cargo's configuration names, and not in cargo's home directory like
    // everything that cargo has fetched.
    let home = Configuration::home_dir(request.environment);
    let is_fetched = |dir: &Path| home.as_ref().is_some_and(|home| dir.starts_with(home));
    let packages = metadata
        .packages
        .iter()
        .filter_map(|package| Some((package, package.manifest_path.parent()?.as_std_path())))
        .filter(|(package, dir)| package.source.is_none() || !is_fetched(dir))
        .map(|(_, dir)| dir.to_owned())
        .collect();
    Ok((metadata.workspace_root.into(), packages))
}

fn dir(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

/// `xbuild build` of a project with the options that both builds have.
fn base(request: &Request<'_>, manifest_path: &Path, config: Option<&Path>, umask: &str) -> Command {
    let command = Command::new("sh")
        .args(["-c", &format!("umask {umask}; exec \"$@\""), "xbuild"])
        .arg(request.program)
        .arg("build")
        .args(request.options.iter().cloned())
        .arg("--manifest-path")
        .arg(manifest_path)
        .with_credentials()
        .dir(dir(manifest_path));
    match config {
        Some(config) => command.arg("--config").arg(config),
        None => command,
    }
}

/// Runs a build and returns the digest that it prints. Its output on stderr is passed on.
fn build(
    which: &'static str,
    command: &Command,
    output: &Path,
    reporter: &dyn Reporter,
    cancel: &Cancel,
) -> Result<Digest, ReproError> {
    let command = command.clone().arg("--output").arg(output).args(["--progress", "plain"]);
    let (mut printed, mut told) = (String::new(), Vec::new());
    let status = command.lines(cancel, |line| match line {
        Line::Stdout(bytes) => printed.push_str(&String::from_utf8_lossy(&bytes)),
        Line::Stderr(bytes) => {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if (!told.is_empty() || text.starts_with("error")) && told.len() < LINES {
                told.push(text.clone());
            }
            reporter.report(Event::Compiler { text, error: false });
        }
    })?;
    if !status.success() {
        let number = status.code().unwrap_or(1);
        let known = ExitCode::ALL.iter().find(|code| i32::from(code.number()) == number);
        let code = known.copied().unwrap_or(ExitCode::Internal);
        return Err(ReproError::Build { which, code, told });
    }
    let digest = printed.trim().rsplit_once('@').and_then(|(_, digest)| digest.parse().ok());
    digest.ok_or(ReproError::NoReference { which, printed })
}
