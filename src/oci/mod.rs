//! The words of the OCI image specification (v1.1.1) as types: digests, media types, descriptors, encoded documents.
//!
//! oci-spec's types are used where they keep all that they read. Its maps have no order and it drops fields that it
//! does not know, so documents are encoded through sorted values, exactly once ([`Encoded`]), and a base's
//! configuration stays a `serde_json::Value`. This room imports no other.

use std::fmt::Write as _;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

pub use oci_spec::image::{Descriptor, Digest, MediaType};

/// Media types, as strings, where oci-spec would turn them into something else.
pub mod media {
    /// An image index (image-index.md).
    pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// An image manifest (manifest.md).
    pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// An image configuration (config.md).
    pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// A layer, not compressed (layer.md).
    pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    /// A layer, gzip.
    pub const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    /// A layer, zstd.
    pub const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
    /// Docker's manifest list.
    pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Docker's manifest.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker's image configuration.
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    /// Docker's layer, gzip.
    pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    /// Docker's layer, not compressed.
    pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";

    /// True for an index or Docker's manifest list.
    #[must_use]
    pub fn is_index(media_type: &str) -> bool {
        matches!(media_type, INDEX | DOCKER_LIST)
    }

    /// True for a manifest, OCI's or Docker's.
    #[must_use]
    pub fn is_manifest(media_type: &str) -> bool {
        matches!(media_type, MANIFEST | DOCKER_MANIFEST)
    }

    /// OCI's name of a layer's media type: the bytes are the same. One that is not known stays as it is.
    #[must_use]
    pub fn oci_layer(media_type: &str) -> &str {
        match media_type {
            DOCKER_LAYER_GZIP => LAYER_GZIP,
            DOCKER_LAYER => LAYER,
            other => other,
        }
    }
}

/// Annotation keys (annotations.md, "Pre-Defined Annotation Keys").
pub mod annotation {
    /// The tag of a descriptor in a layout's `index.json`.
    pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
    /// The name of the base image.
    pub const BASE_NAME: &str = "org.opencontainers.image.base.name";
    /// The digest of the base image.
    pub const BASE_DIGEST: &str = "org.opencontainers.image.base.digest";
}

/// A JSON document with its descriptor: encoded once, so that the digest is that of the very bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Media type, digest and size of `bytes`.
    pub descriptor: Descriptor,
    /// The document.
    pub bytes: Vec<u8>,
}

impl Encoded {
    /// Encodes a document.
    pub fn new(media_type: &str, document: &impl Serialize) -> Result<Self, serde_json::Error> {
        let bytes = encode(document)?;
        let descriptor = Descriptor::new(MediaType::from(media_type), bytes.len() as u64, digest_of(&bytes));
        Ok(Self { descriptor, bytes })
    }
}

/// A document as JSON: compact, every object's keys sorted.
pub fn encode(document: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    // `Value`'s objects are ordered maps as long as nobody turns on serde_json's `preserve_order`.
    serde_json::to_vec(&serde_json::to_value(document)?)
}

/// The SHA-256 digest of some bytes.
#[must_use]
pub fn digest_of(bytes: &[u8]) -> Digest {
    digest_from(&Sha256::digest(bytes).into())
}

/// A digest from a finished SHA-256.
#[must_use]
pub fn digest_from(sha256: &[u8; 32]) -> Digest {
    let text = sha256.iter().fold(String::from("sha256:"), |mut text, byte| {
        // Writing to a string cannot fail.
        write!(text, "{byte:02x}").ok();
        text
    });
    text.parse().expect("`sha256:` and 64 hexadecimal digits are a digest")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn keys_are_sorted_whatever_the_map() {
        // A hash map's order differs from instance to instance.
        for _ in 0..50 {
            let map: HashMap<String, u8> = (0..20).map(|number| (format!("k{number:02}"), number)).collect();
            let text = String::from_utf8(encode(&map).unwrap()).unwrap();
            assert!(text.starts_with(r#"{"k00":0,"k01":1,"k02":2,"#), "{text}");
        }
    }

    #[test]
    fn a_document_carries_the_digest_of_its_bytes() {
        let encoded = Encoded::new(media::CONFIG, &serde_json::json!({})).unwrap();
        assert_eq!(encoded.bytes, b"{}");
        assert_eq!(
            encoded.descriptor.digest().to_string(),
            "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
        );
        assert_eq!(encoded.descriptor.size(), 2);
        assert_eq!(encoded.descriptor.media_type().to_string(), media::CONFIG);
    }

    #[test]
    fn docker_layers_have_oci_names() {
        assert_eq!(media::oci_layer(media::DOCKER_LAYER_GZIP), media::LAYER_GZIP);
        assert_eq!(media::oci_layer("application/x-unknown"), "application/x-unknown");
    }
}
