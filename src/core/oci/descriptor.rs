//! Descriptors, and documents with their descriptors.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::digest::Digest;
use super::{annotation, json};

/// A document's reference to a blob ([image
/// specification](https://github.com/opencontainers/image-spec/blob/v1.1.1/descriptor.md)).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// The blob's media type; empty if the document omits it.
    #[serde(default)]
    pub media_type: String,
    /// The blob's digest.
    pub digest: Digest,
    /// The blob's size in bytes.
    pub size: u64,
    /// The platform, on an entry of an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<PlatformFields>,
    /// Annotations, sorted by key.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// All other fields, unchanged: `urls`, `data`, `artifactType` and fields of later versions.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// `platform` of a descriptor, as written: not normalised, with its unknown fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlatformFields {
    /// Go's name of the architecture.
    #[serde(default)]
    pub architecture: String,
    /// Go's name of the operating system.
    #[serde(default)]
    pub os: String,
    /// The variant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// All other fields: `os.version`, `os.features`, …
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The total size of some blobs. It saturates, since the sizes may be made up.
pub fn total_size<'a>(blobs: impl IntoIterator<Item = &'a Descriptor>) -> u64 {
    blobs.into_iter().fold(0, |sum, blob| sum.saturating_add(blob.size))
}

impl Descriptor {
    /// A descriptor of a blob.
    #[must_use]
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest,
            size,
            platform: None,
            annotations: BTreeMap::new(),
            other: Map::new(),
        }
    }

    /// True for a blob that need not be stored beside the document: it is at its `urls`.
    #[must_use]
    pub fn has_urls(&self) -> bool {
        self.urls().next().is_some()
    }

    /// Other locations of the blob.
    pub fn urls(&self) -> impl Iterator<Item = &str> {
        let urls = self.other.get("urls").and_then(Value::as_array).into_iter().flatten();
        urls.filter_map(Value::as_str).filter(|url| !url.is_empty())
    }

    /// True for a layer that may not be distributed, and is at its `urls`. A layer of such a media type without URLs
    /// exists only beside its document.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        (self.media_type.contains("nondistributable") || self.media_type.contains(".foreign."))
            && self.has_urls()
    }

    /// Removes the annotations that belong to an entry of a layout's index and not to the image.
    pub fn forget_entry(&mut self) {
        for key in [annotation::REF_NAME, annotation::CONTAINERD_NAME, annotation::REFERRERS] {
            self.annotations.remove(key);
        }
    }

    /// An annotation's value.
    #[must_use]
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.get(key).map(String::as_str)
    }
}

/// Accepts `null` for the empty map: some tools write `"annotations": null`.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A document that was encoded once: its bytes, and the descriptor of exactly these bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Media type, digest and size of `bytes`.
    pub descriptor: Descriptor,
    /// The document.
    pub bytes: Vec<u8>,
}

impl Encoded {
    /// Encodes a document.
    #[must_use]
    pub fn new<T: Serialize>(media_type: &str, document: &T) -> Self {
        let bytes = json::to_vec(document);
        let descriptor = Descriptor::new(media_type, Digest::of(&bytes), bytes.len() as u64);
        Self { descriptor, bytes }
    }

    /// The digest of the bytes.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.descriptor.digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_no_blob_has_are_added_all_the_same() {
        let large = Descriptor::new("", Digest::of(b"a"), 1 << 63);
        assert_eq!(total_size([&large]), 1 << 63);
        assert_eq!(total_size([&large, &large]), u64::MAX);
    }

    #[test]
    fn unknown_fields_survive() {
        let text = format!(
            r#"{{"annotations":{{"a":"1"}},"digest":"{}","mediaType":"x/y","platform":{{"architecture":"arm64","os":"linux","os.version":"1"}},"size":3,"urls":["u"]}}"#,
            Digest::of(b"abc")
        );
        let descriptor: Descriptor = serde_json::from_str(&text).unwrap();
        assert_eq!(descriptor.annotation("a"), Some("1"));
        assert_eq!(String::from_utf8(json::to_vec(&descriptor)).unwrap(), text);
    }

    #[test]
    fn a_layer_is_elsewhere_only_where_urls_say_so() {
        let layer = |media_type: &str, urls: Value| {
            let mut layer = Descriptor::new(media_type, Digest::of(b"abc"), 3);
            layer.other.insert("urls".into(), urls);
            (layer.has_urls(), layer.is_foreign())
        };
        let urls = || serde_json::json!(["", "https://example.com/layer"]);
        let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
        assert_eq!(layer(foreign, urls()), (true, true));
        assert_eq!(layer("application/vnd.oci.image.layer.nondistributable.v1.tar", urls()), (true, true));
        assert_eq!(layer("application/vnd.oci.image.layer.v1.tar", urls()), (true, false));
        assert_eq!(layer(foreign, serde_json::json!([])), (false, false));
        assert_eq!(layer(foreign, Value::Null), (false, false));
    }

    #[test]
    fn null_annotations_and_a_missing_media_type_are_read() {
        let text = format!(r#"{{"annotations":null,"digest":"{}","size":3}}"#, Digest::of(b"abc"));
        let descriptor: Descriptor = serde_json::from_str(&text).unwrap();
        assert!(descriptor.annotations.is_empty() && descriptor.media_type.is_empty());
    }

    #[test]
    fn a_digest_that_is_a_path_is_refused() {
        let text = r#"{"mediaType":"x/y","digest":"sha256:../../../etc/passwd","size":3}"#;
        assert!(serde_json::from_str::<Descriptor>(text).unwrap_err().to_string().contains("passwd"));
    }

    #[test]
    fn an_encoded_document_carries_its_own_descriptor() {
        let encoded = Encoded::new("x/y", &serde_json::json!({"b": 1, "a": 2}));
        assert_eq!(encoded.bytes, br#"{"a":2,"b":1}"#);
        assert_eq!(encoded.descriptor, Descriptor::new("x/y", Digest::of(br#"{"a":2,"b":1}"#), 13));
    }
}
