//! `xbuild resolve`: Kubernetes manifests with the images of the projects that they name.

use clap::Args;

use crate::cli::context::{Context, Failure, Run};
use crate::cli::manifests::{ManifestOptions, limited, resolved};
use crate::cli::view::print;

/// Build and push the projects that Kubernetes manifests name as `xbuild://PATH`; print them with digests
#[derive(Clone, Debug, Args)]
pub(crate) struct ResolveOptions {
    #[command(flatten)]
    manifests: ManifestOptions,
}

impl Run for ResolveOptions {
    fn run(&self, context: &Context<'_>) -> Result<(), Failure> {
        let cancel = limited(context, &self.manifests, "`xbuild resolve`")?;
        let text = resolved(&Context { cancel: &cancel, ..*context }, &self.manifests)?;
        context.view.finish();
        Ok(print(&text)?)
    }
}
