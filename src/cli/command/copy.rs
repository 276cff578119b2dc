//! `xbuild copy`.

use clap::Args;

use crate::cli::context::{Context, Failure, Run};
use crate::cli::images::{Images, PLACES};
use crate::cli::options::Limit;
use crate::target::platform::Platform;
use crate::transport::{Location, TransportError};

/// Copy an image between layouts, archives, engines and registries
#[derive(Clone, Debug, Args)]
#[command(after_help = PLACES)]
pub(crate) struct CopyOptions {
    /// The image
    source: String,
    /// Where it goes
    destination: String,
    /// Only these platforms, separated by commas [default: all]
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',')]
    platform: Vec<Platform>,
    /// Also copy what refers to the image: signatures, SBOMs and other manifests with a `subject`
    #[arg(long)]
    referrers: bool,
    #[command(flatten)]
    limit: Limit,
}

impl Run for CopyOptions {
    fn limit(&self) -> Option<(&'static str, Option<&str>)> {
        Some(("`xbuild copy`", self.limit.timeout.as_deref()))
    }

    fn run(&self, context: &Context<'_>) -> Result<(), Failure> {
        let destination = Location::parse_destination(&self.destination).map_err(TransportError::from)?;
        Images::run(context, std::slice::from_ref(&destination), |images| {
            let source = images.open(&self.source)?;
            images.write(&source, &self.platform, self.referrers, std::slice::from_ref(&destination))
        })
    }
}
