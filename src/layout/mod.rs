//! An OCI image layout, written so that a kill at any moment leaves either the valid old one or the valid new one.
//!
//! Everything is staged in a separate directory on the same file system. A new layout appears by renaming that
//! directory. In an existing layout the blobs are renamed to their final paths first and `index.json` last; entries of
//! other tags stay. Blobs that are not reachable from any entry are then removed. The next run removes staging
//! directories that killed runs have left: each is locked by its run, and the kernel releases the lock of a dead one.

pub(crate) mod choose;
pub(crate) mod entry;
mod fault;
mod index;
pub(crate) mod reachable;
mod read;

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

pub use choose::Selector;
pub(crate) use fault::ReadError;
pub(crate) use index::Untagged;
pub(crate) use read::Layout;

use crate::error::{ExitCode, Explain, io_hint};
use crate::image::ImageLayer;
use crate::oci::{Algorithm, Descriptor, Digest, Encoded, InvalidReference};
use crate::sys::cancel::{Cancel, Cancelled};
use crate::sys::fs::{self, NamedTempFile, PermissionsExt};
use crate::sys::staging::Staging;

/// The file that marks a directory as a layout (image-layout.md, "oci-layout file").
const MARKER: &str = "oci-layout";
pub(crate) const MARKER_TEXT: &[u8] = b"{\"imageLayoutVersion\":\"1.0.0\"}";
const INDEX: &str = "index.json";
const BLOBS: &str = "blobs/sha256";

/// Why a layout could not be written.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The path exists and is not a layout.
    #[error("`{}` exists and is not an OCI layout: {found}", path.display())]
    NotALayout {
        /// The path.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// The index of an existing layout is invalid, so it is not changed.
    #[error("`{}` is not a valid index: {reason}", path.display())]
    Index {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A tag is not an image name.
    #[error(transparent)]
    Tag(#[from] InvalidReference),
    /// A file could not be read or written.
    #[error("cannot write the layout `{}`: {source}", path.display())]
    Io {
        /// The layout.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// The bytes of a verified blob have changed since.
    #[error("`{}` was written to while it was read: its digest was {expected} and is {found}", path.display())]
    Altered {
        /// The file.
        path: PathBuf,
        /// The digest when it was verified.
        expected: Digest,
        /// The digest now.
        found: Digest,
    },
    /// The work was stopped.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl Explain for LayoutError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::NotALayout { .. } | Self::Index { .. } => ExitCode::NotALayout,
            Self::Tag(_) => ExitCode::Config,
            Self::Altered { .. } => ExitCode::CorruptImage,
            Self::Io { source, .. } => ExitCode::of_io(source),
            Self::Cancelled(cancelled) => cancelled.exit_code(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NotALayout { .. } => {
                Some("choose another path with --output, or remove what is there".into())
            }
            Self::Index { .. } => Some("remove the layout, or write to another path with --output".into()),
            Self::Altered { .. } => Some("run again when no other program writes to it".into()),
            Self::Tag(_) => Some("write a tag as in --tag example.com/name:1.0".into()),
            Self::Io { source, .. } => io_hint(source),
            Self::Cancelled(cancelled) => cancelled.hint(),
        }
    }
}

/// A layout that is being written. If it is dropped before [`LayoutWriter::commit`], the old state stays.
#[derive(Debug)]
pub(crate) struct LayoutWriter {
    path: PathBuf,
    staging: Staging,
    blobs: PathBuf,
    cancel: Cancel,
}

impl LayoutWriter {
    /// Checks that `path` is a layout, or free, and is writable.
    pub(crate) fn open(path: &Path, cancel: &Cancel) -> Result<Self, LayoutError> {
        let io = |source| LayoutError::Io { path: path.to_owned(), source };
        let existing = inspect(path)?;
        let dir = if existing { path } else { path.parent().unwrap_or_else(|| Path::new("/")) };
        if existing {
            // They belong to a run that was killed before another one made the layout.
            Staging::tidy_beside(path, cancel)?;
        }
        let staging = Staging::within(dir, path, cancel).map_err(|error| match error {
            fs::LockError::Io(source) => io(source),
            fs::LockError::Cancelled(cancelled) => LayoutError::Cancelled(cancelled),
        })?;
        let blobs = staging.path().join(BLOBS);
        fs::create_dir_all(&blobs).map_err(io)?;
        Ok(Self { path: path.to_owned(), staging, blobs, cancel: cancel.clone() })
    }

    /// The layout's path.
    #[must_use]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The directory for new blobs; each is named by its digest's hexadecimal digits.
    #[must_use]
    pub(crate) fn blobs(&self) -> &Path {
        &self.blobs
    }

    /// Adds a layer's blob: a copy that is verified again, since others may have written to the blob since it was
    /// verified.
    pub(crate) fn add_layer(&self, layer: &ImageLayer) -> Result<(), LayoutError> {
        let ImageLayer { blob, descriptor, .. } = layer;
        let to = self.blob(&descriptor.digest)?;
        if *blob == to || to.exists() || self.add_clone(descriptor, blob, &self.cancel)? {
            return Ok(());
        }
        let from = fs::open(blob).map_err(|source| self.io(source))?;
        let mut file = self.stage()?;
        let found = digest_of(from, descriptor, &mut file, &self.cancel).map_err(|error| self.lock(error))?;
        if found != descriptor.digest {
            let (path, expected) = (blob.clone(), descriptor.digest.clone());
            return Err(LayoutError::Altered { path, expected, found });
        }
        self.keep(file, &descriptor.digest)
    }

    /// Adds a blob that has a file of its own by cloning that file, which shares its blocks. The clone is verified.
    /// Returns false if the file system does not support it, or the file does not have the expected digest.
    pub(crate) fn add_clone(
        &self,
        blob: &Descriptor,
        file: &Path,
        cancel: &Cancel,
    ) -> Result<bool, LayoutError> {
        let Ok(from) = fs::open(file) else { return Ok(false) };
        let Some(clone) = fs::clone_of(&from, &self.blobs).map_err(|source| self.io(source))? else {
            return Ok(false);
        };
        let own = fs::File::open(clone.path()).map_err(|source| self.io(source))?;
        let found = digest_of(own, blob, &mut io::sink(), cancel).map_err(|error| self.lock(error))?;
        if found != blob.digest {
            return Ok(false);
        }
        self.keep(clone, &blob.digest)?;
        Ok(true)
    }

    /// Adds a document.
    pub(crate) fn add_document(&self, document: &Encoded) -> Result<(), LayoutError> {
        self.add_bytes(document.digest(), &document.bytes)
    }

    /// Adds the bytes of a verified document.
    pub(crate) fn add_bytes(&self, digest: &Digest, bytes: &[u8]) -> Result<(), LayoutError> {
        let to = self.blob(digest)?;
        fs::write_atomic(&to, bytes, 0o644).map_err(|source| self.io(source))
    }

    /// A file to write a blob to; [`LayoutWriter::keep`] gives it its name.
    pub(crate) fn stage(&self) -> Result<NamedTempFile, LayoutError> {
        fs::temporary_file(&self.blobs).map_err(|source| self.io(source))
    }

    /// Adds a staged file, which must have been verified to have this digest.
    pub(crate) fn keep(&self, file: NamedTempFile, digest: &Digest) -> Result<(), LayoutError> {
        let to = self.blob(digest)?;
        fs::keep(file, &to, 0o644).map_err(|source| self.io(source))
    }

    /// True if the blob is staged already.
    #[must_use]
    pub(crate) fn has(&self, digest: &Digest) -> bool {
        blob(self.staging.path(), digest).exists()
    }

    /// Publishes an index or a manifest under some tags, or without one, and replaces earlier entries with the same
    /// tags.
    pub(crate) fn commit(self, root: &Encoded, tags: &[String]) -> Result<(), LayoutError> {
        self.add_document(root)?;
        self.commit_root(&root.descriptor, tags, Untagged::Replace)
    }

    /// The same for a document that was already added or is already in the layout.
    pub(crate) fn commit_root(
        self,
        root: &Descriptor,
        tags: &[String],
        untagged: Untagged,
    ) -> Result<(), LayoutError> {
        let entries = index::entries(root, tags)?;
        let io = |source| LayoutError::Io { path: self.path.clone(), source };
        self.settle().map_err(io)?;
        // Checked only now, since another run may have made the layout in the meantime.
        if !inspect(&self.path)? {
            if self.appear(&entries)? {
                return Ok(());
            }
            // It was made between the check and the rename.
            inspect(&self.path)?;
        }
        let _lock = fs::lock(&self.path, &self.cancel).map_err(|error| match error {
            fs::LockError::Io(source) => io(source),
            fs::LockError::Cancelled(cancelled) => cancelled.into(),
        })?;
        let document = index::merged(&self.path.join(INDEX), entries, untagged)?;
        for dir in blob_dirs(self.staging.path()) {
            let name = dir.file_name().unwrap_or_default();
            let blobs = self.path.join("blobs").join(name);
            fs::create_dir_all(&blobs).map_err(io)?;
            for entry in fs::read_dir(&dir).map_err(io)? {
                let entry = entry.map_err(io)?;
                // Replaces an existing file: only ours is known to be complete.
                fs::rename(entry.path(), blobs.join(entry.file_name())).map_err(io)?;
            }
        }
        // Written to the staging directory, which the next run cleans up, and not to the layout itself.
        let staged = self.staging.path().join(INDEX);
        fs::write_atomic(&staged, &document, 0o644).map_err(io)?;
        fs::rename(&staged, self.path.join(INDEX)).map_err(io)?;
        reachable::remove_unreachable(&self.path).map_err(io)
    }

    /// Publishes a new layout with one rename; false if the path exists by now.
    fn appear(&self, entries: &[serde_json::Value]) -> Result<bool, LayoutError> {
        let io = |source| LayoutError::Io { path: self.path.clone(), source };
        let root = self.staging.path();
        fs::write_atomic(&root.join(MARKER), MARKER_TEXT, 0o644).map_err(io)?;
        fs::write_atomic(&root.join(INDEX), &index::document(entries), 0o644).map_err(io)?;
        reachable::remove_unreachable(root).map_err(io)?;
        match fs::rename(root, &self.path) {
            Ok(()) => Ok(true),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists
                ) =>
            {
                Ok(false)
            }
            Err(error) => Err(io(error)),
        }
    }

    /// Syncs the staged blobs to disk and makes the directories readable by everyone, whatever the umask.
    fn settle(&self) -> io::Result<()> {
        let root = self.staging.path();
        let dirs = blob_dirs(root);
        for dir in &dirs {
            for entry in fs::read_dir(dir)? {
                fs::File::open(entry?.path())?.sync_data()?;
            }
        }
        for dir in [root.to_owned(), root.join("blobs")].iter().chain(&dirs) {
            fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
        }
        Ok(())
    }

    /// The path at which a blob is staged.
    fn blob(&self, digest: &Digest) -> Result<PathBuf, LayoutError> {
        let path = blob(self.staging.path(), digest);
        if digest.algorithm() != Algorithm::Sha256 {
            let dir = path.parent().unwrap_or_else(|| Path::new("/"));
            fs::create_dir_all(dir).map_err(|source| self.io(source))?;
        }
        Ok(path)
    }

    fn lock(&self, error: fs::LockError) -> LayoutError {
        match error {
            fs::LockError::Io(source) => self.io(source),
            fs::LockError::Cancelled(cancelled) => cancelled.into(),
        }
    }

    fn io(&self, source: io::Error) -> LayoutError {
        LayoutError::Io { path: self.path.clone(), source }
    }
}

/// True if `path` is a layout, false if it is free (absent, or an empty directory), an error for anything else.
fn inspect(path: &Path) -> Result<bool, LayoutError> {
    let not_a_layout = |found| LayoutError::NotALayout { path: path.to_owned(), found };
    let io = |source| LayoutError::Io { path: path.to_owned(), source };
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(io(error)),
    };
    if !metadata.is_dir() {
        return Err(not_a_layout("it is a file"));
    }
    for dir in ["blobs", BLOBS] {
        // Unreachable blobs are removed from a layout, but another layout may use them if the directory is a link.
        if fs::symlink_metadata(path.join(dir)).is_ok_and(|found| found.is_symlink()) {
            return Err(not_a_layout("its directory of blobs is a link"));
        }
    }
    match fs::read(path.join(MARKER)) {
        Ok(bytes) => {
            let document: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
            if document["imageLayoutVersion"].is_string() {
                Ok(true)
            } else {
                Err(not_a_layout("its file `oci-layout` has no version"))
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if fs::read_dir(path).map_err(io)?.next().is_none() {
                return Ok(false);
            }
            Err(not_a_layout("it is a directory with other files"))
        }
        Err(error) => Err(io(error)),
    }
}

/// Copies a blob and returns its digest. If the blob is too long, one extra byte is read, so that the digest differs.
fn digest_of(
    from: fs::File,
    blob: &Descriptor,
    to: &mut dyn Write,
    cancel: &Cancel,
) -> Result<Digest, fs::LockError> {
    let mut hasher = blob.digest.algorithm().hasher();
    let mut from = from.take(blob.size.saturating_add(1));
    let mut piece = vec![0; 256 * 1024];
    loop {
        cancel.check()?;
        match fs::read_piece(&mut from, &mut piece)? {
            0 => return Ok(hasher.finish()),
            count => {
                hasher.update(&piece[..count]);
                to.write_all(&piece[..count])?;
            }
        }
    }
}

/// The path of a blob in a layout.
pub(crate) fn blob(layout: &Path, digest: &Digest) -> PathBuf {
    layout.join("blobs").join(digest.algorithm().name()).join(digest.hex())
}

/// The existing directories for blobs, one per algorithm.
fn blob_dirs(layout: &Path) -> Vec<PathBuf> {
    let dirs = Algorithm::ALL.iter().map(|algorithm| layout.join("blobs").join(algorithm.name()));
    dirs.filter(|dir| dir.is_dir()).collect()
}

/// The `index.json` of a layout with only this index or manifest.
pub(crate) fn index_document(root: &Descriptor, tags: &[String]) -> Result<Vec<u8>, LayoutError> {
    Ok(index::document(&index::entries(root, tags)?))
}

#[cfg(test)]
mod tests;
