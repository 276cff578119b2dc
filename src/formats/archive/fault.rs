//! Faults of an archive. The messages say what is wrong and at which offset, but never show the archive's bytes.

use std::io;

/// A fault of an archive, wrapped in an [`io::Error`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Its first block is not a header.
    #[error("it is not a tar archive")]
    NotTar,
    /// A later block is not a header, though it should be.
    #[error("there is no header at byte {at} of the archive, where one should be")]
    NoHeader {
        /// The offset of the block.
        at: u64,
    },
    /// It ends within an entry.
    #[error("the archive ends within an entry")]
    Cut,
    /// A field of a header is not a number, or not a valid one.
    #[error("the field `{0}` of an entry is not a valid number")]
    Field(&'static str),
    /// Pax records are malformed.
    #[error("the pax records of an entry are malformed")]
    Records,
    /// Long names or records exceed the limit.
    #[error("the long name or the pax records of an entry take more than {limit} bytes")]
    Long {
        /// The limit in bytes.
        limit: u64,
    },
    /// A sparse file's map is malformed.
    #[error("the map of a sparse file's holes is broken: {0}")]
    Sparse(&'static str),
    /// A sparse file in an unknown form.
    #[error(
        "a sparse file is stored in the form {form} of GNU tar, which is unknown; 0.0, 0.1 and 1.0 are supported"
    )]
    SparseForm {
        /// The version in the records.
        form: String,
    },
    /// The compression is not supported.
    #[error("it is compressed with {0}, which is not supported; gzip, zstd, xz and bzip2 are")]
    Compression(&'static str),
    /// Decompressing needs more memory than the limit.
    #[error("decompressing it would take more than {limit} MiB of memory")]
    Memory {
        /// The limit in MiB.
        limit: u32,
    },
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        Self::new(io::ErrorKind::InvalidData, fault)
    }
}

impl Fault {
    /// The fault in an error, if it has one.
    #[must_use]
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}
