//! An OCI image layout as its specification has it, read and checked without any code of xbuild's.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use sha2::{Digest, Sha256};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER_TAR: &str = "application/vnd.oci.image.layer.v1.tar";
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// A layout that has passed every check.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) path: PathBuf,
    /// The descriptors of `index.json`, unchanged.
    pub(crate) entries: Vec<Value>,
    /// Every blob that is reachable from `index.json`.
    pub(crate) reachable: BTreeSet<String>,
    /// Every blob that is stored.
    pub(crate) stored: BTreeSet<String>,
}

/// One platform's image.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) platform: String,
    pub(crate) manifest: Value,
    pub(crate) config: Value,
}

/// Whether this is `sha256:` and 64 lower-case hexadecimal digits.
pub(crate) fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|digits| {
        digits.len() == 64 && digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
    })
}

pub(crate) fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

impl Layout {
    /// Reads a layout and recomputes everything that it claims: each stored blob's digest, each descriptor's
    /// size, each layer's `diff_id`, each platform.
    pub(crate) fn open(path: &Path) -> Result<Self, String> {
        let marker: Value = parse(&read(&path.join("oci-layout"))?)?;
        if marker["imageLayoutVersion"] != "1.0.0" {
            return Err(format!("oci-layout says {marker}"));
        }
        let index: Value = parse(&read(&path.join("index.json"))?)?;
        if index["schemaVersion"] != 2 || index.get("mediaType").is_some_and(|media_type| media_type != INDEX)
        {
            return Err(format!("index.json is no index: {index}"));
        }
        let mut layout = Self {
            path: path.to_owned(),
            entries: list(&index, "manifests")?.clone(),
            reachable: BTreeSet::new(),
            stored: BTreeSet::new(),
        };
        for name in super::names(&path.join("blobs/sha256")) {
            let digest = digest_of(&read(&path.join("blobs/sha256").join(&name))?);
            if digest != format!("sha256:{name}") {
                return Err(format!("blob {name} has the digest {digest}"));
            }
            layout.stored.insert(digest);
        }
        for entry in layout.entries.clone() {
            layout.check(&entry, 0)?;
        }
        Ok(layout)
    }

    /// Like [`Layout::open`], but any error fails the test.
    #[track_caller]
    pub(crate) fn valid(path: &Path) -> Self {
        Self::open(path).unwrap_or_else(|fault| panic!("{}: {fault}", path.display()))
    }

    fn check(&mut self, descriptor: &Value, depth: usize) -> Result<(), String> {
        let (digest, bytes) = self.blob(descriptor)?;
        self.reachable.insert(digest);
        let document: Value = parse(&bytes)?;
        if document["mediaType"] != descriptor["mediaType"] {
            return Err(format!("{descriptor} leads to a {}", document["mediaType"]));
        }
        match text(descriptor, "mediaType")? {
            INDEX if depth < 3 => {
                let mut platforms = BTreeSet::new();
                for entry in list(&document, "manifests")? {
                    if !platforms.insert(platform_of(&entry["platform"])?) {
                        return Err(format!("a platform is there twice: {document}"));
                    }
                    self.check(entry, depth + 1)?;
                }
                Ok(())
            }
            MANIFEST => self.check_manifest(descriptor, &document),
            other => Err(format!("unexpected media type {other} at depth {depth}")),
        }
    }

    fn check_manifest(&mut self, descriptor: &Value, manifest: &Value) -> Result<(), String> {
        let (digest, bytes) = self.blob(&manifest["config"])?;
        self.reachable.insert(digest);
        if manifest["config"]["mediaType"] != CONFIG {
            return Err(format!("the config is a {}", manifest["config"]["mediaType"]));
        }
        let config: Value = parse(&bytes)?;
        let platform = platform_of(&config)?;
        if descriptor.get("platform").is_some() && platform_of(&descriptor["platform"])? != platform {
            return Err(format!("{descriptor} leads to a config for {platform}"));
        }
        let layers = list(manifest, "layers")?;
        let diff_ids = list(&config["rootfs"], "diff_ids")?;
        if layers.len() != diff_ids.len() || layers.is_empty() {
            return Err(format!("{} layers and {} diff_ids", layers.len(), diff_ids.len()));
        }
        if let Some(history) = config.get("history").and_then(Value::as_array) {
            let filled = history.iter().filter(|entry| entry["empty_layer"] != true).count();
            if filled != layers.len() {
                return Err(format!("{} layers, but {filled} in the history", layers.len()));
            }
        }
        for (layer, expected) in layers.iter().zip(diff_ids) {
            let (digest, bytes) = self.blob(layer)?;
            let found = diff_id(&digest, text(layer, "mediaType")?, &bytes)?;
            if *expected != *found {
                return Err(format!("layer {digest} has the diff_id {found}, not {expected}"));
            }
            self.reachable.insert(digest);
        }
        Ok(())
    }

    /// The bytes of a descriptor's blob, verified against its digest and size.
    fn blob(&self, descriptor: &Value) -> Result<(String, Vec<u8>), String> {
        let digest = text(descriptor, "digest")?;
        if !is_digest(digest) || !self.stored.contains(digest) {
            return Err(format!("{descriptor} leads nowhere"));
        }
        let bytes = read(&self.path.join("blobs").join(digest.replace(':', "/")))?;
        if descriptor["size"] != bytes.len() {
            return Err(format!("{descriptor} leads to {} bytes", bytes.len()));
        }
        Ok((digest.to_owned(), bytes))
    }

    /// A blob that [`Layout::open`] has checked.
    pub(crate) fn document(&self, digest: &str) -> Value {
        serde_json::from_slice(&self.bytes(digest)).expect("a document that was checked")
    }

    pub(crate) fn bytes(&self, digest: &str) -> Vec<u8> {
        fs::read(self.path.join("blobs").join(digest.replace(':', "/"))).expect("a blob that was checked")
    }

    /// The digest of each entry of `index.json` by its reference name, which is empty if it has none.
    pub(crate) fn tags(&self) -> BTreeMap<String, String> {
        let name = |entry: &Value| entry["annotations"][REF_NAME].as_str().unwrap_or_default().to_owned();
        let digest = |entry: &Value| entry["digest"].as_str().expect("a digest").to_owned();
        let tags: BTreeMap<_, _> = self.entries.iter().map(|entry| (name(entry), digest(entry))).collect();
        assert_eq!(tags.len(), self.entries.len(), "a reference name is there twice: {:?}", self.entries);
        tags
    }

    /// The images of the index with this digest, in its order.
    #[track_caller]
    pub(crate) fn images(&self, index: &str) -> Vec<Image> {
        let index = self.document(index);
        let entries = index["manifests"].as_array().expect("an index");
        let image = |entry: &Value| {
            let manifest = self.document(entry["digest"].as_str().expect("a digest"));
            let config = self.document(manifest["config"]["digest"].as_str().expect("a digest"));
            let platform = platform_of(&entry["platform"]).expect("a platform that was checked");
            Image { platform, manifest, config }
        };
        entries.iter().map(image).collect()
    }

    /// The image of a platform in the index with this digest.
    #[track_caller]
    pub(crate) fn image(&self, index: &str, platform: &str) -> Image {
        let images = self.images(index);
        images
            .iter()
            .find(|image| image.platform == platform)
            .unwrap_or_else(|| panic!("{index} has no {platform}"))
            .clone()
    }

    /// The regular files of an image's layer, with their contents.
    pub(crate) fn files(&self, layer: &Value) -> BTreeMap<String, Vec<u8>> {
        let bytes = self.bytes(layer["digest"].as_str().expect("a digest"));
        let media_type = layer["mediaType"].as_str().expect("a media type");
        let mut archive = tar::Archive::new(uncompressed(media_type, &bytes).expect("a layer"));
        let mut files = BTreeMap::new();
        for entry in archive.entries().expect("a tar archive") {
            let mut entry = entry.expect("a tar archive");
            let path = entry.path().expect("a path").to_string_lossy().into_owned();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).expect("a file");
            if entry.header().entry_type().is_file() {
                files.insert(path, content);
            }
        }
        files
    }
}

/// The reader of a layer's tar.
fn uncompressed<'a>(media_type: &str, bytes: &'a [u8]) -> Result<Box<dyn Read + 'a>, String> {
    match media_type.strip_prefix(LAYER_TAR) {
        Some("") => Ok(Box::new(bytes)),
        Some("+gzip") => Ok(Box::new(flate2::read::MultiGzDecoder::new(bytes))),
        Some("+zstd") => Ok(Box::new(zstd::Decoder::new(bytes).map_err(|error| error.to_string())?)),
        _ => Err(format!("a layer is a {media_type}")),
    }
}

/// The digest of a layer's tar. Remembered by the digest of the compressed bytes, which is verified every time: the
/// same bytes have the same tar.
fn diff_id(digest: &str, media_type: &str, bytes: &[u8]) -> Result<String, String> {
    static KNOWN: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());
    let key = format!("{digest} {media_type}");
    if let Some(known) = KNOWN.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
        return Ok(known.clone());
    }
    let mut tar = uncompressed(media_type, bytes)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match tar.read(&mut buffer).map_err(|error| format!("layer {digest}: {error}"))? {
            0 => break,
            count => hasher.update(&buffer[..count]),
        }
    }
    let found = format!("sha256:{}", hex::encode(hasher.finalize()));
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner).insert(key, found.clone());
    Ok(found)
}

fn platform_of(document: &Value) -> Result<String, String> {
    let platform = format!("{}/{}", text(document, "os")?, text(document, "architecture")?);
    Ok(match document.get("variant").and_then(Value::as_str) {
        Some(variant) => format!("{platform}/{variant}"),
        None => platform,
    })
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn parse(bytes: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(bytes).map_err(|error| format!("{error}: {}", String::from_utf8_lossy(bytes)))
}

fn text<'a>(document: &'a Value, key: &str) -> Result<&'a str, String> {
    document[key].as_str().ok_or_else(|| format!("no text `{key}` in {document}"))
}

fn list<'a>(document: &'a Value, key: &str) -> Result<&'a Vec<Value>, String> {
    document[key].as_array().ok_or_else(|| format!("no list `{key}` in {document}"))
}
