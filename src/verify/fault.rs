//! What can be wrong with an image as a set of documents and blobs, as data. The words for people are in
//! [`std::fmt::Display`].

use serde::Serialize;

use crate::archive::Packing;
use crate::linkcheck::Severity;
use crate::oci::Digest;

/// Declares [`Fault`] with the name of each kind and its words, so that they can't drift apart.
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
    /// A blob that a document names is not there.
    "missing-blob" MissingBlob {
        /// The blob.
        digest: Digest,
    } "the blob {digest} is missing";
    /// A blob is longer or shorter than its descriptor says.
    "wrong-size" WrongSize {
        /// The blob.
        digest: Digest,
        /// The size that its descriptor tells, in bytes.
        expected: u64,
        /// The size that it has.
        found: u64,
    } "the blob {digest} has {found} bytes instead of {expected}";
    /// A blob has other bytes than its digest says.
    "wrong-digest" WrongDigest {
        /// The digest that it should have.
        expected: Digest,
        /// The digest that it has.
        found: Digest,
    } "the blob {expected} is altered: its digest is {found}";
    /// A document is larger than registries take.
    "document-too-large" DocumentTooLarge {
        /// The document.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
    } "the document {digest} has {size} bytes, which is more than registries take";
    /// A document is not JSON, or not what the specification asks for.
    "invalid-document" InvalidDocument {
        /// `index`, `manifest` or `config`.
        document: &'static str,
        /// The document.
        digest: Digest,
        /// What is wrong.
        reason: String,
    } "the {document} {digest} is not valid: {reason}";
    /// A document says that it is of another media type than its descriptor does.
    "media-type" MediaType {
        /// The document.
        digest: Digest,
        /// The descriptor's.
        descriptor: String,
        /// The document's own.
        document: String,
    } "{digest} says that it is `{document}`, and its descriptor that it is `{descriptor}`";
    /// A media type that is none of an image's.
    "unknown-media-type" UnknownMediaType {
        /// `config` or `layer`.
        what: &'static str,
        /// The blob.
        digest: Digest,
        /// The media type.
        media_type: String,
    } "the {what} {digest} is of the unknown media type `{media_type}`, so that it was not looked into";
    /// An index is inside of another.
    "nested-index" NestedIndex {
        /// The inner one, or the first of them.
        digest: Digest,
    } "the index {digest} is inside of another, and podman and skopeo can neither load nor copy that";
    /// Indexes lead to indexes, and so on.
    "too-deep" TooDeep {
        /// The index that was not read any more.
        digest: Digest,
    } "the index {digest} is nested deeper than readers follow";
    /// There is no image in it.
    "no-image" NoImage {} "it leads to no image";
    /// An entry of an index does not say for which platform it is.
    "no-platform" NoPlatform {
        /// The manifest.
        digest: Digest,
    } "the index does not say for which platform {digest} is";
    /// Several entries of an index are for one platform, of which engines take any.
    "platform-twice" PlatformTwice {
        /// The platform.
        platform: String,
        /// The manifests.
        digests: Vec<Digest>,
    } "{} manifests are for {platform}: {}", digests.len(), list(digests);
    /// The index and the configuration are not for the same platform.
    "platform-mismatch" PlatformMismatch {
        /// The platform of the index's entry.
        index: String,
        /// The platform of the configuration.
        config: String,
    } "the index says that it is for {index}, and its configuration for {config}";
    /// The image has programs, and none is for its platform.
    "foreign-programs" ForeignPrograms {
        /// How many there are.
        count: usize,
        /// One of them.
        example: String,
        /// What that is for.
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
        /// What that is for.
        found: String,
    } "{} have the same layer {digest} with programs: /{example} is for {found}", platforms.join(" and ");
    /// There are not as many layers as `diff_ids`.
    "layer-count" LayerCount {
        /// How many layers the manifest has.
        layers: usize,
        /// How many `diff_ids` the configuration has.
        diff_ids: usize,
    } "the manifest has {layers} layers, and the configuration {diff_ids} diff_ids";
    /// A layer's content is not the one that the configuration says.
    "wrong-diff-id" WrongDiffId {
        /// The layer.
        layer: Digest,
        /// The `diff_id` of the configuration.
        expected: Digest,
        /// The digest of the layer's uncompressed bytes.
        found: Digest,
    } "the layer {layer} has the diff_id {found} instead of {expected}";
    /// The history does not tell of each layer once.
    "history" History {
        /// How many entries that made a layer the history has.
        entries: usize,
        /// How many layers there are.
        layers: usize,
    } "the history tells of {entries} layers, and there are {layers}";
    /// A layer does not decompress, or is no tar archive.
    "broken-layer" BrokenLayer {
        /// The layer.
        digest: Digest,
        /// Why.
        reason: String,
    } "the layer {digest} cannot be unpacked: {reason}";
    /// A layer's media type is not what its bytes are.
    "layer-compression" LayerCompression {
        /// The layer.
        digest: Digest,
        /// Its media type.
        media_type: String,
        /// What its bytes are.
        found: Packing,
    } "the layer {digest} is declared as `{media_type}`, and its bytes are {}", found.describe();
    /// Something follows a layer's archive.
    "trailing-bytes" TrailingBytes {
        /// The layer.
        digest: Digest,
        /// How many bytes follow the archive's end.
        count: u64,
    } "{count} bytes follow the end of the archive in the layer {digest}";
    /// A layer's archive does not say that it ends.
    "no-end" NoEnd {
        /// The layer.
        digest: Digest,
    } "the archive in the layer {digest} has no end, as if it was cut short";
    /// A blob of the layout to which nothing leads.
    "unreachable-blob" UnreachableBlob {
        /// The blob.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
    } "nothing leads to the blob {digest} ({size} bytes)";
}

fn list(digests: &[Digest]) -> String {
    digests.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl Fault {
    /// How bad it is.
    #[must_use]
    pub const fn severity(&self) -> Severity {
        match self {
            Self::NoEnd { .. }
            | Self::NoPlatform { .. }
            | Self::NestedIndex { .. }
            | Self::UnreachableBlob { .. } => Severity::Warning,
            // Engines look at the bytes, too, but not all of them know all compressions.
            Self::LayerCompression { found: Packing::Plain | Packing::Gzip | Packing::Zstd, .. } => {
                Severity::Warning
            }
            _ => Severity::Error,
        }
    }

    /// True where an image may be behind it that could not be read.
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
                "compress the layer with gzip or zstd: containerd knows nothing else"
            }
            Self::LayerCompression { .. } => {
                "write its media type as its bytes are: engines look at these, but other tools believe the media type"
            }
            Self::DocumentTooLarge { .. } => "shorten its annotations and labels",
            Self::InvalidDocument { .. }
            | Self::MediaType { .. }
            | Self::LayerCount { .. }
            | Self::WrongDiffId { .. }
            | Self::History { .. } => "build the image again; the tool that wrote its documents is wrong",
            Self::UnknownMediaType { .. } => "see that all engines that shall run it know this media type",
            Self::NestedIndex { .. } | Self::TooDeep { .. } => {
                "make one index that names all manifests: `xbuild index create IMAGE -o DESTINATION`"
            }
            Self::NoImage {} => "look at what the reference means with `xbuild inspect`",
            Self::NoPlatform { .. } => "write the index again with the platform of each entry",
            Self::PlatformTwice { .. } => "leave all but one of them out of the index",
            Self::PlatformMismatch { .. } => "build this platform again: one of the two says what it is not",
            Self::ForeignPrograms { .. } | Self::SameLayer { .. } => {
                "build the program for each platform; engines would say `exec format error`"
            }
            Self::UnreachableBlob { .. } => "remove it, if it is of no other use",
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
