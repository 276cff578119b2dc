//! `xbuild apply`: the same as `xbuild resolve`, and kubectl applies the result.

use std::io::Write;

use clap::Args;

use crate::cli::context::{Context, Failure, Run};
use crate::cli::manifests::{KUBECTL, ManifestError, ManifestOptions, limited, resolved};
use crate::cli::view::print;
use crate::sys::fs;
use crate::sys::process::Command;

/// The same, and apply the manifests with kubectl
#[derive(Clone, Debug, Args)]
pub(crate) struct ApplyOptions {
    #[command(flatten)]
    manifests: ManifestOptions,
    /// Arguments of `kubectl apply`
    #[arg(last = true, value_name = "KUBECTL ARGUMENTS")]
    kubectl: Vec<String>,
}

impl Run for ApplyOptions {
    fn run(&self, context: &Context<'_>) -> Result<(), Failure> {
        let cancel = limited(context, &self.manifests, "`xbuild apply`")?;
        let context = &Context { cancel: &cancel, ..*context };
        let text = resolved(context, &self.manifests)?;
        // A file and not a pipe, so that kubectl can read it more than once. It may contain secrets.
        let mut file = fs::scratch_dir()
            .and_then(|dir| Ok((fs::temporary_file(dir.path())?, dir)))
            .map_err(ManifestError::Io)?;
        file.0.write_all(text.as_bytes()).and_then(|()| file.0.flush()).map_err(ManifestError::Io)?;
        let cancel = context.cancel.within(KUBECTL, "kubectl");
        // The user's arguments for kubectl may be paths.
        let kubectl =
            Command::new("kubectl").here().args(["apply", "-f"]).arg(file.0.path()).args(&self.kubectl);
        let said = kubectl.text(&cancel).map_err(ManifestError::Kubectl)?;
        context.view.finish();
        Ok(print(&said)?)
    }
}
