//! What is wrong with an archive. The words tell what and where, and never show the archive's bytes.

use std::io;

/// What is wrong with an archive, inside of an [`io::Error`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Its first block is no header.
    #[error("it is no tar archive")]
    NotTar,
    /// A later block is none, though it should be.
    #[error("there is no header at byte {at} of the archive, where one should be")]
    NoHeader {
        /// Where it should be.
        at: u64,
    },
    /// It ends within an entry.
    #[error("the archive ends within an entry")]
    Cut,
    /// A field of a header is no number, or one that cannot be.
    #[error("the field `{0}` of an entry is not a number that it can have")]
    Field(&'static str),
    /// Pax records are not in their form.
    #[error("the pax records of an entry are not in their form")]
    Records,
    /// Long names or records are longer than can be meant.
    #[error("the long name or the pax records of an entry take more than {limit} bytes")]
    Long {
        /// The limit in bytes.
        limit: u64,
    },
    /// A sparse file's map is not in its form.
    #[error("the map of a sparse file's holes is broken: {0}")]
    Sparse(&'static str),
    /// A sparse file in a form that is not known.
    #[error(
        "a sparse file is stored in the form {form} of GNU tar, which is not known; 0.0, 0.1 and 1.0 are"
    )]
    SparseForm {
        /// The version that it says.
        form: String,
    },
    /// It is compressed in a way that is not known.
    #[error("it is compressed with {0}, which is not known; gzip, zstd, xz and bzip2 are")]
    Compression(&'static str),
    /// Decompressing takes more memory than is given.
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
    /// The fault that an error is, if it is one.
    #[must_use]
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}
