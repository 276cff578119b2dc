//! Reading a layout: every blob is verified before its content is trusted.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::ReadError as Error;
use super::entry::MOST_NESTED;
use crate::oci::{Descriptor, Digest, MANIFEST_LIMIT, media_type, take_field};
use crate::sys::cancel::Cancel;
use crate::sys::fs;

/// A directory that is marked as an OCI image layout ([image
/// specification](https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Opens a layout: its `oci-layout` file must exist and have a version 1.
    pub(crate) fn open(root: &Path) -> Result<Self, Error> {
        let not_a_layout = |reason: String| Error::NotALayout { path: root.to_owned(), reason };
        let bytes = match read_limited(root, "oci-layout", MANIFEST_LIMIT) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                return Err(not_a_layout("it is a file".into()));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(not_a_layout("it has no file `oci-layout`".into()));
            }
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                return Err(not_a_layout("its file `oci-layout` is a link that leads out of it".into()));
            }
            Err(error) => return Err(Error::Io(error)),
        };
        let version = serde_json::from_slice::<Value>(&bytes)
            .ok()
            .and_then(|marker| marker["imageLayoutVersion"].as_str().map(str::to_owned));
        match version {
            Some(version) if version.starts_with("1.") => Ok(Self { root: root.to_owned() }),
            Some(version) => Err(not_a_layout(format!("its version is `{version}`, not 1"))),
            None => Err(not_a_layout("its file `oci-layout` has no version".into())),
        }
    }

    /// The directory.
    #[must_use]
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The path of a blob, which may be missing.
    #[must_use]
    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        blob_in(&self.root, digest)
    }

    /// Opens a blob: a regular file of the layout. Links are followed only within the layout, since some tools use them
    /// to give blobs other names. Size and content should both be read from the file that is opened here, so that
    /// nobody can exchange it in between.
    pub(crate) fn open_blob(&self, digest: &Digest) -> Result<(fs::File, u64), Error> {
        let path = self.blob(digest);
        let relative = Path::new("blobs").join(digest.algorithm().name()).join(digest.hex());
        match fs::open_within(&self.root, &relative) {
            Ok(file) => {
                let size = file.metadata()?.len();
                Ok((file, size))
            }
            // Includes files that are not regular: a pipe is not waited for.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound
                        | io::ErrorKind::NotADirectory
                        | io::ErrorKind::IsADirectory
                        | io::ErrorKind::InvalidInput
                ) =>
            {
                Err(Error::Missing { digest: digest.clone(), path })
            }
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                Err(Error::LeadsOut { digest: digest.clone(), path })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The content of `index.json`.
    pub(crate) fn index(&self) -> Result<Value, Error> {
        let path = self.root.join("index.json");
        let bytes = match read_limited(&self.root, "index.json", MANIFEST_LIMIT) {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                let reason = "its file `index.json` is a link that leads out of it".into();
                return Err(Error::NotALayout { path: self.root.clone(), reason });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let reason = "it has no file `index.json`".into();
                return Err(Error::NotALayout { path: self.root.clone(), reason });
            }
            other => other?,
        };
        if bytes.len() as u64 > MANIFEST_LIMIT {
            return Err(Error::IndexTooLarge { path });
        }
        let index: Value =
            serde_json::from_slice(&bytes).map_err(|source| Error::Document { what: show(&path), source })?;
        Ok(index)
    }

    /// The entries of `index.json`.
    pub(crate) fn entries(&self) -> Result<Vec<Descriptor>, Error> {
        let mut index = self.index()?;
        entries_of(&mut index, &show(&self.root.join("index.json")))
    }

    /// Verifies a blob by size and digest.
    pub(crate) fn verify(&self, descriptor: &Descriptor, cancel: &Cancel) -> Result<PathBuf, Error> {
        let path = self.blob(&descriptor.digest);
        let (mut file, size) = self.open_blob(&descriptor.digest)?;
        check_size(&descriptor.digest, &path, descriptor.size, size)?;
        let mut hasher = descriptor.digest.algorithm().hasher();
        let mut piece = vec![0; 256 * 1024];
        loop {
            cancel.check()?;
            match fs::read_piece(&mut file, &mut piece)? {
                0 => break,
                count => hasher.update(&piece[..count]),
            }
        }
        check_digest(descriptor, &path, &hasher.finish())?;
        Ok(path)
    }

    /// Reads and verifies a manifest, an index or a configuration.
    pub(crate) fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        if descriptor.size > MANIFEST_LIMIT {
            return Err(Error::TooLarge { digest: descriptor.digest.clone(), size: descriptor.size });
        }
        let path = self.blob(&descriptor.digest);
        let (file, size) = self.open_blob(&descriptor.digest)?;
        check_size(&descriptor.digest, &path, descriptor.size, size)?;
        let mut bytes = Vec::new();
        file.take(MANIFEST_LIMIT + 1).read_to_end(&mut bytes)?;
        let mut hasher = descriptor.digest.algorithm().hasher();
        hasher.update(&bytes);
        check_digest(descriptor, &path, &hasher.finish())?;
        Ok(bytes)
    }

    /// Reads, verifies and parses a document.
    pub(crate) fn json(&self, descriptor: &Descriptor) -> Result<Value, Error> {
        let bytes = self.document(descriptor)?;
        serde_json::from_slice(&bytes)
            .map_err(|source| Error::Document { what: descriptor.digest.to_string(), source })
    }

    /// The manifests of an entry: itself, or those below it if it is an index. An index that is listed several times is
    /// read once.
    pub(crate) fn manifests(&self, entry: &Descriptor) -> Result<Vec<Descriptor>, Error> {
        let mut found = Vec::new();
        self.collect_manifests(entry, 0, &mut BTreeSet::new(), &mut found)?;
        Ok(found)
    }

    fn collect_manifests(
        &self,
        entry: &Descriptor,
        depth: usize,
        seen: &mut BTreeSet<Digest>,
        found: &mut Vec<Descriptor>,
    ) -> Result<(), Error> {
        if !media_type::is_index(&entry.media_type) {
            found.push(entry.clone());
            return Ok(());
        }
        if depth == MOST_NESTED {
            return Err(Error::TooDeep { digest: entry.digest.clone() });
        }
        if !seen.insert(entry.digest.clone()) {
            return Ok(());
        }
        let mut index = self.json(entry)?;
        for entry in entries_of(&mut index, &entry.digest.to_string())? {
            self.collect_manifests(&entry, depth + 1, seen, found)?;
        }
        Ok(())
    }
}

/// The path of a blob in a layout.
fn blob_in(root: &Path, digest: &Digest) -> PathBuf {
    root.join("blobs").join(digest.algorithm().name()).join(digest.hex())
}

fn entries_of(index: &mut Value, what: &str) -> Result<Vec<Descriptor>, Error> {
    let manifests = take_field(index, "manifests");
    serde_json::from_value(manifests).map_err(|source| Error::Document { what: what.to_owned(), source })
}

fn check_size(digest: &Digest, path: &Path, expected: u64, found: u64) -> Result<(), Error> {
    if found == expected {
        return Ok(());
    }
    Err(Error::WrongSize { digest: digest.clone(), path: path.to_owned(), expected, found })
}

fn check_digest(descriptor: &Descriptor, path: &Path, found: &Digest) -> Result<(), Error> {
    if *found == descriptor.digest {
        return Ok(());
    }
    Err(Error::WrongDigest {
        expected: descriptor.digest.clone(),
        path: path.to_owned(),
        found: found.clone(),
    })
}

/// Reads a regular file of a layout, at most one byte more than `limit`.
fn read_limited(root: &Path, name: &str, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::open_within(root, Path::new(name))?.take(limit + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn show(path: &Path) -> String {
    path.display().to_string()
}
