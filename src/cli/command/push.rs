//! `xbuild push`: an existing image to registries.

use clap::Args;

use crate::cli::context::{Context, Failure, Run};
use crate::cli::images::{Images, PLACES};
use crate::cli::options::Limit;
use crate::error::{ExitCode, Explain};
use crate::oci::name::ImageName;
use crate::target::platform::Platform;
use crate::transport::{Location, LocationError, TransportError};

/// Push an existing image to registries
#[derive(Clone, Debug, Args)]
#[command(after_help = PLACES)]
pub(crate) struct PushOptions {
    /// The image, in a layout, an archive or an engine
    image: String,
    /// Where it goes: registry/repository:tag [default: the image's own names]
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Only these platforms, separated by commas [default: all]
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',')]
    platform: Vec<Platform>,
    #[command(flatten)]
    limit: Limit,
}

/// An image without a name.
#[derive(Debug, thiserror::Error)]
#[error("`{given}` has no name that says where to push it")]
struct NoName {
    /// What was given.
    given: String,
}

impl Explain for NoName {
    fn exit_code(&self) -> ExitCode {
        ExitCode::Usage
    }

    fn hint(&self) -> Option<String> {
        Some("add it: xbuild push IMAGE registry.example/team/app:1.0".into())
    }
}

impl Run for PushOptions {
    fn limit(&self) -> Option<(&'static str, Option<&str>)> {
        Some(("`xbuild push`", self.limit.timeout.as_deref()))
    }

    fn run(&self, context: &Context<'_>) -> Result<(), Failure> {
        let remote = |text: &str| -> Result<Location, TransportError> {
            let name = text.strip_prefix("docker://").unwrap_or(text);
            let name: ImageName = name.parse().map_err(LocationError::Name)?;
            Ok(Location::Registry { name })
        };
        // Before anything is opened, so that a typo in a name is reported at once.
        let mut destinations: Vec<Location> =
            self.names.iter().map(|name| remote(name)).collect::<Result<_, _>>()?;
        // Names from the image itself were not named by the user.
        Images::run(context, &destinations.clone(), |images| {
            let source = images.open(&self.image)?;
            if destinations.is_empty() {
                let own = source.names().into_iter().filter(|name| name.contains('/'));
                destinations = own.map(|name| remote(&name)).collect::<Result<_, _>>()?;
            }
            if destinations.is_empty() {
                return Err(NoName { given: self.image.clone() }.into());
            }
            images.write(&source, &self.platform, false, &destinations)
        })
    }
}
