//! Reading the documents of an image and checking them against the specification. Pure: bytes in, content and faults
//! out.
//!
//! As much as possible of a document is read: the valid parts are checked even if another part is wrong.

use std::collections::BTreeMap;

use oci_spec::image::{ImageConfiguration, ImageIndex, ImageManifest};
use serde_json::Value;

use super::fault::Fault;
use crate::oci::{Descriptor, Digest, media_type};
use crate::target::platform::Platform;

/// The content of an index.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Index {
    /// Its entries, in its order.
    pub entries: Vec<Descriptor>,
}

/// The content of a manifest.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Manifest {
    /// The configuration.
    pub config: Option<Descriptor>,
    /// The layers, lowest first.
    pub layers: Vec<Descriptor>,
}

/// The content of a configuration, as far as it is checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// The whole document.
    pub document: Value,
    /// The platform.
    pub platform: Option<Platform>,
    /// `rootfs.diff_ids`.
    pub diff_ids: Vec<Digest>,
    /// The number of entries of the history that made a layer; `None` without a history.
    pub history: Option<usize>,
}

/// A document that is checked.
#[derive(Clone, Copy, Debug)]
struct Document<'a> {
    kind: &'static str,
    digest: &'a Digest,
}

impl Document<'_> {
    fn fault(self, reason: &dyn ToString) -> Fault {
        let (document, digest) = (self.kind, self.digest.clone());
        Fault::InvalidDocument { document, digest, reason: reason.to_string() }
    }

    /// Parses the document, which must be an object.
    fn object(self, bytes: &[u8], faults: &mut Vec<Fault>) -> Option<Value> {
        match serde_json::from_slice::<Value>(bytes) {
            Ok(value) if value.is_object() => Some(value),
            Ok(_) => {
                faults.push(self.fault(&"it is not an object"));
                None
            }
            Err(error) => {
                faults.push(self.fault(&error));
                None
            }
        }
    }

    /// Checks `schemaVersion`, and that the document has the media type in its descriptor.
    fn header(self, value: &Value, descriptor: &Descriptor, faults: &mut Vec<Fault>) {
        if value["schemaVersion"] != 2 {
            faults.push(self.fault(&format!("its schemaVersion is {} instead of 2", value["schemaVersion"])));
        }
        match value.get("mediaType") {
            None => {}
            Some(Value::String(own)) if *own == descriptor.media_type => {}
            Some(own) => faults.push(Fault::MediaType {
                digest: descriptor.digest.clone(),
                descriptor: descriptor.media_type.clone(),
                document: own.as_str().map_or_else(|| own.to_string(), ToOwned::to_owned),
            }),
        }
    }

    /// The descriptors of a list. Each invalid one is a fault.
    fn descriptors(self, value: &Value, field: &str, faults: &mut Vec<Fault>) -> Vec<Descriptor> {
        let Some(list) = value[field].as_array() else {
            faults.push(self.fault(&format!("`{field}` is not a list")));
            return Vec::new();
        };
        let mut found = Vec::new();
        for (at, entry) in list.iter().enumerate() {
            match serde_json::from_value::<Descriptor>(entry.clone()) {
                Ok(descriptor) => found.push(descriptor),
                Err(error) => faults.push(self.fault(&format!("`{field}` {at}: {error}"))),
            }
        }
        found
    }
}

/// Reads an index. `descriptor` is the one that refers to it.
#[must_use]
pub fn index(bytes: &[u8], descriptor: &Descriptor) -> (Index, Vec<Fault>) {
    let document = Document { kind: "index", digest: &descriptor.digest };
    let mut faults = Vec::new();
    let Some(value) = document.object(bytes, &mut faults) else { return (Index::default(), faults) };
    document.header(&value, descriptor, &mut faults);
    let entries = document.descriptors(&value, "manifests", &mut faults);
    faults.extend(twice(&entries));
    if faults.is_empty()
        && let Err(error) = ImageIndex::from_reader(bytes)
    {
        faults.push(document.fault(&error));
    }
    (Index { entries }, faults)
}

/// Checks for platforms with several entries, and for entries without a platform.
fn twice(entries: &[Descriptor]) -> Vec<Fault> {
    let (mut faults, mut known) = (Vec::new(), BTreeMap::<Platform, Vec<Digest>>::new());
    for entry in entries.iter().filter(|entry| media_type::is_manifest(&entry.media_type)) {
        // The platform of an attestation is `unknown`, and an artifact has none.
        match entry.platform.as_ref().and_then(Platform::of_fields) {
            Some(platform) if platform.os() == "unknown" => {}
            Some(platform) => {
                let digests = known.entry(platform).or_default();
                if !digests.contains(&entry.digest) {
                    digests.push(entry.digest.clone());
                }
            }
            // A single entry does not need a platform to distinguish it.
            None if entries.len() == 1 || entry.other.contains_key("artifactType") => {}
            None => faults.push(Fault::NoPlatform { digest: entry.digest.clone() }),
        }
    }
    let twice = known.into_iter().filter(|(_, digests)| digests.len() > 1);
    faults.extend(twice.map(|(platform, digests)| {
        let platform = platform.to_string();
        Fault::PlatformTwice { platform, digests }
    }));
    faults
}

/// Reads a manifest. `descriptor` is the one that refers to it.
#[must_use]
pub fn manifest(bytes: &[u8], descriptor: &Descriptor) -> (Manifest, Vec<Fault>) {
    let document = Document { kind: "manifest", digest: &descriptor.digest };
    let mut faults = Vec::new();
    let Some(value) = document.object(bytes, &mut faults) else { return (Manifest::default(), faults) };
    document.header(&value, descriptor, &mut faults);
    let config = match serde_json::from_value::<Descriptor>(value["config"].clone()) {
        Ok(config) => Some(config),
        Err(error) => {
            faults.push(document.fault(&format!("`config`: {error}")));
            None
        }
    };
    let layers = document.descriptors(&value, "layers", &mut faults);
    if faults.is_empty()
        && let Err(error) = ImageManifest::from_reader(bytes)
    {
        faults.push(document.fault(&error));
    }
    (Manifest { config, layers }, faults)
}

/// Reads an image's configuration; `layers` is the number of layers in the manifest.
#[must_use]
pub fn config(bytes: &[u8], digest: &Digest, layers: usize) -> (Config, Vec<Fault>) {
    let document = Document { kind: "config", digest };
    let mut faults = Vec::new();
    let Some(value) = document.object(bytes, &mut faults) else { return (Config::default(), faults) };
    let platform = Platform::of_config(&value);
    if platform.is_none() {
        faults.push(document.fault(&"it does not have an `os` and an `architecture`"));
    }
    if value["rootfs"]["type"] != "layers" {
        faults.push(document.fault(&format!("its rootfs is of type {}", value["rootfs"]["type"])));
    }
    let mut diff_ids = Vec::new();
    match serde_json::from_value::<Vec<Digest>>(value["rootfs"]["diff_ids"].clone()) {
        Ok(found) => {
            if found.len() != layers {
                faults.push(Fault::LayerCount { layers, diff_ids: found.len() });
            }
            diff_ids = found;
        }
        Err(error) => faults.push(document.fault(&format!("`rootfs.diff_ids`: {error}"))),
    }
    let history = match &value["history"] {
        Value::Array(entries) => Some(entries.iter().filter(|entry| entry["empty_layer"] != true).count()),
        Value::Null => None,
        _ => {
            faults.push(document.fault(&"`history` is not a list"));
            None
        }
    };
    // A history is optional, but it must match the layers.
    if let Some(entries) =
        history.filter(|entries| *entries != layers && value["history"] != Value::Array(vec![]))
    {
        faults.push(Fault::History { entries, layers });
    }
    faults.extend(texts(&value["config"]).into_iter().map(|reason| document.fault(&reason)));
    if let Some(created) = value.get("created").filter(|created| !created.is_null()) {
        let valid = created.as_str().is_some_and(|text| text.parse::<jiff::Timestamp>().is_ok());
        if !valid {
            faults.push(document.fault(&format!("`created` is {created}, which is not a date")));
        }
    }
    if faults.is_empty()
        && let Err(error) = ImageConfiguration::from_reader(bytes)
    {
        faults.push(document.fault(&error));
    }
    (Config { document: value, platform, diff_ids, history }, faults)
}

/// What is wrong with the fields for running a container.
fn texts(config: &Value) -> Vec<String> {
    let mut reasons = Vec::new();
    let absent = |value: &&Value| !value.is_null();
    for field in ["Entrypoint", "Cmd", "Env"] {
        let Some(value) = config.get(field).filter(absent) else { continue };
        match value.as_array() {
            Some(list) if list.iter().all(Value::is_string) => {
                let unnamed =
                    |text: &&Value| text.as_str().is_none_or(|text| text.find('=').is_none_or(|at| at == 0));
                if field == "Env"
                    && let Some(text) = list.iter().find(unnamed)
                {
                    reasons.push(format!("`Env` has {text}, which is not NAME=value"));
                }
            }
            _ => reasons.push(format!("`{field}` is not a list of strings")),
        }
    }
    for field in ["User", "WorkingDir", "StopSignal"] {
        if config.get(field).filter(absent).is_some_and(|value| !value.is_string()) {
            reasons.push(format!("`{field}` is not a string"));
        }
    }
    reasons
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn descriptor(media_type: &str) -> Descriptor {
        Descriptor::new(media_type, Digest::of(b"document"), 8)
    }

    fn checks(faults: &[Fault]) -> Vec<&'static str> {
        faults.iter().map(Fault::check).collect()
    }

    fn entry(platform: Value, content: &[u8]) -> Value {
        let mut entry = json!(Descriptor::new(media_type::MANIFEST, Digest::of(content), 3));
        if !platform.is_null() {
            entry["platform"] = platform;
        }
        entry
    }

    fn of_index(document: &Value) -> Vec<&'static str> {
        checks(&index(document.to_string().as_bytes(), &descriptor(media_type::INDEX)).1)
    }

    #[test]
    fn an_index_is_held_to_its_entries() {
        let arm = |variant: &str| json!({ "os": "linux", "architecture": "arm64", "variant": variant });
        let unknown = json!({ "os": "unknown", "architecture": "unknown" });
        let of = |entries: Value| of_index(&json!({ "schemaVersion": 2, "manifests": entries }));
        assert!(
            of(json!([entry(arm("v8"), b"a"), entry(unknown.clone(), b"b"), entry(unknown, b"c")]))
                .is_empty()
        );
        // arm64 has only the variant v8, so it may be omitted.
        assert_eq!(
            of(json!([entry(arm("v8"), b"a"), entry(json!({"os": "linux", "architecture": "arm64"}), b"b")])),
            ["platform-twice"]
        );
        assert!(of(json!([entry(arm(""), b"a"), entry(arm(""), b"a")])).is_empty());
        assert!(of(json!([entry(Value::Null, b"a")])).is_empty());
        assert_eq!(of(json!([entry(Value::Null, b"a"), entry(arm("v8"), b"b")])), ["no-platform"]);
        // Each build of Windows is a platform of its own, and an artifact has none.
        let windows =
            |version: &str| json!({ "os": "windows", "architecture": "amd64", "os.version": version });
        assert!(of(json!([entry(windows("10.0.1"), b"a"), entry(windows("10.0.2"), b"b")])).is_empty());
        assert_eq!(
            of(json!([entry(windows("10.0.1"), b"a"), entry(windows("10.0.1"), b"b")])),
            ["platform-twice"]
        );
        let mut artifact = entry(Value::Null, b"a");
        artifact["artifactType"] = "application/vnd.example.sbom".into();
        assert!(of(json!([artifact, entry(arm("v8"), b"b")])).is_empty());
        assert_eq!(of(json!([{ "digest": "sha256:1", "size": 1, "mediaType": "x" }])), ["invalid-document"]);
        assert_eq!(of(json!({})), ["invalid-document"]);
    }

    #[test]
    fn the_header_is_checked() {
        let good = json!({ "schemaVersion": 2, "mediaType": media_type::INDEX, "manifests": [] });
        assert!(of_index(&good).is_empty());
        let mut other = good.clone();
        other["mediaType"] = media_type::MANIFEST.into();
        assert_eq!(of_index(&other), ["media-type"]);
        let mut other = good;
        other["schemaVersion"] = 1.into();
        assert_eq!(of_index(&other), ["invalid-document"]);
        assert_eq!(checks(&index(b"[", &descriptor(media_type::INDEX)).1), ["invalid-document"]);
        assert_eq!(checks(&index(b"[]", &descriptor(media_type::INDEX)).1), ["invalid-document"]);
    }

    #[test]
    fn a_configuration_is_held_to_its_layers() {
        let digest = Digest::of(b"layer");
        let good = json!({
            "os": "linux", "architecture": "arm", "variant": "v7", "created": "2026-11-24T00:00:00Z",
            "config": { "Env": ["A=1"], "Entrypoint": ["/app"] },
            "rootfs": { "type": "layers", "diff_ids": [digest] },
            "history": [{ "created_by": "x" }, { "created_by": "y", "empty_layer": true }],
        });
        let of = |document: &Value, layers| {
            checks(&config(document.to_string().as_bytes(), &Digest::of(b"config"), layers).1)
        };
        assert!(of(&good, 1).is_empty());
        assert_eq!(of(&good, 2), ["layer-count", "history"]);
        for (pointer, value) in [
            ("/architecture", json!("")),
            ("/rootfs/type", json!("files")),
            ("/rootfs/diff_ids", json!(["sha256:1"])),
            ("/history", json!({})),
            ("/created", json!("yesterday")),
            ("/config/Env", json!(["=1"])),
            ("/config/Env", json!(["A"])),
            ("/config/Env", json!([1])),
            ("/config/Entrypoint", json!("/app")),
        ] {
            let mut document = good.clone();
            *document.pointer_mut(pointer).unwrap() = value.clone();
            assert_eq!(of(&document, 1), ["invalid-document"], "{pointer} {value}");
        }
        // A missing history is not a fault.
        for history in [json!(null), json!([])] {
            let mut document = good.clone();
            document["history"] = history;
            assert!(of(&document, 1).is_empty());
        }
    }

    #[test]
    fn a_manifest_is_held_to_its_descriptors() {
        let layer = Descriptor::new(media_type::LAYER_GZIP, Digest::of(b"layer"), 5);
        let config = Descriptor::new(media_type::CONFIG, Digest::of(b"config"), 6);
        let good = json!({ "schemaVersion": 2, "config": config, "layers": [layer] });
        let of = |document: &Value| {
            let (read, faults) = manifest(document.to_string().as_bytes(), &descriptor(media_type::MANIFEST));
            (read.layers.len(), checks(&faults))
        };
        assert_eq!(of(&good), (1, vec![]));
        let mut other = good.clone();
        other["layers"].as_array_mut().unwrap().push(json!({ "size": 1 }));
        assert_eq!(of(&other), (1, vec!["invalid-document"]));
        let mut other = good;
        other["config"] = json!(7);
        assert_eq!(of(&other), (1, vec!["invalid-document"]));
    }
}
