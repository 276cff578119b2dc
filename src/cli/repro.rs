//! `xbuild repro`: builds twice, compares and reports.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{ArgMatches, Args, CommandFactory};

use super::arguments::{Arguments, BuildOptions};
use super::view::View;
use crate::repro::{Comparison, ReproError, Request, twice};
use crate::settings::Settings;
use crate::sys::cancel::Cancel;
use crate::sys::env::{self, Environment};
use crate::text::visible;

/// `xbuild repro`.
#[derive(Clone, Debug, Args)]
pub(super) struct ReproOptions {
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
    /// Keep both images: layouts `first` and `second` in a new directory
    #[arg(long, value_name = "DIRECTORY", value_hint = clap::ValueHint::DirPath)]
    pub(super) keep: Option<PathBuf>,
    /// Give the second build an empty cache: toolchains and packages are downloaded again, and zig's own libraries are
    /// compiled again
    #[arg(long)]
    pub(super) cold: bool,
    #[command(flatten)]
    pub(super) build: BuildOptions,
}

/// Options that are not passed to both builds: the project's path, the image's destination, and what is varied.
const OWN: [&str; 12] = [
    "path",
    "manifest_path",
    "config",
    "output",
    "target_dir",
    "jobs",
    "tag",
    "push",
    "load",
    "metadata_file",
    "iidfile",
    "image_refs",
];

/// The options for both builds as they were given, whatever options a build has.
fn passed_on(matches: &ArgMatches) -> Vec<OsString> {
    let command = Arguments::command();
    let build = command.find_subcommand("build");
    let mut words = Vec::new();
    for option in build.into_iter().flat_map(clap::Command::get_arguments) {
        let id = option.get_id().as_str();
        let Some(long) = option.get_long().filter(|_| !OWN.contains(&id)) else { continue };
        if !matches!(matches.value_source(id), Some(clap::parser::ValueSource::CommandLine)) {
            continue;
        }
        if !option.get_action().takes_values() {
            words.push(format!("--{long}").into());
            continue;
        }
        for value in matches.get_raw(id).into_iter().flatten() {
            let mut word = OsString::from(format!("--{long}="));
            word.push(value);
            words.push(word);
        }
    }
    words
}

/// Builds twice. The result goes to standard output in any case.
pub(super) fn repro(
    options: &ReproOptions,
    matches: &ArgMatches,
    settings: &Settings,
    environment: &Environment,
    view: &View,
    cancel: &Cancel,
) -> Result<Comparison, ReproError> {
    let dir = env::current_dir()?;
    let config = options.build.config.clone().or_else(|| environment.path("XBUILD_CONFIG"));
    let config = config.map(|path| dir.join(path));
    let keep = options.keep.as_ref().map(|path| dir.join(path));
    let request = Request {
        program: &env::current_exe()?,
        settings,
        environment,
        config: config.as_deref(),
        options: &passed_on(matches),
        keep: keep.as_deref(),
        cold: options.cold,
    };
    twice(&request, view.reporter(), cancel)
}

/// The comparison as text.
pub(super) fn text(comparison: &Comparison) -> String {
    if comparison.reproducible {
        return format!("reproducible: {}\n", comparison.first);
    }
    let mut text = format!(
        "not reproducible\nfirst  {}\nsecond {}  (with {})\n",
        comparison.first,
        comparison.second,
        comparison.varied.join(", ")
    );
    for difference in &comparison.differences {
        // Writing to a string cannot fail.
        writeln!(text, "\n{}", visible::view(&difference.to_string())).ok();
    }
    text
}
