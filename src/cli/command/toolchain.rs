//! `xbuild toolchain`: finds, installs and lists toolchains.

use std::fmt::Write as _;

use clap::{Subcommand, ValueEnum};

use crate::cache::CacheError;
use crate::cli::context::{Context, Failure, Run};
use crate::cli::options::{Limit, ListOptions};
use crate::cli::toolchains::{ToolchainRow, detect, provided_request, provided_row, rust_row};
use crate::cli::view::{json_text, print};
use crate::sys::download::Client;
use crate::sys::store;
use crate::toolchain::provided;

/// Find, install and list toolchains
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum ToolchainCommand {
    /// List the toolchains, with the path of each, or how it would be provided
    List(ListOptions),
    /// Provide a toolchain now, so that later builds need no network for it
    Install {
        /// The toolchain
        #[arg(value_enum, default_value = provided::NAME)]
        name: ToolchainName,
        /// Do not use the network
        #[arg(long)]
        offline: bool,
        #[command(flatten)]
        limit: Limit,
    },
    /// Print the path of a toolchain
    Path {
        /// The toolchain
        #[arg(value_enum, default_value = provided::NAME)]
        name: ToolchainName,
    },
}

/// A toolchain that xbuild can provide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ToolchainName {
    /// The C and C++ compiler and linker
    #[value(name = provided::NAME)]
    Provided,
    /// The project's own Rust toolchain
    Rust,
}

impl Run for ToolchainCommand {
    fn limit(&self) -> Option<(&'static str, Option<&str>)> {
        Some(match self {
            Self::Install { limit, .. } => ("`xbuild toolchain install`", limit.timeout.as_deref()),
            Self::List(_) => ("`xbuild toolchain list`", None),
            Self::Path { .. } => ("`xbuild toolchain path`", None),
        })
    }

    fn run(&self, context: &Context<'_>) -> Result<(), Failure> {
        let Context { environment, cancel, .. } = *context;
        let machine = context.machine(matches!(self, Self::Install { offline: true, .. }))?;
        let request = provided_request(&machine, environment);
        match self {
            Self::List(ListOptions { json }) => {
                let rows = [provided_row(&request, cancel), rust_row(environment, cancel)];
                let text = if *json { json_text(&rows) } else { table(&rows) };
                Ok(print(&text)?)
            }
            Self::Install { name: ToolchainName::Provided, .. } => {
                // Holds the shared lock, so that nobody removes entries meanwhile.
                store::open(&machine.cache).map_err(CacheError::from)?;
                let found = provided::provide(
                    &request,
                    &Client::new(machine.offline),
                    cancel,
                    context.view.reporter(),
                )?;
                context.view.finish();
                Ok(print(&format!("{}\n", found.program.display()))?)
            }
            Self::Path { name: ToolchainName::Provided } => {
                Ok(print(&format!("{}\n", provided::find(&request, cancel)?.toolchain.program.display()))?)
            }
            // Rust is the project's own, and xbuild never installs it.
            Self::Install { name: ToolchainName::Rust, .. } | Self::Path { name: ToolchainName::Rust } => {
                Ok(print(&format!("{}\n", detect(environment, cancel)?.sysroot.display()))?)
            }
        }
    }
}

fn table(rows: &[ToolchainRow]) -> String {
    let mut text = format!("{:<6} {:<10} {}\n", "NAME", "VERSION", "WHERE");
    for row in rows {
        let place = match &row.path {
            Some(path) => format!("{path} ({})", row.from),
            None => row.from.clone(),
        };
        // Writing to a string cannot fail.
        writeln!(text, "{:<6} {:<10} {place}", row.name, row.version).ok();
    }
    text
}
