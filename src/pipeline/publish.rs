//! Publishes images: layouts first, then the outputs that are made of a layout. Each is complete or absent.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::BuildError;
use crate::engine::{self, Engine, Loadable};
use crate::event::{Event, Level};
use crate::host::Host;
use crate::image::{Image, ImageLayer, index};
use crate::layout::{self, Layout, LayoutWriter};
use crate::oci::name::{ImageName, RepositoryName};
use crate::oci::{Descriptor, Digest, Encoded, annotation};
use crate::output::archive::{self, Archive, Flavour};
use crate::output::push::{self, Push};
use crate::output::report::Published;
use crate::output::{OutputError, rootfs};
use crate::plan::{Plan, PlatformPlan};
use crate::registry::{Access, Client, RegistryError};
use crate::settings::{Output, OutputKind, Sink};
use crate::sys::cancel::Cancel;
use crate::sys::staging::{self, Staging};
use crate::target::platform::Platform;

/// The opened outputs. The first layout also takes the blobs while they are made.
pub(super) struct Publisher<'a> {
    plan: &'a Plan,
    registries: &'a Client,
    host: Host<'a>,
    layouts: Vec<(LayoutWriter, Vec<String>)>,
    /// The outputs that are made of a layout, with the engine that was found.
    others: Vec<(&'a Output, Option<Engine>)>,
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
            let mut engine = None;
            match &output.kind {
                OutputKind::Layout { path } => {
                    layouts.push((LayoutWriter::open(path, cancel)?, names(plan, output)));
                    continue;
                }
                OutputKind::Archive { .. } | OutputKind::DockerArchive { .. } | OutputKind::Tar { .. } => {
                    if let Some(Sink::File(path)) = output.sink() {
                        archive::check(path, cancel)?;
                    }
                }
                OutputKind::Directory { path, .. } => {
                    Staging::beside(path, cancel).map_err(OutputError::from)?;
                }
                // Whether the registry grants access shows when the base is read or the image is pushed.
                OutputKind::Registry { .. } => {}
                OutputKind::Engine { engine: wanted } => {
                    engine = Some(engine::find(*wanted, host.environment, cancel)?);
                }
            }
            others.push((output, engine));
        }
        if layouts.is_empty() {
            let path = others.iter().find_map(|(output, _)| output.path()).unwrap_or(&plan.default_layout);
            let dir = Staging::beside(path, cancel).map_err(OutputError::from)?;
            layouts.push((LayoutWriter::open(&dir.path().join("layout"), cancel)?, plan.tags.clone()));
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
            layout.commit(&index, &names)?;
            first.get_or_insert(path);
        }
        let (plan, host, layout, index) = (self.plan, self.host, first.as_deref(), &index.descriptor);
        let from = Finished { plan, host, layout, index, images };
        let mut loaded = None;
        for (output, engine) in &self.others {
            match (&output.kind, engine) {
                (OutputKind::Registry { by_digest }, _) => {
                    from.push(output, *by_digest, self.registries)?;
                }
                (OutputKind::Engine { .. }, Some(engine)) => {
                    let id = from.load(output, *engine)?;
                    loaded = loaded.or(id);
                }
                _ => from.write(output, stdout)?,
            }
        }
        let platforms = images.iter().map(|image| {
            let manifest = entry(image);
            (image.platform.clone(), (manifest, image.config.digest().clone()))
        });
        let by_digest = |output: &&Output| output.kind == OutputKind::Registry { by_digest: true };
        let untagged: Vec<String> =
            self.plan.outputs.iter().filter(by_digest).flat_map(|output| names(self.plan, output)).collect();
        let mut names = self.plan.tags.clone();
        names.extend(self.plan.outputs.iter().flat_map(|output| output.names.iter().cloned()));
        // A repository that the image is pushed to by digest has no tag `latest`.
        names.retain(|name| !untagged.contains(name));
        names.dedup();
        Ok(Published { root: index.clone(), platforms: platforms.collect(), names, untagged, loaded })
    }
}

/// The names of the image in an output.
fn names(plan: &Plan, output: &Output) -> Vec<String> {
    if output.names.is_empty() { plan.tags.clone() } else { output.names.clone() }
}

/// A published image that other outputs are made of.
struct Finished<'a> {
    plan: &'a Plan,
    host: Host<'a>,
    layout: Option<&'a Path>,
    index: &'a Descriptor,
    images: &'a [Image],
}

impl Finished<'_> {
    fn write(&self, output: &Output, stdout: &mut dyn Write) -> Result<(), BuildError> {
        let Host { cancel, reporter, .. } = self.host;
        let Some(layout) = self.layout else { return Ok(()) };
        let names = names(self.plan, output);
        match &output.kind {
            // A layout is written already. The others are pushed or loaded.
            OutputKind::Layout { .. } | OutputKind::Registry { .. } | OutputKind::Engine { .. } => {}
            OutputKind::Archive { to } => {
                let archive = Archive { layout, root: self.index, names: &names, flavour: Flavour::Oci };
                match to {
                    Sink::File(path) => archive.write(path, cancel)?,
                    Sink::Stdout => archive.stream(stdout, cancel)?,
                }
            }
            OutputKind::DockerArchive { to } => {
                let manifest = self.images.first().map(|image| &image.manifest.descriptor);
                let flavour = manifest.map_or(Flavour::Oci, Flavour::Docker);
                let archive = Archive { layout, root: self.index, names: &names, flavour };
                match to {
                    Sink::File(path) => archive.write(path, cancel)?,
                    Sink::Stdout => archive.stream(stdout, cancel)?,
                }
            }
            OutputKind::Directory { path, split } => {
                let skipped = rootfs::write_dir(&self.filesystems(layout), *split, path, cancel)
                    .map_err(OutputError::from)?;
                if !skipped.is_empty() {
                    let text =
                        format!("devices and pipes are not written to a directory: {}", skipped.join(", "));
                    reporter.report(Event::Note { level: Level::Warning, platform: None, text });
                }
            }
            OutputKind::Tar { to, split } => {
                let images = self.filesystems(layout);
                match to {
                    Sink::Stdout => rootfs::write_tar(&images, *split, stdout, cancel),
                    Sink::File(path) => staging::write(path, 0o644, cancel, |file| {
                        rootfs::write_tar(&images, *split, &mut std::io::BufWriter::new(file), cancel)
                    }),
                }
                .map_err(OutputError::from)?;
            }
        }
        Ok(())
    }

    /// Loads the image into an engine. Returns its ID there.
    fn load(&self, output: &Output, engine: Engine) -> Result<Option<Digest>, BuildError> {
        let Host { environment, cancel, reporter, .. } = self.host;
        let Some(layout) = self.layout else { return Ok(None) };
        let mut names = names(self.plan, output);
        if names.is_empty() {
            names.push(self.plan.package.to_lowercase());
        }
        let manifests: Vec<(Platform, Descriptor)> =
            self.images.iter().map(|image| (image.platform.clone(), entry(image))).collect();
        let image = Loadable { layout, root: self.index, manifests: &manifests, names: &names };
        let work = layout.parent().unwrap_or_else(|| Path::new("/"));
        let loaded = engine::load(engine, &image, work, environment, cancel)?;
        let platforms: Vec<String> = loaded.platforms.iter().map(ToString::to_string).collect();
        let text =
            format!("loaded {} into {}: {}", loaded.names.join(", "), engine.program(), platforms.join(", "));
        reporter.report(Event::Note { level: Level::Info, platform: None, text });
        Ok(loaded.id)
    }

    /// Pushes the image. Blobs that are not in the layout are taken from the base's registry.
    fn push(&self, output: &Output, by_digest: bool, registries: &Client) -> Result<(), BuildError> {
        let Host { cancel, reporter, .. } = self.host;
        let Some(layout) = self.layout else { return Ok(()) };
        let names = names(self.plan, output);
        let names = names.iter().map(|name| name.parse::<ImageName>()).collect::<Result<Vec<_>, _>>();
        let names = names.map_err(RegistryError::from)?;
        let opened = Layout::open(layout);
        let documents = opened.and_then(|layout| push::documents(&layout, self.index));
        let documents = documents.map_err(OutputError::from)?;
        let layers: BTreeMap<&Digest, &ImageLayer> = self
            .images
            .iter()
            .flat_map(|image| &image.layers)
            .map(|layer| (&layer.descriptor.digest, layer))
            .collect();
        let origins =
            layers.iter().filter_map(|(digest, layer)| Some(((*digest).clone(), layer.origin.clone()?)));
        let origins: BTreeMap<Digest, RepositoryName> = origins.collect();
        let file = |blob: &Descriptor, cancel: &Cancel| {
            let path = layout::blob(layout, &blob.digest);
            match layers.get(&blob.digest) {
                Some(ImageLayer { origin: Some(origin), blob: kept, .. }) if !path.exists() => {
                    let repository = registries.repository(origin, Access::Pull);
                    repository.fetch_blob(blob, kept, cancel, &mut |_| ())?;
                    Ok(kept.clone())
                }
                _ => Ok(path),
            }
        };
        let push = Push {
            client: registries,
            documents: &documents,
            others: &[],
            elsewhere: &BTreeSet::new(),
            file: &file,
            origins: &origins,
            reporter,
        };
        for (repository, tags) in push::destinations(&names, by_digest) {
            push.run(&repository, &tags, cancel)?;
        }
        Ok(())
    }

    /// The images' layers, with their paths in the layout.
    fn filesystems(&self, layout: &Path) -> Vec<rootfs::Image> {
        let image = |image: &Image| rootfs::Image {
            platform: image.platform.clone(),
            layers: image
                .layers
                .iter()
                .map(|layer| (layer.descriptor.clone(), layout::blob(layout, &layer.descriptor.digest)))
                .collect(),
        };
        self.images.iter().map(image).collect()
    }
}

/// The entry of a platform's manifest in the index.
fn entry(image: &Image) -> Descriptor {
    let mut descriptor = image.manifest.descriptor.clone();
    descriptor.annotations.clone_from(&image.descriptor_annotations);
    descriptor.platform = Some(crate::oci::PlatformFields {
        os: image.platform.os().to_owned(),
        architecture: image.platform.architecture().to_owned(),
        variant: image.platform.variant().map(str::to_owned),
        ..crate::oci::PlatformFields::default()
    });
    descriptor
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
