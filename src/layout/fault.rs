//! Errors of reading a layout.

use std::io;
use std::path::PathBuf;

use crate::oci::{Digest, MANIFEST_LIMIT};
use crate::sys::cancel::Cancelled;

/// Why a layout could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The path is not a layout, or does not exist.
    #[error("`{}` is not an OCI layout: {reason}", path.display())]
    NotALayout {
        /// The path.
        path: PathBuf,
        /// Why it is not one.
        reason: String,
    },
    /// A blob that a document names is missing.
    #[error("the blob {digest} is missing (`{}`)", path.display())]
    Missing {
        /// The blob.
        digest: Digest,
        /// The path that it should have.
        path: PathBuf,
    },
    /// A blob is a link out of the layout.
    #[error(
        "the blob {digest} is a link that leads out of the layout (`{}`), and such links are not followed; `cp -rL` makes a \
         layout that has its blobs itself",
        path.display()
    )]
    LeadsOut {
        /// The blob.
        digest: Digest,
        /// The path that it should have.
        path: PathBuf,
    },
    /// A blob has another size than in its descriptor.
    #[error("the blob {digest} has {found} bytes instead of {expected} (`{}`)", path.display())]
    WrongSize {
        /// The blob.
        digest: Digest,
        /// The path of the blob.
        path: PathBuf,
        /// The size in its descriptor.
        expected: u64,
        /// Its actual size.
        found: u64,
    },
    /// A blob's bytes do not have the digest in its name.
    #[error("the blob {expected} is altered: its digest is {found} (`{}`)", path.display())]
    WrongDigest {
        /// The digest that it should have.
        expected: Digest,
        /// The path of the blob.
        path: PathBuf,
        /// Its actual digest.
        found: Digest,
    },
    /// A manifest, an index or a configuration is larger than the limit.
    #[error("the document {digest} has {size} bytes; at most {MANIFEST_LIMIT} are read")]
    TooLarge {
        /// The document.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
    },
    /// `index.json` is larger than the limit.
    #[error("`{}` has more than {MANIFEST_LIMIT} bytes", path.display())]
    IndexTooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Indexes are nested too deep.
    #[error("the index {digest} is nested too deep")]
    TooDeep {
        /// The first index that is nested too deep.
        digest: Digest,
    },
    /// A document is not JSON, or is malformed.
    #[error("`{what}` is not a valid document: {source}")]
    Document {
        /// A path or a digest.
        what: String,
        /// The parser's error.
        source: serde_json::Error,
    },
    /// A file could not be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The work was stopped.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}
