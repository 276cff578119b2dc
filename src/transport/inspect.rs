//! The contents of an image: index, platforms, configurations, layers, and what was added to the base.

use std::collections::BTreeMap;
use std::io;

use serde::Serialize;
use serde_json::Value;

use super::{Referrer, Source, TransportError};
use crate::archive::{self, Kind, Packing};
use crate::layout::entry::is_document;
use crate::oci::{Descriptor, Digest, annotation, total_size};
use crate::rootfs::{Guard, Guarded, StreamError};
use crate::sys::cancel::Cancel;
use crate::target::platform::Platform;

/// The maximum number of files that are listed of one added layer.
const MOST_FILES: usize = 1000;
/// The maximum number of files that are listed of all added layers together: any number of images may name one layer.
const MOST_LISTED: usize = 100_000;
/// An added layer that unpacks to more bytes than this is not listed.
const LAYER_LIMIT: u64 = 8 << 30;

/// An image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Inspection {
    /// The reference.
    pub reference: String,
    /// The names that it has in its source.
    pub names: Vec<String>,
    /// The digest of its index or manifest.
    pub digest: Digest,
    /// The media type of that document.
    pub media_type: String,
    /// The size of that document in bytes.
    pub size: u64,
    /// The bytes of all documents and blobs, each counted once.
    pub total_size: u64,
    /// The document's annotations.
    pub annotations: BTreeMap<String, String>,
    /// The images, in the index's order.
    pub images: Vec<ImageInspection>,
    /// Entries that are not images: attestations and other artifacts, entries of unknown types and, in a layout, the
    /// image's referrers.
    pub artifacts: Vec<ArtifactInspection>,
}

/// One platform's image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageInspection {
    /// The platform.
    pub platform: Platform,
    /// The manifest's digest.
    pub digest: Digest,
    /// The bytes of manifest, configuration and layers.
    pub size: u64,
    /// The manifest's annotations.
    pub annotations: BTreeMap<String, String>,
    /// The configuration's digest: what engines call the image's ID.
    pub config: Digest,
    /// The base's name and digest, if annotations have them.
    pub base: Option<BaseInspection>,
    /// The execution parameters.
    pub run: RunInspection,
    /// The layers, lowest first.
    pub layers: Vec<LayerInspection>,
}

/// The base of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BaseInspection {
    /// `org.opencontainers.image.base.name`.
    pub name: String,
    /// `org.opencontainers.image.base.digest`.
    pub digest: Option<String>,
}

/// The execution parameters of a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunInspection {
    /// When it was made.
    pub created: Option<String>,
    /// `Entrypoint`.
    pub entrypoint: Vec<String>,
    /// `Cmd`.
    pub cmd: Vec<String>,
    /// `Env`.
    pub env: Vec<String>,
    /// `WorkingDir`.
    pub workdir: Option<String>,
    /// `User`.
    pub user: Option<String>,
    /// `ExposedPorts`.
    pub expose: Vec<String>,
    /// `Labels`.
    pub labels: BTreeMap<String, String>,
}

/// A layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LayerInspection {
    /// The blob's digest.
    pub digest: Digest,
    /// The blob's media type.
    pub media_type: String,
    /// The blob's size in bytes.
    pub size: u64,
    /// The `created_by` of its entry in the history.
    pub created_by: Option<String>,
    /// True if xbuild added it to the base.
    pub added: bool,
    /// The files of an added layer.
    pub files: Vec<FileInspection>,
    /// The number of files that are not listed.
    pub more_files: usize,
}

/// A file of an added layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FileInspection {
    /// The path in the image.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
}

/// A manifest that is not an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ArtifactInspection {
    /// The manifest's digest.
    pub digest: Digest,
    /// The manifest's size in bytes.
    pub size: u64,
    /// The kind: `attestation-manifest`, or an artifact's type.
    pub kind: String,
    /// The digest that it is about.
    pub about: Option<String>,
}

/// The platforms of an image, and the total size of its documents and blobs in bytes, each counted once.
///
/// # Errors
///
/// If a document cannot be read or is malformed, or if the work is cancelled.
pub fn summary(source: &Source, cancel: &Cancel) -> Result<(Vec<Platform>, u64), TransportError> {
    let mut platforms = Vec::new();
    let mut each = |parts: &Parts<'_>| {
        platforms.extend(parts.platform.cloned());
        Ok(())
    };
    let size = walk(source, cancel, &mut each, &mut |_| ())?;
    Ok((platforms, size))
}

/// Inspects an image. Documents are verified, and of the blobs the layers that xbuild added; those of a registry are
/// not fetched.
///
/// # Errors
///
/// If a document, or a layer that is listed, cannot be read or is malformed, or if the work is cancelled.
pub fn inspect(source: &Source, cancel: &Cancel) -> Result<Inspection, TransportError> {
    let root = source.root();
    let document = source.json(root)?;
    let (mut images, mut artifacts, mut others) = (Vec::new(), Vec::new(), Vec::new());
    let mut looked = Looked { layers: BTreeMap::new(), left: MOST_LISTED };
    let mut each = |parts: &Parts<'_>| {
        match parts.platform {
            Some(platform) => images.push(image(source, platform.clone(), parts, &mut looked, cancel)?),
            None => artifacts.push(artifact(parts.descriptor, parts.manifest, &parts.config.media_type)),
        }
        Ok(())
    };
    let total_size = walk(source, cancel, &mut each, &mut |entry| {
        let kind = entry.other.get("artifactType").and_then(Value::as_str);
        others.push(artifact(entry, &Value::Null, kind.unwrap_or(&entry.media_type)));
    })?;
    artifacts.extend(others);
    // An error in another image of the same layout does not concern this one.
    match super::Image::whole(source).with_listed_referrers() {
        Ok(image) => artifacts.extend(image.referrers.iter().map(Referrer::inspected)),
        Err(TransportError::Cancelled(cancelled)) => return Err(cancelled.into()),
        Err(_) => {}
    }
    Ok(Inspection {
        reference: source.shown().to_owned(),
        names: source.names(),
        digest: root.digest.clone(),
        media_type: root.media_type.clone(),
        size: root.size,
        total_size,
        annotations: texts(&document["annotations"]),
        images,
        artifacts,
    })
}

/// Visits every manifest with its layers, and every entry of an unknown type. Returns the total size of all documents
/// and blobs in bytes, each counted once.
fn walk(
    source: &Source,
    cancel: &Cancel,
    each: &mut dyn FnMut(&Parts<'_>) -> Result<(), TransportError>,
    other: &mut dyn FnMut(&Descriptor),
) -> Result<u64, TransportError> {
    let root = source.root();
    let mut sizes: BTreeMap<Digest, u64> = BTreeMap::from([(root.digest.clone(), root.size)]);
    for entry in source.manifests(root)? {
        cancel.check()?;
        if !is_document(&entry.descriptor) && entry.platform.is_none() {
            let (digest, size) = (entry.descriptor.digest.clone(), entry.descriptor.size);
            sizes.insert(digest, size);
            other(&entry.descriptor);
            continue;
        }
        let manifest = source.json(&entry.descriptor)?;
        let config: Descriptor = part(source, &entry.descriptor, &manifest, "config")?;
        let layers: Vec<Descriptor> = part(source, &entry.descriptor, &manifest, "layers")?;
        for descriptor in layers.iter().chain([&config, &entry.descriptor]) {
            sizes.insert(descriptor.digest.clone(), descriptor.size);
        }
        let parts = Parts {
            platform: entry.platform.as_ref(),
            descriptor: &entry.descriptor,
            manifest: &manifest,
            config: &config,
            layers: &layers,
        };
        each(&parts)?;
    }
    Ok(sizes.values().fold(0, |sum, size| sum.saturating_add(*size)))
}

struct Parts<'a> {
    platform: Option<&'a Platform>,
    descriptor: &'a Descriptor,
    manifest: &'a Value,
    config: &'a Descriptor,
    layers: &'a [Descriptor],
}

fn image(
    source: &Source,
    platform: Platform,
    parts: &Parts<'_>,
    looked: &mut Looked,
    cancel: &Cancel,
) -> Result<ImageInspection, TransportError> {
    let config = source.json(parts.config)?;
    let annotations = texts(&parts.manifest["annotations"]);
    let base = annotations.get(annotation::BASE_NAME).map(|name| BaseInspection {
        name: name.clone(),
        digest: annotations.get(annotation::BASE_DIGEST).cloned(),
    });
    // Entries of the history without a layer do not count.
    let history: Vec<&Value> = config["history"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|entry| entry["empty_layer"] != true)
        .collect();
    let mut inspected = Vec::new();
    for (number, layer) in parts.layers.iter().enumerate() {
        let entry = history.get(number).copied().unwrap_or(&Value::Null);
        let added = entry["comment"] == "xbuild";
        // Layers in a registry are not fetched for it.
        let look = added && source.repository().is_none() && !source.lies_elsewhere(layer)?;
        let (files, more_files) = if look { looked.files(source, layer, cancel)? } else { (Vec::new(), 0) };
        inspected.push(LayerInspection {
            digest: layer.digest.clone(),
            media_type: layer.media_type.clone(),
            size: layer.size,
            created_by: entry["created_by"].as_str().map(str::to_owned),
            added,
            files,
            more_files,
        });
    }
    let blobs = parts.layers.iter().chain([parts.descriptor, parts.config]);
    Ok(ImageInspection {
        platform,
        digest: parts.descriptor.digest.clone(),
        size: total_size(blobs),
        annotations,
        config: parts.config.digest.clone(),
        base,
        run: run(&config),
        layers: inspected,
    })
}

fn run(config: &Value) -> RunInspection {
    let run = &config["config"];
    let list = |key: &str| -> Vec<String> {
        let items = run[key].as_array().into_iter().flatten();
        items.filter_map(|item| item.as_str().map(str::to_owned)).collect()
    };
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let ports = run["ExposedPorts"].as_object().into_iter().flatten();
    RunInspection {
        created: text(&config["created"]),
        entrypoint: list("Entrypoint"),
        cmd: list("Cmd"),
        env: list("Env"),
        workdir: text(&run["WorkingDir"]),
        user: text(&run["User"]),
        expose: ports.map(|(port, _)| port.clone()).collect(),
        labels: texts(&run["Labels"]),
    }
}

/// `fallback` is its kind if neither the entry nor the manifest has one.
pub(super) fn artifact(descriptor: &Descriptor, manifest: &Value, fallback: &str) -> ArtifactInspection {
    let kind = descriptor
        .annotation(annotation::DOCKER_REFERENCE_TYPE)
        .or_else(|| manifest["artifactType"].as_str().filter(|kind| !kind.is_empty()))
        .unwrap_or(fallback);
    let about = descriptor
        .annotation(annotation::DOCKER_REFERENCE_DIGEST)
        .or_else(|| manifest["subject"]["digest"].as_str());
    ArtifactInspection {
        digest: descriptor.digest.clone(),
        size: descriptor.size,
        kind: kind.to_owned(),
        about: about.map(str::to_owned),
    }
}

/// The files of the layers that were listed, each read once, and how many more may be listed.
struct Looked {
    layers: BTreeMap<Digest, (Vec<FileInspection>, usize)>,
    left: usize,
}

impl Looked {
    /// The listed files of a layer, and how many more there are.
    fn files(
        &mut self,
        source: &Source,
        layer: &Descriptor,
        cancel: &Cancel,
    ) -> Result<(Vec<FileInspection>, usize), TransportError> {
        cancel.check()?;
        if !self.layers.contains_key(&layer.digest) {
            self.layers.insert(layer.digest.clone(), files(source, layer, cancel)?);
        }
        let (files, more) = &self.layers[&layer.digest];
        let count = files.len().min(self.left);
        self.left -= count;
        Ok((files[..count].to_vec(), more + files.len() - count))
    }
}

/// The files of a layer, and how many more there are.
fn files(
    source: &Source,
    layer: &Descriptor,
    cancel: &Cancel,
) -> Result<(Vec<FileInspection>, usize), TransportError> {
    if Packing::of(&layer.media_type).is_none() {
        return Ok((Vec::new(), 0));
    }
    let fault = |error| TransportError::stream(source.shown(), error);
    let guard = Guard::new(LAYER_LIMIT, cancel);
    let blob = source.blob(layer)?;
    let (_, inner) = archive::unpack(blob).map_err(|error| fault(StreamError::of(error)))?;
    let mut stream = Guarded { inner: io::BufReader::new(inner), guard: &guard };
    let mut reader = archive::Reader::new(&mut stream);
    let (mut files, mut more) = (Vec::new(), 0);
    while let Some(entry) = reader.next_entry().map_err(|error| fault(guard.explain(error)))? {
        guard.allow(entry.head.stored);
        if entry.head.kind == Kind::Directory {
            continue;
        }
        if files.len() == MOST_FILES {
            more += 1;
            continue;
        }
        let path = String::from_utf8_lossy(&entry.head.path);
        let path = format!("/{}", path.trim_start_matches("./"));
        files.push(FileInspection { path, size: entry.head.size });
    }
    // Reads to the end, where the blob's digest is verified.
    guard.allow(u64::MAX);
    io::copy(&mut stream, &mut io::sink()).map_err(|error| fault(guard.explain(error)))?;
    Ok((files, more))
}

fn part<T: serde::de::DeserializeOwned>(
    source: &Source,
    descriptor: &Descriptor,
    manifest: &Value,
    field: &str,
) -> Result<T, TransportError> {
    serde_json::from_value(manifest[field].clone()).map_err(|error| TransportError::Shape {
        shown: source.shown().to_owned(),
        reason: format!("`{field}` of {}: {error}", descriptor.digest),
    })
}

/// The texts of an object.
fn texts(value: &Value) -> BTreeMap<String, String> {
    let fields = value.as_object().into_iter().flatten();
    fields.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}
