//! `xbuild completions`.

use clap::Args;

use crate::cli::context::{Context, Failure, Run};
use crate::cli::view::print;

/// Print a shell's completion script
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct CompletionsOptions {
    /// The shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

impl Run for CompletionsOptions {
    fn run(&self, context: &Context<'_>) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut (context.definition)(), "xbuild", &mut script);
        Ok(print(&String::from_utf8_lossy(&script))?)
    }
}
