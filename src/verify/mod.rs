//! Checks whether an image is consistent, and whether it will run. It may have been built by any tool.
//!
//! [`verify`] reads every document and every blob that is reachable from an image, each once, and checks them against
//! their digests, sizes and the specification (`documents` is pure). The root filesystem of the layers is then given to
//! [`crate::linkcheck`], as in a build. All faults are found, not only the first; all platforms are checked in
//! parallel, and the report is in platform order.
//!
//! In general it is not known which files were added to a base. Those in xbuild's own layers are checked as in a build.
//! Problems of programs in the layers of other builders' `COPY` and `ADD` are warnings, since these programs may never
//! be started; whatever the image starts is always checked.

pub(crate) mod documents;
mod error;
mod fault;
mod layers;
mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rayon::prelude::*;
use serde_json::Value;

pub use error::VerifyError;
pub use fault::Fault;
pub use report::{Elsewhere, Finding, PlatformReport, Report, What};

use self::layers::{Layer, fault_of};
use crate::layout::entry::MOST_NESTED;
use crate::layout::{Layout, reachable};
use crate::linkcheck::{self, Execution, Origin, Severity};
use crate::oci::{Algorithm, Descriptor, Digest, annotation, media_type, total_size};
use crate::rootfs::{Change, Kind, LayerIndex, Root, StreamError};
use crate::sys::cancel::{Cancel, Cancelled};
use crate::sys::fs;
use crate::sys::threads::{self, Task};
use crate::target::platform::Platform;
use crate::transport::{Source, TransportError};

/// The maximum number of manifests of an image.
const MOST_MANIFESTS: usize = 4096;
/// The `comment` in the history of layers that xbuild made.
const OWN: &str = "xbuild";

/// Options of a verification.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Only these platforms; all if it is empty.
    pub platforms: Vec<Platform>,
    /// Also report unreachable blobs if the image is in a layout.
    pub strict: bool,
}

/// Verifies an image.
///
/// # Errors
///
/// If a requested platform is missing, if the image's storage can no longer be read, or if the work is cancelled.
/// Faults of the image are in the report.
pub fn verify(source: &Source, options: &Options, cancel: &Cancel) -> Result<Report, VerifyError> {
    let (seen, deep) = (BTreeSet::new(), BTreeSet::new());
    let mut walk = Walk { source, seen, deep, faults: Vec::new(), manifests: Vec::new() };
    walk.document(source.root(), 0, cancel)?;
    let Walk { mut faults, manifests, .. } = walk;
    let mut images = manifests
        .par_iter()
        .map(|descriptor| Image::read(source, descriptor, cancel))
        .collect::<Result<Vec<Image>, VerifyError>>()?;
    faults.retain(|fault| is_about_images(fault, &images));
    chosen(&mut images, options, source.shown())?;
    if !images.iter().any(|image| image.runnable) && !faults.iter().any(Fault::hides_images) {
        faults.push(Fault::NoImage {});
    }
    let layers = read_layers(source, &images, cancel)?;
    faults.extend(same_layers(&images, &layers));
    if options.strict {
        faults.extend(unreachable(source, cancel)?);
    }
    // An attestation is only checked for its bytes.
    let (images, others): (Vec<Image>, Vec<Image>) = images.into_iter().partition(|image| image.runnable);
    for other in others {
        faults.extend(other.faults);
        faults.extend(other.layers.iter().filter_map(|layer| layers.get(&layer.digest)).flat_map(|layer| {
            let unknown = |fault: &&Fault| !matches!(fault, Fault::UnknownMediaType { .. });
            layer.faults.iter().filter(unknown).cloned().collect::<Vec<_>>()
        }));
    }
    let mut platforms = images
        .par_iter()
        .map(|image| image.report(&layers, cancel))
        .collect::<Result<Vec<PlatformReport>, Cancelled>>()?;
    platforms.sort_by(|a, b| a.platform.cmp(&b.platform));
    let mut report = Report {
        reference: source.shown().to_owned(),
        digest: source.root().digest.clone(),
        errors: 0,
        warnings: 0,
        findings: faults.into_iter().map(Finding::from).collect(),
        platforms,
    };
    report.findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    report.errors = report.all().filter(|finding| finding.severity == Severity::Error).count();
    report.warnings = report.all().count() - report.errors;
    Ok(report)
}

/// False for a fault about the platforms of manifests that are not images: they need no platform, and may share one.
fn is_about_images(fault: &Fault, images: &[Image]) -> bool {
    let is_image =
        |digest: &Digest| images.iter().all(|image| image.runnable || image.descriptor.digest != *digest);
    match fault {
        Fault::NoPlatform { digest } => is_image(digest),
        Fault::PlatformTwice { digests, .. } => digests.iter().filter(|digest| is_image(digest)).count() > 1,
        _ => true,
    }
}

/// Keeps only the requested platforms, each of which must exist.
fn chosen(images: &mut Vec<Image>, options: &Options, shown: &str) -> Result<(), VerifyError> {
    if options.platforms.is_empty() {
        return Ok(());
    }
    let runnable = images.iter().filter(|image| image.runnable);
    let offered: Vec<Platform> = runnable.filter_map(|image| image.platform().cloned()).collect();
    let mut wanted = BTreeSet::new();
    for platform in &options.platforms {
        let found = platform.every(offered.iter());
        if found.is_empty() {
            return Err(TransportError::NoPlatform {
                shown: shown.to_owned(),
                wanted: platform.clone(),
                available: offered.iter().map(ToString::to_string).collect(),
            }
            .into());
        }
        wanted.extend(found.into_iter().map(|at| &offered[at]));
    }
    images.retain(|image| image.platform().is_some_and(|platform| wanted.contains(platform)));
    Ok(())
}

/// The traversal from the root to every manifest.
struct Walk<'a> {
    source: &'a Source,
    seen: BTreeSet<Digest>,
    /// The indexes that were nested too deep to be read.
    deep: BTreeSet<Digest>,
    faults: Vec<Fault>,
    manifests: Vec<Descriptor>,
}

impl Walk<'_> {
    fn document(
        &mut self,
        descriptor: &Descriptor,
        depth: usize,
        cancel: &Cancel,
    ) -> Result<(), VerifyError> {
        cancel.check()?;
        let is_index = media_type::is_index(&descriptor.media_type);
        if is_index && depth == MOST_NESTED {
            let fault = Fault::TooDeep { digest: descriptor.digest.clone() };
            // It may be reached again on a shorter path, and is read then.
            if self.deep.insert(descriptor.digest.clone()) {
                self.faults.push(fault);
            }
            return Ok(());
        }
        if !self.seen.insert(descriptor.digest.clone()) || self.manifests.len() == MOST_MANIFESTS {
            return Ok(());
        }
        if !is_index {
            self.manifests.push(descriptor.clone());
            return Ok(());
        }
        // Reported once: indexes inside of the first one make no difference.
        if depth > 0 && !self.faults.iter().any(|fault| matches!(fault, Fault::NestedIndex { .. })) {
            self.faults.push(Fault::NestedIndex { digest: descriptor.digest.clone() });
        }
        let bytes = match self.source.document(descriptor) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.faults.push(fault_of(error, &descriptor.digest)?);
                return Ok(());
            }
        };
        let (index, faults) = documents::index(&bytes, descriptor);
        self.faults.extend(faults);
        for entry in &index.entries {
            self.document(entry, depth + 1, cancel)?;
        }
        Ok(())
    }
}

/// A manifest with its configuration, as far as they could be read.
#[derive(Debug)]
struct Image {
    descriptor: Descriptor,
    /// False for an attestation and for other manifests that are not images.
    runnable: bool,
    /// The manifest itself.
    manifest: Value,
    /// The platform of the index's entry.
    in_index: Option<Platform>,
    config: documents::Config,
    layers: Vec<Descriptor>,
    /// The layers that are at their `urls`.
    elsewhere: Vec<Elsewhere>,
    faults: Vec<Fault>,
}

impl Image {
    fn read(source: &Source, descriptor: &Descriptor, cancel: &Cancel) -> Result<Self, VerifyError> {
        let mut image = Self {
            descriptor: descriptor.clone(),
            runnable: descriptor.annotation(annotation::DOCKER_REFERENCE_TYPE).is_none(),
            manifest: Value::Null,
            in_index: descriptor.platform.as_ref().and_then(Platform::of_fields),
            config: documents::Config::default(),
            layers: Vec::new(),
            elsewhere: Vec::new(),
            faults: Vec::new(),
        };
        let digest = &descriptor.digest;
        if !media_type::is_manifest(&descriptor.media_type) {
            // Readers skip unknown types (image specification, "Image Index").
            image.runnable = false;
            image.faults.extend(layers::blob(source, descriptor, Source::entry, cancel)?);
            return Ok(image);
        }
        let bytes = match source.document(descriptor) {
            Ok(bytes) => bytes,
            Err(error) => {
                image.faults.push(fault_of(error, digest)?);
                return Ok(image);
            }
        };
        let (manifest, faults) = documents::manifest(&bytes, descriptor);
        image.manifest = serde_json::from_slice(&bytes).unwrap_or_default();
        image.faults.extend(faults);
        image.layers = manifest.layers;
        for layer in &image.layers {
            if source.lies_elsewhere(layer)? {
                let urls = layer.urls().map(ToOwned::to_owned).collect();
                image.elsewhere.push(Elsewhere { digest: layer.digest.clone(), urls });
            }
        }
        let Some(config) = manifest.config else { return Ok(image) };
        if !matches!(config.media_type.as_str(), media_type::CONFIG | media_type::DOCKER_CONFIG) {
            // An artifact (image specification, "Guidelines for Artifact Usage").
            image.runnable = false;
            image.faults.extend(layers::blob(source, &config, Source::blob, cancel)?);
            return Ok(image);
        }
        match source.document(&config) {
            Ok(bytes) if image.runnable => {
                let (read, faults) = documents::config(&bytes, &config.digest, image.layers.len());
                image.config = read;
                image.faults.extend(faults);
            }
            // The content of an attestation's configuration is not checked.
            Ok(_) => {}
            Err(error) => image.faults.push(fault_of(error, &config.digest)?),
        }
        if let (Some(index), Some(config)) = (&image.in_index, &image.config.platform)
            && !index.agrees(config)
        {
            let (index, config) = (index.to_string(), config.to_string());
            image.faults.push(Fault::PlatformMismatch { index, config });
        }
        Ok(image)
    }

    /// The platform by which engines choose it.
    fn platform(&self) -> Option<&Platform> {
        self.in_index.as_ref().or(self.config.platform.as_ref())
    }

    fn shown_platform(&self) -> String {
        self.platform().map_or_else(|| "unknown".into(), ToString::to_string)
    }

    /// The report on this platform's image.
    fn report(&self, layers: &BTreeMap<Digest, Layer>, cancel: &Cancel) -> Result<PlatformReport, Cancelled> {
        let mut faults = self.faults.clone();
        let mut indexes = Vec::new();
        for (at, descriptor) in self.layers.iter().enumerate() {
            let Some(layer) = layers.get(&descriptor.digest) else { continue };
            faults.extend(layer.faults.iter().cloned());
            let Some(index) = &layer.index else { continue };
            if let Some(expected) =
                self.config.diff_ids.get(at).filter(|expected| **expected != index.diff_id)
            {
                let (layer, expected) = (descriptor.digest.clone(), expected.clone());
                faults.push(Fault::WrongDiffId { layer, expected, found: index.diff_id.clone() });
            }
            indexes.push((at, index));
        }
        let mut report = PlatformReport {
            platform: self.shown_platform(),
            digest: self.descriptor.digest.clone(),
            layers: self.layers.len(),
            size: total_size(self.layers.iter().chain([&self.descriptor])),
            runs: None,
            elsewhere: self.elsewhere.clone(),
            findings: Vec::new(),
            unseen: Vec::new(),
            checked: Vec::new(),
        };
        // The root filesystem is known only if all layers were read.
        let known = self.config.document.is_object() && indexes.len() == self.layers.len();
        if let Some(platform) = self.platform().filter(|_| known) {
            let (linked, foreign) = self.run(platform, &indexes, cancel)?;
            faults.extend(foreign);
            if let Some(linked) = linked {
                report.runs = Some(!linked.fails());
                report.findings = linked.findings.into_iter().map(Finding::from).collect();
                report.unseen = linked.unseen;
                report.checked = linked.checked;
            }
        }
        report.findings.extend(faults.into_iter().map(Finding::from));
        report.findings.sort_by_key(|finding| {
            (std::cmp::Reverse(finding.severity), matches!(finding.what, What::Link(_)))
        });
        Ok(report)
    }

    /// The link check, and the check that the programs of the image are for its platform. There is no link report if
    /// the root filesystem is too large.
    fn run(
        &self,
        platform: &Platform,
        indexes: &[(usize, &LayerIndex)],
        cancel: &Cancel,
    ) -> Result<(Option<linkcheck::Report>, Option<Fault>), Cancelled> {
        let mut root = Root::default();
        for (at, index) in indexes {
            match root.lay(index, cancel) {
                Ok(()) => {}
                Err(StreamError::Cancelled(cancelled)) => return Err(cancelled),
                Err(error) => {
                    let digest = self.layers[*at].digest.clone();
                    let fault = Fault::BrokenLayer { digest, reason: error.to_string() };
                    return Ok((None, Some(fault)));
                }
            }
        }
        let history = self.history();
        let files = |wanted: &dyn Fn(usize, &Made) -> bool| {
            let made =
                indexes.iter().filter(|(at, _)| history.get(*at).is_some_and(|made| wanted(*at, made)));
            let added = made.flat_map(|(_, index)| &index.entries).filter(|(_, change)| {
                matches!(change, Change::Link(_))
                    || matches!(change, Change::Put(node) if matches!(node.kind, Kind::File(_)))
            });
            added.map(|(path, _)| path.clone()).collect::<BTreeSet<String>>()
        };
        let own = files(&|_, made| *made == Made::Xbuild);
        let (execution, origin) = (Execution::of_config(&self.config.document), self.origin());
        let check = |added: &BTreeSet<String>| {
            let (root, execution, origin) = (&root, &execution, &origin);
            linkcheck::check(&linkcheck::Request { platform, root, execution, added, origin }, cancel)
        };
        let mut report = check(&own)?;
        // The lowest layer is a base's, however it was made.
        let copied = files(&|at, made| at > 0 && *made == Made::Copied);
        if own.is_empty() && !copied.is_empty() {
            for mut finding in check(&copied)?.findings {
                if !report.findings.iter().any(|known| known.problem == finding.problem) {
                    finding.severity = Severity::Warning;
                    report.findings.push(finding);
                }
            }
        }
        Ok((Some(report), foreign(platform, &root)))
    }

    /// The origin of each layer, from the history.
    fn history(&self) -> Vec<Made> {
        let entries = self.config.document["history"].as_array().cloned().unwrap_or_default();
        let filled = entries.iter().filter(|entry| entry["empty_layer"] != true);
        filled
            .map(|entry| {
                let created_by = entry["created_by"].as_str().unwrap_or_default();
                let copied = created_by.trim_start_matches("/bin/sh -c #(nop) ");
                if entry["comment"] == OWN {
                    Made::Xbuild
                } else if ["COPY ", "ADD ", "ko "].iter().any(|word| copied.starts_with(word)) {
                    Made::Copied
                } else {
                    Made::Else
                }
            })
            .collect()
    }

    /// The kind of base, from the manifest's annotation.
    fn origin(&self) -> Origin {
        let name = self.manifest["annotations"][annotation::BASE_NAME].as_str();
        match name.and_then(|name| name.strip_prefix("apt:")) {
            Some(release) => Origin::Packages { release: release.to_owned() },
            None if name.is_none() && self.history().iter().all(|made| *made == Made::Xbuild) => {
                Origin::Scratch
            }
            None => Origin::Image,
        }
    }
}

/// The origin of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Made {
    /// xbuild, on top of a base.
    Xbuild,
    /// Another builder, with copied files.
    Copied,
    /// Anything else.
    Else,
}

/// The fault if an image has programs, but none for its platform.
fn foreign(platform: &Platform, root: &Root) -> Option<Fault> {
    let mut first = None;
    let mut count = 0;
    for (path, node) in root.nodes() {
        let Some(object) = node.file().and_then(|file| file.elf()) else { continue };
        if linkcheck::unfit(platform, &path, &object.elf).is_empty() {
            return None;
        }
        count += 1;
        first.get_or_insert_with(|| (path, linkcheck::describe_elf(&object.elf)));
    }
    first.map(|(example, found)| Fault::ForeignPrograms { count, example, found })
}

/// Reads each layer once, however many platforms have it.
fn read_layers(
    source: &Source,
    images: &[Image],
    cancel: &Cancel,
) -> Result<BTreeMap<Digest, Layer>, VerifyError> {
    let mut wanted: BTreeMap<&Digest, (&Descriptor, Algorithm)> = BTreeMap::new();
    for image in images {
        let here = |layer: &Descriptor| !image.elsewhere.iter().any(|known| known.digest == layer.digest);
        for (at, layer) in image.layers.iter().enumerate().filter(|(_, layer)| here(layer)) {
            let algorithm = image.config.diff_ids.get(at).map_or(Algorithm::Sha256, Digest::algorithm);
            wanted.entry(&layer.digest).or_insert((layer, algorithm));
        }
    }
    let mut wanted: Vec<(&Descriptor, Algorithm)> = wanted.into_values().collect();
    // The largest first, so that the last ones are short.
    wanted.sort_by_key(|(layer, _)| std::cmp::Reverse(layer.size));
    let next = AtomicUsize::new(0);
    let work = || -> Result<Vec<(Digest, Layer)>, VerifyError> {
        let mut read = Vec::new();
        while let Some((layer, algorithm)) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
            match layers::read(source, layer, *algorithm, cancel) {
                Ok(found) => read.push((layer.digest.clone(), found)),
                Err(error) => {
                    // The other threads need not begin another one.
                    next.store(wanted.len(), Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
        Ok(read)
    };
    // Each layer is decompressed by one thread and examined by another, which seldom take the same time. With half as
    // many again as there are processors, all processors are busy.
    let most = rayon::current_num_threads() * 3 / 2;
    let read: Vec<Result<Vec<_>, VerifyError>> = thread::scope(|scope| {
        let count = wanted.len().min(most.max(1));
        let tasks: Vec<_> = (0..count).map(|_| threads::begin(scope, work)).collect();
        tasks.into_iter().map(Task::join).collect()
    });
    Ok(read.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
}

/// Layers with programs that several platforms share, although the programs are not for all of them.
fn same_layers(images: &[Image], layers: &BTreeMap<Digest, Layer>) -> Vec<Fault> {
    let mut users: BTreeMap<&Digest, Vec<&Image>> = BTreeMap::new();
    for image in images.iter().filter(|image| image.runnable) {
        for layer in &image.layers {
            let users = users.entry(&layer.digest).or_default();
            if !users.iter().any(|known| known.descriptor.digest == image.descriptor.digest) {
                users.push(image);
            }
        }
    }
    let mut faults = Vec::new();
    for (digest, users) in users.into_iter().filter(|(_, users)| users.len() > 1) {
        let Some(index) = layers.get(digest).and_then(|layer| layer.index.as_ref()) else { continue };
        let programs = index.entries.iter().filter_map(|(path, change)| match change {
            Change::Put(node) => Some((path, node.file()?.elf()?)),
            Change::Link(_) => None,
        });
        let wrong = programs.into_iter().find(|(path, object)| {
            let unfit = |image: &&Image| {
                image
                    .platform()
                    .is_some_and(|platform| !linkcheck::unfit(platform, path, &object.elf).is_empty())
            };
            users.iter().any(unfit)
        });
        if let Some((example, object)) = wrong {
            let mut platforms: Vec<String> = users.iter().map(|image| image.shown_platform()).collect();
            platforms.sort();
            faults.push(Fault::SameLayer {
                digest: digest.clone(),
                platforms,
                example: example.clone(),
                found: linkcheck::describe_elf(&object.elf),
            });
        }
    }
    faults
}

/// The blobs of a layout that are not reachable from any of its images.
fn unreachable(source: &Source, cancel: &Cancel) -> Result<Vec<Fault>, VerifyError> {
    let Some(root) = source.layout() else { return Ok(Vec::new()) };
    let index = Layout::open(root).and_then(|layout| layout.index());
    let Ok(index) = index else { return Ok(Vec::new()) };
    // A document that cannot be read is reported already, and its children are unknown.
    let Ok(reached) = reachable::reachable(root, &index) else { return Ok(Vec::new()) };
    let mut faults = Vec::new();
    for algorithm in Algorithm::ALL {
        let dir = root.join("blobs").join(algorithm.name());
        let Some(entries) = fs::unless_missing(fs::read_dir(&dir))? else { continue };
        for entry in entries {
            cancel.check()?;
            let entry = entry?;
            let name = entry.file_name();
            let digest = format!("{}:{}", algorithm.name(), name.to_string_lossy()).parse::<Digest>();
            if let Ok(digest) = digest
                && !reached.contains(&digest)
            {
                faults.push(Fault::UnreachableBlob { digest, size: entry.metadata()?.len() });
            }
        }
    }
    faults.sort_by_key(ToString::to_string);
    Ok(faults)
}
