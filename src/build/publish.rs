//! Where images go: layouts and archives, each complete or not there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::BuildError;
use crate::image::Image;
use crate::index;
use crate::layout::LayoutWriter;
use crate::oci::{Encoded, annotation};
use crate::output::archive;
use crate::plan::Plan;
use crate::settings::Output;
use crate::sys::cancel::Cancel;
use crate::sys::fs;

/// The opened outputs. The first layout also takes the blobs while they are made.
pub(super) struct Publisher {
    layouts: Vec<LayoutWriter>,
    archives: Vec<PathBuf>,
    /// A layout that only archives are made of, gone with this value.
    _temporary: Option<fs::TempDir>,
}

impl Publisher {
    /// Opens and checks every output.
    pub(super) fn open(plan: &Plan, cancel: &Cancel) -> Result<Self, BuildError> {
        let (mut layouts, mut archives, mut temporary) = (Vec::new(), Vec::new(), None);
        for output in &plan.outputs {
            match output {
                Output::Layout(path) => layouts.push(LayoutWriter::open(path, cancel)?),
                Output::Archive(path) => {
                    archive::check(path)?;
                    archives.push(path.clone());
                }
            }
        }
        if layouts.is_empty() {
            let folder = archives.first().and_then(|path| path.parent()).unwrap_or_else(|| Path::new("."));
            let folder = fs::temporary_dir(folder).map_err(crate::output::OutputError::from)?;
            layouts.push(LayoutWriter::open(&folder.path().join("layout"), cancel)?);
            temporary = Some(folder);
        }
        Ok(Self { layouts, archives, _temporary: temporary })
    }

    /// The folder that layers are written into.
    pub(super) fn blobs(&self) -> &Path {
        self.layouts[0].blobs()
    }

    /// Publishes an index of the images and returns its digest.
    pub(super) fn publish(
        self,
        plan: &Plan,
        images: &[Image],
        cancel: &Cancel,
    ) -> Result<String, BuildError> {
        let index = index::assemble(images, &annotations(plan, images));
        // All are filled before the first is published: its blobs are what the others are filled from.
        for layout in &self.layouts {
            for image in images {
                for layer in &image.layers {
                    cancel.check()?;
                    layout.add_layer(layer)?;
                }
                layout.add_document(&image.config)?;
                layout.add_document(&image.manifest)?;
            }
        }
        let mut first = None;
        for layout in self.layouts {
            let path = layout.path().to_owned();
            layout.commit(&index, &plan.tags)?;
            first.get_or_insert(path);
        }
        if let Some(layout) = first {
            for path in &self.archives {
                archive::write(&layout, &index, &plan.tags, path, cancel)?;
            }
        }
        Ok(index.digest().to_string())
    }
}

/// The index's annotations: the project's, and of those that the platforms add what they all agree on.
fn annotations(plan: &Plan, images: &[Image]) -> BTreeMap<String, String> {
    let mut annotations = plan.annotations.clone();
    let parsed: Vec<BTreeMap<String, String>> =
        images.iter().map(|image| of_manifest(&image.manifest)).collect();
    if let Some((first, rest)) = parsed.split_first() {
        for (key, value) in first {
            if rest.iter().all(|other| other.get(key) == Some(value)) {
                annotations.insert(key.clone(), value.clone());
            }
        }
        // A base that differs by platform has no one digest.
        if rest.iter().any(|other| other.get(annotation::BASE_DIGEST) != first.get(annotation::BASE_DIGEST)) {
            annotations.remove(annotation::BASE_DIGEST);
        }
    }
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
