//! The platforms of manifests and blobs that were seen, for messages about what a run was doing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use crate::oci::Digest;
use crate::target::platform::Platform;

/// The most digests that are remembered. No image has as many.
const MAX_LABELS: usize = 16_384;

/// The platforms of digests. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Labels(Arc<Mutex<BTreeMap<Digest, Platform>>>);

impl Labels {
    /// Learns the platforms of everything that a document names.
    pub(super) fn learn(&self, digest: &Digest, bytes: &[u8]) {
        let document: Value = serde_json::from_slice(bytes).unwrap_or_default();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = known.get(digest).cloned();
        let mut add = |entry: &Value, platform: Option<Platform>| {
            let digest = entry["digest"].as_str().and_then(|text| text.parse::<Digest>().ok());
            if let (Some(digest), Some(platform)) = (digest, platform)
                && known.len() < MAX_LABELS
            {
                known.entry(digest).or_insert(platform);
            }
        };
        for entry in document["manifests"].as_array().into_iter().flatten() {
            add(entry, of_entry(&entry["platform"]));
        }
        add(&document["config"], own.clone());
        for layer in document["layers"].as_array().into_iter().flatten() {
            add(layer, own.clone());
        }
    }

    /// The name of something in messages, with its platform if that is known.
    pub(super) fn of(&self, digest: &Digest, what: &str) -> String {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(digest).map_or_else(|| what.to_owned(), |platform| format!("{what} ({platform})"))
    }
}

/// The platform of an index's entry.
fn of_entry(platform: &Value) -> Option<Platform> {
    let text = |key: &str| platform[key].as_str();
    let name = format!("{}/{}", text("os")?, text("architecture")?);
    text("variant").map_or(name.clone(), |variant| format!("{name}/{variant}")).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_have_the_platform_of_their_manifest() {
        let labels = Labels::default();
        let [layer, other] = [Digest::of(b"layer"), Digest::of(b"other")];
        let manifest = format!(r#"{{"config":{{}},"layers":[{{"digest":"{layer}"}},{{"digest":7}}]}}"#);
        let digest = Digest::of(manifest.as_bytes());
        let index = format!(
            r#"{{"manifests":[{{"digest":"{digest}","platform":{{"os":"linux","architecture":"arm","variant":"v7"}}}}]}}"#
        );
        labels.learn(&Digest::of(index.as_bytes()), index.as_bytes());
        labels.learn(&digest, manifest.as_bytes());
        labels.learn(&other, b"no JSON");
        assert_eq!(labels.of(&layer, "x"), "x (linux/arm/v7)");
        assert_eq!(labels.of(&other, "x"), "x");
    }
}
