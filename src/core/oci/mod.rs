//! OCI documents: digests, descriptors, references, and one stable way to encode JSON.
//!
//! The types are our own and small. General libraries store annotations in hash maps, so that one document has many
//! encodings, and drop fields that they don't know. Here maps are sorted and unknown fields survive. A document is
//! encoded once and passed on with its descriptor ([`Encoded`]), so a parsed manifest is never serialised again to
//! learn its digest. `image` reads what we write with `oci-spec`.
//!
//! This room imports no other and does no IO.

mod descriptor;
mod digest;
mod json;
pub mod name;
mod reference;

pub use descriptor::total_size;
pub use descriptor::{Descriptor, Encoded, PlatformFields};
pub use digest::{Algorithm, Digest, Hasher, InvalidDigest};
pub use json::{take_field, to_vec};
pub use reference::{InvalidReference, Reference, is_tag};

/// The size limit of a manifest or an index in bytes: registries refuse larger ones too ([distribution
/// specification](https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-manifests)).
pub const MANIFEST_LIMIT: u64 = 4 * 1024 * 1024;

/// Media types that xbuild writes or reads
/// ([image specification](https://github.com/opencontainers/image-spec/blob/v1.1.1/media-types.md)).
pub mod media_type {
    /// An index: manifests by platform.
    pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// A manifest of one platform's image.
    pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// An image's configuration.
    pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// A layer that is not compressed.
    pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    /// A layer in gzip's format.
    pub const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    /// A layer in Zstandard's format.
    pub const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
    /// Docker's name for an image's configuration.
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    /// Docker's name for an index.
    pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Docker's name for a manifest.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

    /// True for an index of either kind.
    #[must_use]
    pub fn is_index(media_type: &str) -> bool {
        matches!(media_type, INDEX | DOCKER_INDEX)
    }

    /// True for a manifest of either kind.
    #[must_use]
    pub fn is_manifest(media_type: &str) -> bool {
        matches!(media_type, MANIFEST | DOCKER_MANIFEST)
    }

    /// The OCI media type of a layer that may have Docker's type; the bytes are the same for both.
    #[must_use]
    pub fn of_layer(media_type: &str) -> &str {
        match media_type {
            "application/vnd.docker.image.rootfs.diff.tar" => LAYER,
            "application/vnd.docker.image.rootfs.diff.tar.gzip" => LAYER_GZIP,
            "application/vnd.docker.image.rootfs.diff.tar.zstd" => LAYER_ZSTD,
            "application/vnd.docker.image.rootfs.foreign.diff.tar" => {
                "application/vnd.oci.image.layer.nondistributable.v1.tar"
            }
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip" => {
                "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
            }
            other => other,
        }
    }
}

/// Annotation keys
/// ([image specification](https://github.com/opencontainers/image-spec/blob/v1.1.1/annotations.md)).
pub mod annotation {
    /// A tag, on an entry of a layout's `index.json`.
    pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
    /// The full name with its registry, on the same entry; containerd and Docker load images under it.
    pub const CONTAINERD_NAME: &str = "io.containerd.image.name";
    /// The digest of an index of the image's referrers, on the same entry. If the referrers were entries beside it, a
    /// reader that takes the only entry of `index.json` would not know which entry is the image.
    pub const REFERRERS: &str = "vnd.xbuild.referrers";
    /// When the image was made, in RFC 3339.
    pub const CREATED: &str = "org.opencontainers.image.created";
    /// The name of the base image.
    pub const BASE_NAME: &str = "org.opencontainers.image.base.name";
    /// The digest of the base image.
    pub const BASE_DIGEST: &str = "org.opencontainers.image.base.digest";
    /// Marks an index entry that is about another entry (an attestation) and is not a runnable image.
    pub const DOCKER_REFERENCE_TYPE: &str = "vnd.docker.reference.type";
    /// The digest of the manifest that such an entry is about.
    pub const DOCKER_REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";
}
