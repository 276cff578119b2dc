//! `xbuild pull`: an image of a registry.

use clap::Args;

use crate::cli::context::{Context, Failure, Run};
use crate::cli::images::{Images, PLACES};
use crate::cli::options::Limit;
use crate::oci::name::ImageName;
use crate::target::platform::Platform;
use crate::transport::{Location, LocationError, Selector, TransportError};

/// Pull an image from a registry
#[derive(Clone, Debug, Args)]
#[command(after_help = PLACES)]
pub(crate) struct PullOptions {
    /// The image's name: registry/repository:tag or …@sha256:digest
    name: String,
    /// Where it goes [default: a layout named after the repository's last part]
    #[arg(short, long, value_name = "DESTINATION")]
    output: Option<String>,
    /// Only these platforms, separated by commas [default: all]
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',')]
    platform: Vec<Platform>,
    #[command(flatten)]
    limit: Limit,
}

impl Run for PullOptions {
    fn limit(&self) -> Option<(&'static str, Option<&str>)> {
        Some(("`xbuild pull`", self.limit.timeout.as_deref()))
    }

    fn run(&self, context: &Context<'_>) -> Result<(), Failure> {
        Images::run(context, [], |images| {
            let name = self.name.strip_prefix("docker://").unwrap_or(&self.name);
            let name: ImageName =
                name.parse().map_err(|error| TransportError::from(LocationError::Name(error)))?;
            let destination = if let Some(output) = &self.output {
                Location::parse_destination(output).map_err(TransportError::from)?
            } else {
                let last = name.repository.path().rsplit('/').next().unwrap_or("image");
                Location::Layout { path: last.into(), selector: Selector::Only }
            };
            let source = images.opener().open(&Location::Registry { name })?;
            images.write(&source, &self.platform, false, &[destination])
        })
    }
}
