//! The meaning of an index's entry: an image for a platform, or something else that readers skip. Pure, except that the
//! caller reads documents.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::oci::{Descriptor, Digest, annotation, media_type};
use crate::target::platform::Platform;

/// The maximum depth of nested indexes.
pub(crate) const MOST_NESTED: usize = 8;

/// True for a document that can refer to others. With an unknown media type nothing is known about the bytes: the
/// specification requires that such entries are copied along and never read as images ([image
/// index](https://github.com/opencontainers/image-spec/blob/v1.1.1/image-index.md)).
#[must_use]
pub(crate) fn is_document(entry: &Descriptor) -> bool {
    media_type::is_index(&entry.media_type) || media_type::is_manifest(&entry.media_type)
}

/// The platforms of many entries. Each document is read once however many entries name it: an index of a few kilobytes
/// can name a large one thousands of times.
#[derive(Clone, Debug, Default)]
pub(crate) struct Platforms {
    /// The configurations of manifests, `None` for a manifest that is not an image.
    manifests: BTreeMap<Digest, Result<Option<Descriptor>, String>>,
    /// The platforms in configurations.
    configs: BTreeMap<Digest, Option<Platform>>,
}

impl Platforms {
    /// The platform of an image: from its entry, otherwise from its configuration. `None` for attestations, other
    /// artifacts and unknown types. The inner error says how a document is malformed.
    pub(crate) fn of<E>(
        &mut self,
        entry: &Descriptor,
        read: &mut dyn FnMut(&Descriptor) -> Result<Value, E>,
    ) -> Result<Result<Option<Platform>, String>, E> {
        // Some documents omit the media type, so an image's manifest cannot be recognised by it.
        let unnamed = entry.media_type.is_empty();
        if entry.annotation(annotation::DOCKER_REFERENCE_TYPE).is_some()
            || !unnamed && !media_type::is_manifest(&entry.media_type)
        {
            return Ok(Ok(None));
        }
        let known = |platform: &Platform| platform.os() != "unknown";
        let told = entry.platform.as_ref().and_then(Platform::of_fields);
        // An entry of an artifact may have a platform, too.
        if told.is_some() && !entry.other.contains_key("artifactType") {
            return Ok(Ok(told.filter(known)));
        }
        if !self.manifests.contains_key(&entry.digest) {
            let config = config_of(&read(entry)?);
            self.manifests.insert(entry.digest.clone(), config);
        }
        let config = match &self.manifests[&entry.digest] {
            Ok(Some(config)) => config,
            Ok(None) => return Ok(Ok(None)),
            Err(_) if unnamed => return Ok(Ok(None)),
            Err(reason) => return Ok(Err(format!("`config` of {}: {reason}", entry.digest))),
        };
        if told.is_some() {
            return Ok(Ok(told.filter(known)));
        }
        if !self.configs.contains_key(&config.digest) {
            let platform = Platform::of_config(&read(config)?);
            self.configs.insert(config.digest.clone(), platform);
        }
        Ok(Ok(self.configs[&config.digest].clone().filter(known)))
    }
}

/// The configuration that a manifest names, if it is that of an image.
fn config_of(manifest: &Value) -> Result<Option<Descriptor>, String> {
    let config: Descriptor =
        serde_json::from_value(manifest["config"].clone()).map_err(|error| error.to_string())?;
    let is_image = matches!(config.media_type.as_str(), media_type::CONFIG | media_type::DOCKER_CONFIG | "");
    Ok(is_image.then_some(config))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::oci::{Digest, Encoded};

    #[derive(Default)]
    struct Documents(BTreeMap<Digest, Value>);

    impl Documents {
        fn put(&mut self, media_type: &str, document: &Value) -> Descriptor {
            let encoded = Encoded::new(media_type, document);
            self.0.insert(encoded.digest().clone(), document.clone());
            encoded.descriptor
        }

        fn manifest(&mut self, config_type: &str, config: &Value) -> Descriptor {
            let config = self.put(config_type, config);
            self.put(media_type::MANIFEST, &json!({ "config": config, "layers": [] }))
        }

        fn platform_of(&self, entry: &Descriptor) -> Result<Option<String>, String> {
            let read = &mut |wanted: &Descriptor| self.0.get(&wanted.digest).cloned().ok_or(());
            let found = Platforms::default().of(entry, read).expect("every document is there");
            found.map(|platform| platform.map(|platform| platform.to_string()))
        }
    }

    fn with(mut entry: Descriptor, platform: &Value) -> Descriptor {
        entry.platform = serde_json::from_value(platform.clone()).unwrap();
        entry
    }

    #[test]
    fn what_is_no_image_has_no_platform() {
        let mut documents = Documents::default();
        let arm = json!({ "os": "linux", "architecture": "arm64" });
        let image = documents.manifest(media_type::CONFIG, &arm);
        let artifact = documents.manifest("application/vnd.oci.empty.v1+json", &json!({}));
        let is = |entry: &Descriptor, platform: Option<&str>| {
            assert_eq!(documents.platform_of(entry).unwrap().as_deref(), platform, "{entry:?}");
        };
        is(&image, Some("linux/arm64"));
        is(&with(image.clone(), &json!({ "os": "linux", "architecture": "386" })), Some("linux/386"));
        // An operating system alone is not a platform, so the configuration is read.
        is(&with(image.clone(), &json!({ "os": "linux" })), Some("linux/arm64"));
        is(&with(artifact.clone(), &json!({ "os": "linux", "architecture": "" })), None);
        is(&with(image.clone(), &json!({ "os": "unknown", "architecture": "unknown" })), None);
        is(&artifact, None);
        let mut typed = with(artifact, &arm);
        typed.other.insert("artifactType".into(), "application/vnd.example.sbom".into());
        is(&typed, None);
        let mut typed = with(image.clone(), &arm);
        typed.other.insert("artifactType".into(), media_type::CONFIG.into());
        is(&typed, Some("linux/arm64"));
        let mut about = image.clone();
        about.annotations.insert(annotation::DOCKER_REFERENCE_TYPE.into(), "attestation-manifest".into());
        is(&about, None);
        let mut unnamed = image.clone();
        unnamed.media_type.clear();
        is(&unnamed, Some("linux/arm64"));
        // None of it is read.
        is(&with(Descriptor::new("text/plain", Digest::of(b"x"), 1), &arm), None);
    }

    #[test]
    fn a_manifest_without_a_configuration_is_damaged() {
        let mut documents = Documents::default();
        let entry = documents.put(media_type::MANIFEST, &json!({ "layers": [] }));
        assert!(documents.platform_of(&entry).unwrap_err().contains("`config`"));
    }
}
