//! The multi-platform index, with one descriptor for each platform's manifest. Pure.

use std::collections::BTreeMap;

use serde_json::json;

use crate::image::Image;
use crate::oci::{Encoded, media_type};

/// Assembles the index of some images (image-index.md), sorted by platform whatever their order.
#[must_use]
pub(crate) fn assemble(images: &[Image], annotations: &BTreeMap<String, String>) -> Encoded {
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
            let mut entry = json!({
                "mediaType": media_type::MANIFEST,
                "digest": image.manifest.digest().to_string(),
                "size": image.manifest.descriptor.size,
                "platform": platform,
            });
            if !image.descriptor_annotations.is_empty() {
                entry["annotations"] = json!(image.descriptor_annotations);
            }
            entry
        })
        .collect();
    Encoded::new(
        media_type::INDEX,
        &json!({
            "schemaVersion": 2,
            "mediaType": media_type::INDEX,
            "manifests": manifests,
            "annotations": annotations,
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{ImageSettings, Parts};
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
        let index = assemble(&images, &annotations);
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
        assert_eq!(assemble(&reversed, &annotations), index);
        assert_eq!(document["manifests"][2]["digest"], images[0].manifest.digest().to_string());
    }
}
