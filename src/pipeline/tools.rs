//! The tools of this machine that builds of packages may need: which they are, and whether they are installed.

use std::path::Path;

use crate::event::{Event, Level, Reporter};
use crate::host::Host;
use crate::payload::configuration::Configuration;
use crate::payload::graph::needs::{Surroundings, needs};
use crate::payload::metadata::Metadata;
use crate::payload::project::Project;
use crate::settings::Settings;
use crate::sys::process::ProcessError;
use crate::toolchain::host_tools::HostTool;
use crate::toolchain::host_tools::search::Machine;
use crate::toolchain::rust::Rust;

use super::probe::FactsError;

/// The tools that the project's builds may need. One of which cannot be said whether it is installed is left out.
pub(super) fn gather(
    settings: &Settings,
    (metadata, project): (&Metadata, &Project),
    (rust, configuration): (&Rust, &Configuration),
    host: Host<'_>,
) -> Result<Vec<HostTool>, FactsError> {
    let targets: Vec<&str> =
        settings.platforms.iter().map(|wanted| wanted.target.value.triple.as_str()).collect();
    let (targets, own) = (&targets, rust.host.as_str());
    let variable = &|name: &str| {
        let value = host.environment.var_os(name).map(ToOwned::to_owned);
        configuration.variable_over(name, value).filter(|value| !value.is_empty())
    };
    let surroundings = Surroundings { host: own, targets, variable };
    let machine = Machine { root: Path::new("/"), variable, host: own, targets, cancel: host.cancel };
    let mut tools = Vec::new();
    for (tool, needed_by) in needs(metadata, (&project.binaries, &project.makers), surroundings) {
        match machine.find(tool, needed_by) {
            Ok(found) => tools.push(found),
            Err(ProcessError::Cancelled(cancelled)) => return Err(cancelled.into()),
            Err(error) => {
                let text = format!("whether `{}` is installed cannot be found out: {error}", tool.name);
                host.reporter.report(Event::Note { level: Level::Detail, platform: None, text });
            }
        }
    }
    Ok(tools)
}

/// Warns of the tools that are missing. Nothing is known to fail: a build script need not run what it could run.
pub(super) fn report(tools: &[HostTool], reporter: &dyn Reporter) {
    for tool in tools {
        match &tool.path {
            Some(path) => {
                let packages: Vec<_> = tool.needed_by.iter().map(|by| by.package.as_str()).collect();
                let text = format!("`{}` for `{}`: {}", tool.name, packages.join("`, `"), path.display());
                reporter.report(Event::Note { level: Level::Detail, platform: None, text });
            }
            None => reporter.report(Event::warning(tool.warning())),
        }
    }
}
