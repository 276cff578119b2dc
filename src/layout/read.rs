//! Reading a layout: every blob is verified before anything of it is believed.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::ReadError as Error;
use super::entry::MOST_NESTED;
use crate::oci::{Descriptor, Digest, MANIFEST_LIMIT, media_type};
use crate::sys::cancel::Cancel;
use crate::sys::fs;

/// A folder that says it is an OCI image layout
/// ([image specification](https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Opens a layout: its `oci-layout` file must be there and tell a version 1.
    pub fn open(root: &Path) -> Result<Self, Error> {
        let not_a_layout = |reason: String| Error::NotALayout { path: root.to_owned(), reason };
        let path = root.join("oci-layout");
        let bytes = match read_limited(&path, MANIFEST_LIMIT) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                return Err(not_a_layout("it is a file".into()));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(not_a_layout("it has no file `oci-layout`".into()));
            }
            Err(error) => return Err(Error::Io(error)),
        };
        let version = serde_json::from_slice::<Value>(&bytes)
            .ok()
            .and_then(|marker| marker["imageLayoutVersion"].as_str().map(str::to_owned));
        match version {
            Some(version) if version.starts_with("1.") => Ok(Self { root: root.to_owned() }),
            Some(version) => Err(not_a_layout(format!("its version is `{version}`, not 1"))),
            None => Err(not_a_layout("its file `oci-layout` does not tell a version".into())),
        }
    }

    /// The folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a blob is, if it is there.
    #[must_use]
    pub fn blob(&self, digest: &Digest) -> PathBuf {
        blob_in(&self.root, digest)
    }

    /// `index.json`, as it is.
    pub fn index(&self) -> Result<Value, Error> {
        let path = self.root.join("index.json");
        let bytes = match read_limited(&path, MANIFEST_LIMIT) {
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
    pub fn entries(&self) -> Result<Vec<Descriptor>, Error> {
        let mut index = self.index()?;
        entries_of(&mut index, &show(&self.root.join("index.json")))
    }

    /// Verifies a blob by size and digest.
    pub fn verify(&self, descriptor: &Descriptor, cancel: &Cancel) -> Result<PathBuf, Error> {
        let path = self.blob(&descriptor.digest);
        verify_file(&path, descriptor, cancel)?;
        Ok(path)
    }

    /// Reads a manifest, an index or a configuration, verified.
    pub fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        if descriptor.size > MANIFEST_LIMIT {
            return Err(Error::TooLarge { digest: descriptor.digest.clone(), size: descriptor.size });
        }
        let path = self.blob(&descriptor.digest);
        check_blob(&path, &descriptor.digest, descriptor.size)?;
        let bytes = read_limited(&path, MANIFEST_LIMIT)?;
        let mut hasher = descriptor.digest.algorithm().hasher();
        hasher.update(&bytes);
        check_digest(descriptor, &path, &hasher.finish())?;
        Ok(bytes)
    }

    /// Reads a document and parses it.
    pub fn json(&self, descriptor: &Descriptor) -> Result<Value, Error> {
        let bytes = self.document(descriptor)?;
        serde_json::from_slice(&bytes)
            .map_err(|source| Error::Document { what: descriptor.digest.to_string(), source })
    }

    /// The manifests that an entry leads to: itself, or through an index those below it. An index that several lead to is
    /// read once.
    pub fn manifests(&self, entry: &Descriptor) -> Result<Vec<Descriptor>, Error> {
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

/// Where a blob is in a layout.
fn blob_in(root: &Path, digest: &Digest) -> PathBuf {
    root.join("blobs").join(digest.algorithm().name()).join(digest.hex())
}

fn entries_of(index: &mut Value, what: &str) -> Result<Vec<Descriptor>, Error> {
    let manifests = index.get_mut("manifests").map_or(Value::Null, Value::take);
    serde_json::from_value(manifests).map_err(|source| Error::Document { what: what.to_owned(), source })
}

/// Verifies that a file has the size and the digest that its descriptor tells.
fn verify_file(path: &Path, descriptor: &Descriptor, cancel: &Cancel) -> Result<(), Error> {
    check_blob(path, &descriptor.digest, descriptor.size)?;
    let mut file = fs::open(path)?;
    let mut hasher = descriptor.digest.algorithm().hasher();
    let mut piece = vec![0; 256 * 1024];
    loop {
        cancel.check()?;
        match fs::read_piece(&mut file, &mut piece)? {
            0 => break,
            count => hasher.update(&piece[..count]),
        }
    }
    check_digest(descriptor, path, &hasher.finish())
}

/// Checks that a blob is there and has its size.
fn check_blob(path: &Path, digest: &Digest, size: u64) -> Result<(), Error> {
    let metadata = fs::metadata(path).map_err(|error| missing(error, path, digest))?;
    // Also what is no regular file: opening a pipe would wait for its other end.
    if !metadata.is_file() {
        return Err(Error::Missing { digest: digest.clone(), path: path.to_owned() });
    }
    check_size(digest, path, size, metadata.len())
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

fn missing(error: io::Error, path: &Path, digest: &Digest) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => Error::Missing { digest: digest.clone(), path: path.to_owned() },
        _ => Error::Io(error),
    }
}

/// Reads a regular file, of which one byte more than `limit` at most.
fn read_limited(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn show(path: &Path) -> String {
    path.display().to_string()
}
