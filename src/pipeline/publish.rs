//! Publishes images: layouts first, then the outputs that are written from a layout. Each is complete or absent.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::BuildError;
use crate::host::Host;
use crate::image::{Image, index};
use crate::layout::LayoutWriter;
use crate::oci::{Encoded, annotation};
use crate::output::report::Published;
use crate::output::{Finished, Opened, OutputError, OutputWriter, entry};
use crate::plan::{Plan, PlatformPlan};
use crate::registry::Client;
use crate::settings::Output;
use crate::sys::staging::Staging;

/// The opened outputs. The first layout also takes the blobs while they are made.
pub(super) struct Publisher<'a> {
    plan: &'a Plan,
    registries: &'a Client,
    host: Host<'a>,
    /// The layouts, each with the image's names there.
    layouts: Vec<(LayoutWriter, &'a [String])>,
    /// The outputs that are written from a layout.
    others: Vec<(Box<dyn OutputWriter>, &'a [String])>,
    /// A layout that is only there for other outputs, and is removed when this value is dropped.
    _temporary: Option<Staging>,
}

/// A platform's image, and what it was planned to be.
pub(super) struct Built<'a> {
    pub(super) plan: &'a PlatformPlan,
    pub(super) image: Image,
}

impl<'a> Publisher<'a> {
    /// Opens and checks every output.
    pub(super) fn open(plan: &'a Plan, registries: &'a Client, host: Host<'a>) -> Result<Self, BuildError> {
        let cancel = host.cancel;
        let (mut layouts, mut others, mut temporary) = (Vec::new(), Vec::new(), None);
        for output in &plan.outputs {
            let names = output.names_or(&plan.tags);
            match output.open(host)? {
                Opened::Layout(layout) => layouts.push((*layout, names)),
                Opened::Later(writer) => others.push((writer, names)),
            }
        }
        if layouts.is_empty() {
            let path = plan.outputs.iter().find_map(Output::path).unwrap_or(&plan.default_layout);
            let dir = Staging::beside(path, cancel).map_err(OutputError::from)?;
            layouts.push((LayoutWriter::open(&dir.path().join("layout"), cancel)?, &plan.tags));
            temporary = Some(dir);
        }
        Ok(Self { plan, registries, host, layouts, others, _temporary: temporary })
    }

    /// The directory that layers are written into.
    pub(super) fn blobs(&self) -> &Path {
        self.layouts[0].0.blobs()
    }

    /// Publishes an index of the images. `stdout` takes what an output sends there.
    pub(super) fn publish(
        self,
        built: Vec<Built<'_>>,
        stdout: &mut dyn Write,
    ) -> Result<Published, BuildError> {
        let annotations = annotations(self.plan, &built);
        let images: Vec<Image> = built.into_iter().map(|built| built.image).collect();
        let images = images.as_slice();
        let mut index = index::assemble(images, &annotations);
        index.descriptor.annotations.clone_from(&self.plan.index_descriptor_annotations);
        let content = self.plan.outputs.iter().any(Output::has_content);
        // All are filled before the first is published, since they are filled from its blobs.
        for (layout, _) in &self.layouts {
            for image in images {
                for layer in &image.layers {
                    self.host.cancel.check()?;
                    // A layer that only goes to a registry may be there already.
                    if layer.origin.is_none() || content {
                        layout.add_layer(layer)?;
                    }
                }
                layout.add_document(&image.config)?;
                layout.add_document(&image.manifest)?;
            }
        }
        let mut first: Option<PathBuf> = None;
        for (layout, names) in self.layouts {
            let path = layout.path().to_owned();
            layout.commit(&index, names)?;
            first.get_or_insert(path);
        }
        let mut loaded = None;
        if let Some(layout) = first.as_deref() {
            let Self { plan, host, registries, .. } = self;
            let (index, package) = (&index.descriptor, plan.package.as_str());
            let from = Finished { host, registries, layout, index, images, package };
            for (writer, names) in &self.others {
                let id = writer.write(&from, names, stdout)?;
                loaded = loaded.or(id);
            }
        }
        let platforms = images.iter().map(|image| {
            let manifest = entry(image);
            (image.platform.clone(), (manifest, image.config.digest().clone()))
        });
        let outputs = self.plan.outputs.iter();
        let untagged = outputs.filter(|output| output.is_untagged());
        let untagged: Vec<String> =
            untagged.flat_map(|output| output.names_or(&self.plan.tags)).cloned().collect();
        let mut names = self.plan.tags.clone();
        names.extend(self.plan.outputs.iter().flat_map(|output| output.names.iter().cloned()));
        // A repository that the image is pushed to by digest has no tag `latest`.
        names.retain(|name| !untagged.contains(name));
        names.dedup();
        Ok(Published {
            root: index.descriptor.clone(),
            platforms: platforms.collect(),
            names,
            untagged,
            loaded,
        })
    }
}

/// The index's annotations: the project's, and those that all platforms have with the same value, except the ones that were
/// asked for on manifests only.
fn annotations(plan: &Plan, built: &[Built<'_>]) -> BTreeMap<String, String> {
    let mut annotations = plan.annotations.clone();
    let parsed: Vec<BTreeMap<String, String>> = built
        .iter()
        .map(|Built { plan, image }| {
            let mut all = of_manifest(&image.manifest);
            all.retain(|key, _| !plan.image.manifest_annotations.contains_key(key));
            all.extend(plan.image.annotations.clone());
            all
        })
        .collect();
    if let Some((first, rest)) = parsed.split_first() {
        for (key, value) in first {
            if rest.iter().all(|other| other.get(key) == Some(value)) {
                annotations.insert(key.clone(), value.clone());
            }
        }
        // Platforms with different bases have no common digest.
        if rest.iter().any(|other| other.get(annotation::BASE_DIGEST) != first.get(annotation::BASE_DIGEST)) {
            annotations.remove(annotation::BASE_DIGEST);
        }
    }
    annotations.extend(plan.index_annotations.clone());
    annotations
}

fn of_manifest(manifest: &Encoded) -> BTreeMap<String, String> {
    #[derive(serde::Deserialize)]
    struct Annotated {
        #[serde(default)]
        annotations: BTreeMap<String, String>,
    }
    serde_json::from_slice::<Annotated>(&manifest.bytes)
        .map(|document| document.annotations)
        .unwrap_or_default()
}
