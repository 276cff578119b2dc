//! `xbuild tag`: more names for an image.

use std::path::Path;

use clap::Args;

use crate::cli::context::{Context, Failure, Run};
use crate::cli::images::Images;
use crate::cli::options::Limit;
use crate::cli::view::print;
use crate::error::{ExitCode, Explain};
use crate::oci::Reference;
use crate::oci::name::ImageName;
use crate::transport::{Location, TransportError};

/// Give an image of a layout or a registry more names
#[derive(Clone, Debug, Args)]
pub(crate) struct TagOptions {
    /// An image in a layout or a registry: PATH[:TAG], PATH@DIGEST, registry/repository:tag
    image: String,
    /// Names to add: registry/repository:tag, or just :tag; in a registry, of the same repository
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    limit: Limit,
}

/// Why an image did not get a name.
#[derive(Debug, thiserror::Error)]
enum TagError {
    /// An image that is neither in a layout nor in a registry.
    #[error("`{given}` is not in a layout or a registry")]
    Elsewhere {
        /// What was given.
        given: String,
    },
    /// A name in another repository.
    #[error("`{name}` is in a different repository from `{image}`, so adding a name is not enough")]
    Across {
        /// The image.
        image: String,
        /// The name to add.
        name: String,
    },
}

impl Explain for TagError {
    fn exit_code(&self) -> ExitCode {
        ExitCode::Usage
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Elsewhere { .. } => {
                Some("copy it to one of these, or to its new name, with `xbuild copy`".into())
            }
            Self::Across { image, name } => Some(format!(
                "copy it there, which sends no layers within a registry: `xbuild copy docker://{image} docker://{name}`"
            )),
        }
    }
}

impl Run for TagOptions {
    fn limit(&self) -> Option<(&'static str, Option<&str>)> {
        Some(("`xbuild tag`", self.limit.timeout.as_deref()))
    }

    fn run(&self, context: &Context<'_>) -> Result<(), Failure> {
        let named = Location::parse(&self.image, &Path::exists).map_err(TransportError::from)?;
        Images::run(context, [&named], |images| {
            let references = self.names.iter().map(|name| name.parse::<Reference>());
            let references: Vec<Reference> =
                references.collect::<Result<_, _>>().map_err(|error| TransportError::Layout(error.into()))?;
            let location = images.locate(&self.image)?;
            let digest = match (&location, location.path()) {
                (Location::Registry { name }, _) => {
                    let tags = tags_in(name, &references)?;
                    images.opener().tag_in_registry(name, &tags, context.view.reporter())?
                }
                (Location::Layout { .. } | Location::Path { .. }, Some(path)) if path.is_dir() => {
                    let source = images.opener().open(&location)?;
                    images.opener().tag(&source, path, &self.names)?;
                    source.root().digest.clone()
                }
                _ => return Err(TagError::Elsewhere { given: self.image.clone() }.into()),
            };
            context.view.finish();
            let line = match &location {
                Location::Registry { name } => format!("{}@{digest}\n", name.repository),
                other => format!("{}@{digest}\n", other.place()),
            };
            Ok(print(&line)?)
        })
    }
}

/// The tags of names that must be in the image's repository. Another repository would need the image's content, not
/// just a name.
fn tags_in(image: &ImageName, names: &[Reference]) -> Result<Vec<String>, TagError> {
    let own = image.repository.to_string();
    let tag = |name: &Reference| match name.repository() {
        Some(other) if other != own => {
            Err(TagError::Across { image: image.to_string(), name: name.to_string() })
        }
        _ => Ok(name.tag().to_owned()),
    };
    names.iter().map(tag).collect()
}
