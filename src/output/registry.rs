//! `type=registry`, or `--push`: the registries of the image's names.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use serde::Serialize;

use super::push::{self, Push};
use super::{Fault, Finished, Kind, Opened, OutputError, OutputWriter, Unfit};
use crate::host::Host;
use crate::image::ImageLayer;
use crate::layout::{self, Layout};
use crate::oci::name::{ImageName, RepositoryName};
use crate::oci::{Descriptor, Digest};
use crate::registry::{Access, RegistryError};
use crate::sys::cancel::Cancel;

/// The registries of its names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct RegistryOutput {
    /// Whether it is pushed only under its digest.
    pub by_digest: bool,
}

impl Kind for RegistryOutput {
    /// A registry may already have some layers.
    fn has_content(&self) -> bool {
        false
    }

    fn is_untagged(&self) -> bool {
        self.by_digest
    }

    /// Checks that there is a repository to push to, and no tag if there must not be one.
    fn check(&self, names: &[String], _platforms: usize) -> Result<(), Unfit> {
        let wrong = |name: &str, remedy| Unfit::Name { name: name.to_owned(), remedy };
        if names.is_empty() {
            return Err(Unfit::NoName);
        }
        for name in names {
            match name.parse::<ImageName>() {
                Ok(image) if self.by_digest && image.tag.is_some() => {
                    return Err(wrong(
                        name,
                        "leave the tag out: `push-by-digest` is for an image without one",
                    ));
                }
                Ok(_) => {}
                Err(_) => {
                    return Err(wrong(
                        name,
                        "write the registry and the repository: `registry.example/team/app:1.0`",
                    ));
                }
            }
        }
        Ok(())
    }

    /// Whether the registry grants access shows when the base is read or the image is pushed.
    fn open(&self, _host: Host<'_>) -> Result<Opened, Fault> {
        Ok(Opened::Later(Box::new(self.clone())))
    }

    fn describe(&self, names: &[String]) -> String {
        let names = if names.is_empty() { "its names".to_owned() } else { names.join(", ") };
        let how = if self.by_digest { "registry, by digest" } else { "registry" };
        format!("{names} ({how})")
    }
}

impl OutputWriter for RegistryOutput {
    /// Pushes the image. Blobs that are not in the layout are taken from the base's registry.
    fn write(
        &self,
        from: &Finished<'_>,
        names: &[String],
        _stdout: &mut dyn Write,
    ) -> Result<Option<Digest>, Fault> {
        let names = names.iter().map(|name| name.parse::<ImageName>()).collect::<Result<Vec<_>, _>>();
        let names = names.map_err(RegistryError::from)?;
        let opened = Layout::open(from.layout);
        let documents = opened.and_then(|layout| push::documents(&layout, from.index));
        let documents = documents.map_err(OutputError::from)?;
        let layers: BTreeMap<&Digest, &ImageLayer> = from
            .images
            .iter()
            .flat_map(|image| &image.layers)
            .map(|layer| (&layer.descriptor.digest, layer))
            .collect();
        let origins =
            layers.iter().filter_map(|(digest, layer)| Some(((*digest).clone(), layer.origin.clone()?)));
        let origins: BTreeMap<Digest, RepositoryName> = origins.collect();
        let file = |blob: &Descriptor, cancel: &Cancel| {
            let path = layout::blob(from.layout, &blob.digest);
            match layers.get(&blob.digest) {
                Some(ImageLayer { origin: Some(origin), blob: kept, .. }) if !path.exists() => {
                    let repository = from.registries.repository(origin, Access::Pull);
                    repository.fetch_blob(blob, kept, cancel, &mut |_| ())?;
                    Ok(kept.clone())
                }
                _ => Ok(path),
            }
        };
        let push = Push {
            client: from.registries,
            documents: &documents,
            others: &[],
            elsewhere: &BTreeSet::new(),
            file: &file,
            origins: &origins,
            reporter: from.host.reporter,
        };
        for (repository, tags) in push::destinations(&names, self.by_digest) {
            push.run(&repository, &tags, from.host.cancel)?;
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Output, OutputKind};
    use super::*;

    #[test]
    fn a_plan_names_it_and_its_options() {
        let output = Output::new(OutputKind::Registry(RegistryOutput { by_digest: true }));
        let plan = serde_json::to_value(&output).unwrap();
        assert_eq!(plan, serde_json::json!({ "type": "registry", "by_digest": true }));
    }
}
