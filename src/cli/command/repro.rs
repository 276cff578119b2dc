//! `xbuild repro`: builds twice, compares and reports.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;

use crate::cli::context::{Context, Failure, Run};
use crate::cli::options::BuildOptions;
use crate::cli::view::{json_text, print};
use crate::repro::{Comparison, ReproError, Request, twice};
use crate::settings::Settings;
use crate::sys::env;
use crate::text::visible;

/// Build twice under different conditions and compare; show what differs, down to the bytes
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
The second build uses a copy of the project in another directory, into an empty target directory, with another umask,
time zone, locale and number of jobs. The exit code is 26 if the images differ.")]
pub(crate) struct ReproOptions {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Keep both images: layouts `first` and `second` in a new directory
    #[arg(long, value_name = "DIRECTORY", value_hint = clap::ValueHint::DirPath)]
    keep: Option<PathBuf>,
    /// Give the second build an empty cache: toolchains and packages are downloaded again, and zig's own libraries are
    /// compiled again
    #[arg(long)]
    cold: bool,
    #[command(flatten)]
    build: BuildOptions,
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

impl Run for ReproOptions {
    fn run(&self, context: &Context<'_>) -> Result<(), Failure> {
        let settings = context.settings(&self.build)?;
        let comparison = self.twice(&settings, context)?;
        context.view.finish();
        // The result is printed in any case.
        print(&if self.json { json_text(&comparison) } else { text(&comparison) })?;
        if comparison.reproducible {
            return Ok(());
        }
        Err(ReproError::Differs { count: comparison.differences.len() }.into())
    }
}

impl ReproOptions {
    fn twice(&self, settings: &Settings, context: &Context<'_>) -> Result<Comparison, ReproError> {
        let dir = env::current_dir()?;
        let config = self.build.config.clone().or_else(|| context.environment.path("XBUILD_CONFIG"));
        let config = config.map(|path| dir.join(path));
        let keep = self.keep.as_ref().map(|path| dir.join(path));
        let request = Request {
            program: &env::current_exe()?,
            settings,
            environment: context.environment,
            config: config.as_deref(),
            options: &passed_on(context),
            keep: keep.as_deref(),
            cold: self.cold,
        };
        twice(&request, context.view.reporter(), context.cancel)
    }
}

/// The options for both builds as they were given, whatever options a build has.
fn passed_on(context: &Context<'_>) -> Vec<OsString> {
    let matches = context.matches.subcommand_matches("repro").unwrap_or(context.matches);
    let command = (context.definition)();
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

/// The comparison as text.
fn text(comparison: &Comparison) -> String {
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
