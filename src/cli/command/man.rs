//! `xbuild man`: the manual pages.

use clap::Args;

use crate::cli::context::{Context, Failure, Run};
use crate::cli::view::{ViewError, print};
use crate::error::{ExitCode, Explain};

/// Print the manual page, or that of one command
#[derive(Clone, Debug, Args)]
pub(crate) struct ManOptions {
    /// The command
    command: Option<String>,
}

/// An unknown command.
#[derive(Debug, thiserror::Error)]
#[error("there is no command `{given}`")]
struct NoSuchCommand {
    /// What was given.
    given: String,
}

impl Explain for NoSuchCommand {
    fn exit_code(&self) -> ExitCode {
        ExitCode::Usage
    }

    fn hint(&self) -> Option<String> {
        Some("`xbuild --help` lists the commands".into())
    }
}

impl Run for ManOptions {
    fn run(&self, context: &Context<'_>) -> Result<(), Failure> {
        let mut command = (context.definition)();
        command.build();
        if let Some(name) = self.command.as_deref() {
            let found = command.find_subcommand(name).cloned();
            let title = format!("xbuild-{name}");
            command = found
                .ok_or_else(|| NoSuchCommand { given: name.to_owned() })?
                .name(title)
                .version(env!("CARGO_PKG_VERSION"));
        }
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page).map_err(ViewError::Stdout)?;
        Ok(print(&String::from_utf8_lossy(&page))?)
    }
}
