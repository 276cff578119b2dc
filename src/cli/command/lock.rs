//! `xbuild lock`: pins what builds use.

use clap::{ArgAction, Args};

use crate::cli::context::{Context, Failure, Run};
use crate::cli::options::BuildOptions;
use crate::cli::view::{print, shown_reference};
use crate::pipeline::{self, Update};

/// Pin bases and toolchains in xbuild.lock, so that every build uses the same ones
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
xbuild.lock is beside the project's configuration and should be committed. What it already
pins stays as it is; what the project also needs is added, and what it no longer needs is
removed. Builds follow the lock if it exists, and add what it lacks; with --locked they fail instead.

Examples:
  xbuild lock                          write xbuild.lock, or complete it
  xbuild lock --update                 pin the current version of everything
  xbuild lock --update apt:bookworm    the same for one base, or for a toolchain: rust, zig
  xbuild lock --locked                 in CI: fail unless it exists and is complete
  xbuild lock --update --locked        fail if there is something newer, and say what")]
pub(crate) struct LockOptions {
    /// Pin anew: everything, or only this: a base as it is configured, `rust` or `zig`
    #[arg(long, value_name = "NAME", num_args = 0..=1, action = ArgAction::Append)]
    update: Option<Vec<String>>,
    #[command(flatten)]
    build: BuildOptions,
}

impl Run for LockOptions {
    fn run(&self, context: &Context<'_>) -> Result<(), Failure> {
        let settings = context.settings(&self.build)?;
        let update = match &self.update {
            None => Update::Nothing,
            Some(names) if names.is_empty() => Update::Everything,
            Some(names) => Update::Named(names.clone()),
        };
        let locked =
            pipeline::lock(&settings, context.environment, &update, context.view.reporter(), context.cancel)?;
        context.view.finish();
        Ok(print(&format!("{}\n", shown_reference(&locked.path.display().to_string())))?)
    }
}
