//! What is wrong with a layout that is read.

use std::io;
use std::path::PathBuf;

use crate::oci::{Digest, MANIFEST_LIMIT};
use crate::sys::cancel::Cancelled;

/// What is wrong with a layout.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The path is something else, or nothing.
    #[error("`{}` is not an OCI layout: {reason}", path.display())]
    NotALayout {
        /// The path.
        path: PathBuf,
        /// How one can tell.
        reason: String,
    },
    /// A blob that a document names is not there.
    #[error("the blob {digest} is missing (`{}`)", path.display())]
    Missing {
        /// The blob.
        digest: Digest,
        /// Where it should be.
        path: PathBuf,
    },
    /// A blob is a link to somewhere else.
    #[error(
        "the blob {digest} is a link that leads out of the layout (`{}`), and such links are not followed; `cp -rL` makes a \
         layout that has its blobs itself",
        path.display()
    )]
    LeadsOut {
        /// The blob.
        digest: Digest,
        /// Where it should be.
        path: PathBuf,
    },
    /// A blob is longer or shorter than its descriptor says.
    #[error("the blob {digest} has {found} bytes instead of {expected} (`{}`)", path.display())]
    WrongSize {
        /// The blob.
        digest: Digest,
        /// Where it is.
        path: PathBuf,
        /// The size that its descriptor tells.
        expected: u64,
        /// The size that it has.
        found: u64,
    },
    /// A blob has other bytes than its name says.
    #[error("the blob {expected} is altered: its digest is {found} (`{}`)", path.display())]
    WrongDigest {
        /// The digest that it should have.
        expected: Digest,
        /// Where it is.
        path: PathBuf,
        /// The digest that it has.
        found: Digest,
    },
    /// A manifest, an index or a configuration is larger than any can be.
    #[error("the document {digest} has {size} bytes; at most {MANIFEST_LIMIT} are read")]
    TooLarge {
        /// The document.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
    },
    /// `index.json` is larger than any can be.
    #[error("`{}` has more than {MANIFEST_LIMIT} bytes", path.display())]
    IndexTooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Indexes lead to indexes, and so on.
    #[error("the index {digest} is nested too deep")]
    TooDeep {
        /// The index that is not read any more.
        digest: Digest,
    },
    /// A document is not JSON, or not what it should be.
    #[error("`{what}` is not a valid document: {source}")]
    Document {
        /// A path or a digest.
        what: String,
        /// Where it is wrong.
        source: serde_json::Error,
    },
    /// A file could not be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The work was stopped.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}
