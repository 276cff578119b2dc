//! Writing an image to a registry: blobs side by side, then documents, the one with the name last, so that whoever reads
//! the name finds everything that it leads to.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Image, Item, Opener, Source, TransportError};
use crate::layout::LayoutError;
use crate::oci::{Descriptor, Encoded};
use crate::registry::{Access, ImageName, Repository, RepositoryName, Wanted};
use crate::sys::fs;

/// Blobs on their way at once.
const LANES: usize = 4;

impl Opener<'_> {
    /// Writes an image to a repository, under a tag unless the name is a digest alone.
    pub(super) fn push(&self, image: &Image<'_>, name: &ImageName) -> Result<(), TransportError> {
        let repository = self.registry.repository(&name.repository, Access::Push);
        let (mut blobs, mut documents) = (Vec::new(), Vec::new());
        for (source, wanted) in &image.parts {
            for root in wanted {
                for item in source.reachable(root)? {
                    match item {
                        Item::Blob(descriptor) => blobs.push((*source, descriptor)),
                        Item::Document { descriptor, bytes } => documents.push(Encoded { descriptor, bytes }),
                    }
                }
            }
        }
        self.push_blobs(&repository, &blobs)?;
        let root = match &image.document {
            Some(document) => document.clone(),
            None => {
                match documents.iter().position(|document| document.descriptor.digest == image.root.digest) {
                    Some(at) => documents.remove(at),
                    None => return Err(TransportError::Missing(image.root.digest.to_string())),
                }
            }
        };
        for document in &documents {
            repository.put_manifest(Wanted::Digest(document.digest()), document, self.cancel)?;
        }
        let wanted = match (&name.tag, &name.digest) {
            (None, Some(_)) => Wanted::Digest(root.digest()),
            (Some(tag), _) => Wanted::Tag(tag),
            (None, None) => Wanted::Tag("latest"),
        };
        repository.put_manifest(wanted, &root, self.cancel)?;
        Ok(())
    }

    /// Makes sure that the repository has every blob. The first failure stops the others.
    fn push_blobs(
        &self,
        repository: &Repository,
        blobs: &[(&Source, Descriptor)],
    ) -> Result<(), TransportError> {
        let work = self.cancel.child();
        let next = AtomicUsize::new(0);
        let failure: Mutex<Option<TransportError>> = Mutex::new(None);
        std::thread::scope(|scope| {
            for _ in 0..LANES.min(blobs.len()) {
                scope.spawn(|| {
                    let opener = Opener { cancel: &work, ..*self };
                    while let Some((source, blob)) = blobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if let Err(error) = opener.push_blob(repository, source, blob) {
                            failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                            work.interrupt();
                            break;
                        }
                    }
                });
            }
        });
        self.cancel.check()?;
        failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    fn push_blob(
        &self,
        repository: &Repository,
        source: &Source,
        blob: &Descriptor,
    ) -> Result<(), TransportError> {
        let from: Vec<RepositoryName> =
            source.repository().map(|repository| repository.name().clone()).into_iter().collect();
        if let Some(file) = source.file(&blob.digest) {
            repository.push_blob(blob, &file, &from, self.cancel, &mut |_| ())?;
            return Ok(());
        }
        if repository.adopt_blob(blob, &from, self.cancel)?.is_some() {
            return Ok(());
        }
        // What is in no file of its own gets one for as long as it takes.
        let folder = fs::scratch_dir()
            .map_err(|source| TransportError::Io { shown: blob.digest.to_string(), source })?;
        let path: PathBuf = folder.path().join("blob");
        let failed = |source| TransportError::Layout(LayoutError::Io { path: path.clone(), source });
        let mut file = fs::OpenOptions::new().write(true).create_new(true).open(&path).map_err(failed)?;
        source.blob(blob)?.copy(&mut file, self.cancel, failed)?;
        drop(file);
        repository.push_blob(blob, &path, &[], self.cancel, &mut |_| ())?;
        Ok(())
    }
}
