//! The multi-platform index: one descriptor for each platform's manifest. Pure.

use std::collections::BTreeMap;

use serde_json::json;

use crate::image::Image;
use crate::oci::{Encoded, media};

/// Assembles the index of some images (image-index.md), in platform order whatever the order they come in.
///
/// # Errors
/// If the document cannot be encoded, which no content of it causes.
pub fn assemble(
    images: &[Image],
    annotations: &BTreeMap<String, String>,
) -> Result<Encoded, serde_json::Error> {
    let mut sorted: Vec<&Image> = images.iter().collect();
    sorted.sort_by(|a, b| a.platform.cmp(&b.platform));
    let manifests: Vec<_> = sorted
        .into_iter()
        .map(|image| {
            let mut platform =
                json!({ "os": image.platform.os(), "architecture": image.platform.architecture() });
            if let Some(variant) = image.platform.variant() {
                platform["variant"] = variant.into();
            }
            json!({
                "mediaType": media::MANIFEST,
                "digest": image.manifest.descriptor.digest().to_string(),
                "size": image.manifest.descriptor.size(),
                "platform": platform,
            })
        })
        .collect();
    Encoded::new(
        media::INDEX,
        &json!({
            "schemaVersion": 2,
            "mediaType": media::INDEX,
            "manifests": manifests,
            "annotations": annotations,
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Parts;
    use crate::settings::ImageSettings;
    use serde_json::Value;

    fn image(platform: &str) -> Image {
        Image::assemble(&Parts {
            platform: &platform.parse().unwrap(),
            base_config: &Value::Null,
            base_layers: &[],
            layers: &[],
            settings: &ImageSettings::default(),
            created: 0,
            annotations: &BTreeMap::new(),
        })
        .unwrap()
    }

    #[test]
    fn platforms_are_sorted_and_whole() {
        let images = [image("linux/arm64"), image("linux/arm/v7"), image("linux/amd64")];
        let annotations = BTreeMap::from([("k".to_owned(), "v".to_owned())]);
        let index = assemble(&images, &annotations).unwrap();
        let document: Value = serde_json::from_slice(&index.bytes).unwrap();
        let platforms: Vec<_> =
            document["manifests"].as_array().unwrap().iter().map(|m| &m["platform"]).collect();
        assert_eq!(
            platforms,
            [
                &json!({ "os": "linux", "architecture": "amd64" }),
                &json!({ "os": "linux", "architecture": "arm", "variant": "v7" }),
                &json!({ "os": "linux", "architecture": "arm64" }),
            ]
        );
        let mut reversed = images.to_vec();
        reversed.reverse();
        assert_eq!(assemble(&reversed, &annotations).unwrap(), index);
        assert_eq!(document["manifests"][2]["digest"], images[0].manifest.descriptor.digest().to_string());
    }
}
