//! Everything that can be wrong with an image as a set of documents and blobs, as data. [`std::fmt::Display`] has the
//! messages.

use serde::Serialize;

use crate::archive::Packing;
use crate::linkcheck::Severity;
use crate::oci::Digest;

/// Declares [`Fault`] with the name and the message of each kind, so that they stay consistent.
macro_rules! faults {
    ($($(#[doc = $doc:literal])+ $name:literal $variant:ident { $($(#[doc = $field_doc:literal])+ $field:ident: $type:ty,)* } $words:literal $(, $argument:expr)*;)*) => {
        /// What is wrong.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
        #[serde(tag = "check", rename_all_fields = "kebab-case")]
        #[non_exhaustive]
        pub enum Fault {
            $($(#[doc = $doc])+ #[serde(rename = $name)] #[error($words $(, $argument)*)] $variant { $($(#[doc = $field_doc])+ $field: $type,)* },)*
        }

        impl Fault {
            /// The names of all kinds, in the order of the manual.
            pub const CHECKS: &'static [&'static str] = &[$($name),*];

            /// The name of its kind, stable across releases.
            #[must_use]
            pub const fn check(&self) -> &'static str {
                match self { $(Self::$variant { .. } => $name,)* }
            }
        }
    };
}

faults! {
    /// A blob that a document names is missing.
    "missing-blob" MissingBlob {
        /// The blob.
        digest: Digest,
    } "the blob {digest} is missing";
    /// A blob has another size than in its descriptor.
    "wrong-size" WrongSize {
        /// The blob.
        digest: Digest,
        /// The size in its descriptor, in bytes.
        expected: u64,
        /// Its actual size.
        found: u64,
    } "the blob {digest} has {found} bytes instead of {expected}";
    /// A blob's bytes do not have the digest by which it is named.
    "wrong-digest" WrongDigest {
        /// The digest that it should have.
        expected: Digest,
        /// Its actual digest.
        found: Digest,
    } "the blob {expected} is altered: its digest is {found}";
    /// A document is larger than registries accept.
    "document-too-large" DocumentTooLarge {
        /// The document.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
    } "the document {digest} has {size} bytes, which is more than registries accept";
    /// A document is not JSON, or violates the specification.
    "invalid-document" InvalidDocument {
        /// `index`, `manifest` or `config`.
        document: &'static str,
        /// The document.
        digest: Digest,
        /// What is wrong.
        reason: String,
    } "the {document} {digest} is not valid: {reason}";
    /// The media type in a document and that in its descriptor differ.
    "media-type" MediaType {
        /// The document.
        digest: Digest,
        /// The descriptor's.
        descriptor: String,
        /// The document's own.
        document: String,
    } "{digest} has the media type `{document}` in the document and `{descriptor}` in its descriptor";
    /// A blob has a media type that images do not use.
    "unknown-media-type" UnknownMediaType {
        /// `config` or `layer`.
        what: &'static str,
        /// The blob.
        digest: Digest,
        /// The media type.
        media_type: String,
    } "the {what} {digest} has the unknown media type `{media_type}`, so its content was not checked";
    /// An index contains another index.
    "nested-index" NestedIndex {
        /// The inner one, or the first of them.
        digest: Digest,
    } "the index {digest} is inside another index; podman and skopeo can neither load nor copy such an image";
    /// Indexes are nested too deep.
    "too-deep" TooDeep {
        /// The first index that is nested too deep.
        digest: Digest,
    } "the index {digest} is nested deeper than readers follow";
    /// There is no image in it.
    "no-image" NoImage {} "it contains no image";
    /// An entry of an index has no platform.
    "no-platform" NoPlatform {
        /// The manifest.
        digest: Digest,
    } "the index has no platform for {digest}";
    /// Several entries of an index are for one platform, so that engines may choose any of them.
    "platform-twice" PlatformTwice {
        /// The platform.
        platform: String,
        /// The manifests.
        digests: Vec<Digest>,
    } "{} manifests are for {platform}: {}", digests.len(), list(digests);
    /// The index and the configuration have different platforms.
    "platform-mismatch" PlatformMismatch {
        /// The platform of the index's entry.
        index: String,
        /// The platform of the configuration.
        config: String,
    } "its platform is {index} in the index and {config} in its configuration";
    /// The image has programs, and none is for its platform.
    "foreign-programs" ForeignPrograms {
        /// How many there are.
        count: usize,
        /// One of them.
        example: String,
        /// The platform that it is for.
        found: String,
    } "none of its {count} programs and libraries is for its platform: /{example} is for {found}";
    /// Two platforms share a layer with programs.
    "same-layer" SameLayer {
        /// The layer.
        digest: Digest,
        /// The platforms that have it.
        platforms: Vec<String>,
        /// A program in it.
        example: String,
        /// The platform that it is for.
        found: String,
    } "{} have the same layer {digest} with programs: /{example} is for {found}", platforms.join(" and ");
    /// The numbers of layers and `diff_ids` differ.
    "layer-count" LayerCount {
        /// How many layers the manifest has.
        layers: usize,
        /// How many `diff_ids` the configuration has.
        diff_ids: usize,
    } "the manifest has {layers} layers, and the configuration {diff_ids} diff_ids";
    /// A layer's content does not match its `diff_id` in the configuration.
    "wrong-diff-id" WrongDiffId {
        /// The layer.
        layer: Digest,
        /// The `diff_id` of the configuration.
        expected: Digest,
        /// The digest of the layer's uncompressed bytes.
        found: Digest,
    } "the layer {layer} has the diff_id {found} instead of {expected}";
    /// The history does not list each layer once.
    "history" History {
        /// How many entries that made a layer the history has.
        entries: usize,
        /// How many layers there are.
        layers: usize,
    } "the history has {entries} layers, and the manifest has {layers}";
    /// A layer cannot be decompressed, or is not a tar archive.
    "broken-layer" BrokenLayer {
        /// The layer.
        digest: Digest,
        /// Why.
        reason: String,
    } "the layer {digest} cannot be unpacked: {reason}";
    /// A layer's media type does not match its bytes.
    "layer-compression" LayerCompression {
        /// The layer.
        digest: Digest,
        /// Its media type.
        media_type: String,
        /// The format of its bytes.
        found: Packing,
    } "the layer {digest} is declared as `{media_type}`, and its bytes are {}", found.describe();
    /// Something follows a layer's archive.
    "trailing-bytes" TrailingBytes {
        /// The layer.
        digest: Digest,
        /// How many bytes follow the archive's end.
        count: u64,
    } "{count} bytes follow the end of the archive in the layer {digest}";
    /// A layer's archive has no end marker.
    "no-end" NoEnd {
        /// The layer.
        digest: Digest,
    } "the archive in the layer {digest} has no end marker and may be truncated";
    /// A blob of the layout is not reachable from any entry.
    "unreachable-blob" UnreachableBlob {
        /// The blob.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
    } "the blob {digest} ({size} bytes) is unreachable";
}

fn list(digests: &[Digest]) -> String {
    digests.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl Fault {
    /// The severity.
    #[must_use]
    pub const fn severity(&self) -> Severity {
        match self {
            Self::NoEnd { .. }
            | Self::NoPlatform { .. }
            | Self::NestedIndex { .. }
            | Self::UnreachableBlob { .. } => Severity::Warning,
            // Engines also check the bytes, but not all of them support all compressions.
            Self::LayerCompression { found: Packing::Plain | Packing::Gzip | Packing::Zstd, .. } => {
                Severity::Warning
            }
            _ => Severity::Error,
        }
    }

    /// True if the fault may have made an image unreadable.
    pub(super) const fn hides_images(&self) -> bool {
        !matches!(self, Self::NestedIndex { .. } | Self::NoPlatform { .. })
    }

    /// The next step, as one sentence without a full stop at its end.
    #[must_use]
    pub const fn remedy(&self) -> Option<&'static str> {
        Some(match self {
            Self::MissingBlob { .. } | Self::WrongSize { .. } | Self::WrongDigest { .. } => {
                "fetch or write the image again; the storage or a tool in between lost bytes"
            }
            Self::BrokenLayer { .. } | Self::TrailingBytes { .. } | Self::NoEnd { .. } => {
                "build the image again with another tool: engines may refuse this layer, or read it differently"
            }
            Self::LayerCompression { found: Packing::Xz | Packing::Bzip2, .. } => {
                "compress the layer with gzip or zstd: containerd supports nothing else"
            }
            Self::LayerCompression { .. } => {
                "correct its media type: engines check the bytes, but other tools trust the media type"
            }
            Self::DocumentTooLarge { .. } => "shorten its annotations and labels",
            Self::InvalidDocument { .. }
            | Self::MediaType { .. }
            | Self::LayerCount { .. }
            | Self::WrongDiffId { .. }
            | Self::History { .. } => "build the image again; the tool that wrote its documents is wrong",
            Self::UnknownMediaType { .. } => {
                "make sure that all engines that run the image support this media type"
            }
            Self::NestedIndex { .. } | Self::TooDeep { .. } => {
                "make one index that names all manifests: `xbuild index create IMAGE -o DESTINATION`"
            }
            Self::NoImage {} => "check what the reference resolves to with `xbuild inspect`",
            Self::NoPlatform { .. } => "write the index again with the platform of each entry",
            Self::PlatformTwice { .. } => "leave all but one of them out of the index",
            Self::PlatformMismatch { .. } => "build this platform again: one of the two is wrong",
            Self::ForeignPrograms { .. } | Self::SameLayer { .. } => {
                "build the program for each platform; engines fail with `exec format error`"
            }
            Self::UnreachableBlob { .. } => "remove it, unless something else uses it",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_has_every_kind() {
        let manual = include_str!("../../docs/verify.md");
        let rows: Vec<&str> = manual
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
            .filter(|name| *name != "check")
            .collect();
        assert_eq!(rows, Fault::CHECKS);
    }
}
