//! `xbuild build`, the default command.

use clap::Args;

use crate::cli::context::{Context, Failure, Run};
use crate::cli::options::BuildOptions;
use crate::cli::view::{self, json_text, print, shown_reference};
use crate::output::OutputError;
use crate::output::report::{self, Published};
use crate::pipeline;
use crate::settings::{Sink, VARIABLES};
use crate::sys::cancel::Cancel;

/// Build the image of a cargo project [this is the default command]
#[derive(Clone, Debug, Args)]
#[command(
    visible_alias = "b",
    after_help = "Run `xbuild build --help` for examples and environment variables.",
    after_long_help = build_help()
)]
pub(crate) struct BuildCommand {
    #[command(flatten)]
    pub(crate) options: BuildOptions,
}

impl Run for BuildCommand {
    fn run(&self, context: &Context<'_>) -> Result<(), Failure> {
        let options = &self.options;
        let settings = context.settings(options)?;
        let reporter = context.view.reporter();
        let streamed = settings.outputs.iter().any(|output| output.sink() == Some(&Sink::Stdout));
        let mut stdout = view::stdout(streamed)?;
        let reports = [&options.metadata_file, &options.iidfile, &options.image_refs];
        for path in reports.into_iter().flatten() {
            report::check(path, context.cancel)?;
        }
        let outcome = pipeline::run(&settings, context.environment, reporter, context.cancel, &mut *stdout)?;
        write_reports(options, &outcome.published, context.cancel)?;
        context.view.finish();
        if !streamed {
            print(&result_line(context, &outcome))?;
        }
        match outcome.failed {
            Some(failed) => Err(failed.error().into()),
            None => Ok(()),
        }
    }
}

/// The line for standard output: the reference with its digest, or with `-q` the image's ID as in docker.
fn result_line(context: &Context<'_>, outcome: &pipeline::Outcome) -> String {
    if context.options.quiet {
        return format!("{}\n", outcome.published.id());
    }
    format!("{}@{}\n", shown_reference(&outcome.reference), outcome.digest)
}

/// `--metadata-file`, `--iidfile` and `--image-refs`.
fn write_reports(options: &BuildOptions, published: &Published, cancel: &Cancel) -> Result<(), OutputError> {
    if let Some(path) = &options.iidfile {
        // Without a newline, as docker build writes it.
        report::write(path, &published.id().to_string(), cancel)?;
    }
    if let Some(path) = &options.image_refs {
        report::write(path, &published.references(), cancel)?;
    }
    if let Some(path) = &options.metadata_file {
        report::write(path, &json_text(&published.metadata()), cancel)?;
    }
    Ok(())
}

fn build_help() -> String {
    let mut text = "\
Examples:
  xbuild                                     the project in this directory, for three platforms
  xbuild examples/hello -t hello:1.0         another directory, with a name for the image
  xbuild --platform arm64,armhf -o image     two platforms, into the layout `image`
  xbuild --base scratch                      static programs (musl) on an empty base
  xbuild -o type=oci,dest=hello.tar          an archive instead of a directory
  xbuild -t hello:1.0 --load                 also into Docker or podman
  xbuild --platform amd64 -o - | tar tf -    the root filesystem
  xbuild --timeout 45m --timeout each=20m    in CI

Standard output carries only the image's name and digest, so that scripts can use it:
  image=$(xbuild -t registry.example/team/app:1.0)

To build a directory that has a command's name, give a path: `xbuild ./plan`.

Environment variables:
"
    .to_owned();
    text.extend(VARIABLES.iter().map(|variable| format!("  {:<30} {}\n", variable.name, variable.meaning)));
    text + "\nOptions override the environment, which overrides the project's configuration (xbuild.toml), which \
            overrides the user's (~/.config/xbuild/config.toml). docs/configuration.md describes both files."
}
