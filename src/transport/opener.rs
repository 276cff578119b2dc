//! Opening the image at a location.

use std::io::{self, Read};
use std::path::Path;

use super::docker_archive::DockerArchive;
use super::kind::{Kind, Remote};
use super::source::{Source, entries_of, parsed};
use super::tar_index::TarIndex;
use super::{Location, TransportError};
use crate::layout::Selector;
use crate::layout::choose::names_of;
use crate::layout::{Layout, ReadError};
use crate::oci::name::ImageName;
use crate::oci::{Descriptor, MANIFEST_LIMIT, Reference, annotation};
use crate::output::engine;
use crate::registry::{Access, Client};
use crate::sys::cancel::Cancel;
use crate::sys::env::Environment;
use crate::sys::fs;

/// Opens images.
#[derive(Clone, Copy)]
pub struct Opener<'a> {
    /// The environment in which engines are looked up.
    pub environment: &'a Environment,
    /// The client for registries.
    pub registry: &'a Client,
    /// Ends every wait.
    pub cancel: &'a Cancel,
}

impl Opener<'_> {
    /// Opens the image at a location.
    ///
    /// # Errors
    ///
    /// If the location does not exist, if it cannot be read or reached, if its name matches none or several of the
    /// images there, or if the work is cancelled.
    pub fn open(&self, location: &Location) -> Result<Source, TransportError> {
        let shown = location.to_string();
        let (kind, entries, selector) = self.store(location)?;
        let exported = matches!(kind, Kind::Exported { .. });
        let place = location.place().to_string();
        let mut source = Source::new(shown, &place, kind, &entries, selector, self.cancel)?;
        if exported {
            source.keep_what_is_there()?;
        }
        Ok(source)
    }

    /// Opens each image at a location, or only one if the location selects it.
    ///
    /// # Errors
    ///
    /// As [`Opener::open`], and if `look` fails.
    pub fn each(
        &self,
        location: &Location,
        look: &mut dyn FnMut(&Source) -> Result<(), TransportError>,
    ) -> Result<(), TransportError> {
        if location.place() != *location || location.path().is_none() {
            return look(&self.open(location)?);
        }
        let (kind, entries, _) = self.store(location)?;
        let mut source = Source::of_all(location.to_string(), kind, &entries, self.cancel);
        for image in source.images()? {
            source.turn_to(image);
            look(&source)?;
        }
        Ok(())
    }

    pub(super) fn store<'l>(
        &self,
        location: &'l Location,
    ) -> Result<(Kind, Vec<Descriptor>, &'l Selector), TransportError> {
        let shown = location.to_string();
        let (kind, entries) = match location {
            Location::Layout { path, .. } => layout(path, &shown)?,
            Location::OciArchive { path, .. } => {
                let members = self.members(path, &shown)?;
                if !members.has("oci-layout") {
                    let reason = "it has no file `oci-layout`".into();
                    return Err(TransportError::NotAnImage { shown, reason });
                }
                oci_archive(path, members, &shown)?
            }
            Location::DockerArchive { path, .. } => {
                let members = self.members(path, &shown)?;
                if !DockerArchive::is_one(&members) {
                    let reason = "it has no file `manifest.json`".into();
                    return Err(TransportError::NotAnImage { shown, reason });
                }
                self.docker_archive(path, members, &shown)?
            }
            Location::Path { path, .. } => self.at_path(path, &shown)?,
            Location::Podman { name } => self.exported(engine::podman::export, name, &shown)?,
            Location::Docker { name } => self.exported(engine::docker::export, name, &shown)?,
            Location::Registry { name } => self.remote(name)?,
        };
        let selector = match location {
            Location::Layout { selector, .. }
            | Location::OciArchive { selector, .. }
            | Location::DockerArchive { selector, .. }
            | Location::Path { selector, .. } => selector,
            Location::Podman { .. } | Location::Docker { .. } | Location::Registry { .. } => &Selector::Only,
        };
        Ok((kind, entries, selector))
    }

    /// Opens a path: a layout, or an archive of one or of `docker save`.
    fn at_path(&self, path: &Path, shown: &str) -> Result<(Kind, Vec<Descriptor>), TransportError> {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => return layout(path, shown),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(TransportError::Missing(path.display().to_string()));
            }
            Err(source) => return Err(TransportError::Io { shown: shown.to_owned(), source }),
        }
        let members = self.members(path, shown)?;
        if members.has("oci-layout") {
            oci_archive(path, members, shown)
        } else if DockerArchive::is_one(&members) {
            self.docker_archive(path, members, shown)
        } else {
            let reason = "it has neither a file `oci-layout` nor `manifest.json`".into();
            Err(TransportError::NotAnImage { shown: shown.to_owned(), reason })
        }
    }

    fn members(&self, path: &Path, shown: &str) -> Result<TarIndex, TransportError> {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_file() => {}
            Ok(_) => {
                let reason = "it is not a regular file".into();
                return Err(TransportError::NotAnImage { shown: shown.to_owned(), reason });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(TransportError::Missing(path.display().to_string()));
            }
            Err(source) => return Err(TransportError::Io { shown: shown.to_owned(), source }),
        }
        TarIndex::open(path, self.cancel).map_err(|source| TransportError::stream(shown, source))
    }

    fn docker_archive(
        &self,
        path: &Path,
        members: TarIndex,
        shown: &str,
    ) -> Result<(Kind, Vec<Descriptor>), TransportError> {
        let (archive, entries) = DockerArchive::open(members, shown, self.cancel)?;
        Ok((Kind::Docker { path: path.to_owned(), archive }, entries))
    }

    /// The document that a tag or digest of a registry resolves to.
    fn remote(&self, name: &ImageName) -> Result<(Kind, Vec<Descriptor>), TransportError> {
        let repository = self.registry.repository(&name.repository, Access::Pull);
        let document = repository.manifest(name.wanted(), self.cancel)?;
        let mut entry = document.descriptor.clone();
        if name.digest.is_none() {
            let (registry, path) = (name.repository.registry(), name.repository.path());
            let tag = name.tag.clone().unwrap_or_else(|| "latest".into());
            entry.annotations.insert(annotation::CONTAINERD_NAME.into(), format!("{registry}/{path}:{tag}"));
            entry.annotations.insert(annotation::REF_NAME.into(), tag);
        }
        let remote = Remote { repository, document, cancel: self.cancel.clone() };
        Ok((Kind::Registry(Box::new(remote)), vec![entry]))
    }

    /// An archive that the engine writes into a temporary directory.
    fn exported(
        &self,
        export: fn(&str, &Path, &Environment, &Cancel) -> Result<(), engine::EngineError>,
        name: &str,
        shown: &str,
    ) -> Result<(Kind, Vec<Descriptor>), TransportError> {
        let dir =
            fs::scratch_dir().map_err(|source| TransportError::Io { shown: shown.to_owned(), source })?;
        let path = dir.path().join("image.tar");
        export(name, &path, self.environment, self.cancel)?;
        let (inner, mut entries) = self.at_path(&path, shown)?;
        // podman's archive of a list has no name; an ID is not a name.
        let named = entries.iter().any(|entry| !names_of(entry).is_empty());
        if let ([entry], false, false) = (entries.as_mut_slice(), named, is_id(name))
            && let Some(full) = name.parse::<Reference>().ok().and_then(|reference| reference.name())
        {
            entry.annotations.insert(annotation::CONTAINERD_NAME.into(), full);
        }
        Ok((Kind::Exported { inner: Box::new(inner), _dir: dir }, entries))
    }
}

/// True for an engine's ID of an image, which is not a name: hexadecimal digits, with or without the algorithm.
fn is_id(name: &str) -> bool {
    let digits = name.strip_prefix("sha256:").unwrap_or(name);
    digits.len() >= 12 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn layout(path: &Path, shown: &str) -> Result<(Kind, Vec<Descriptor>), TransportError> {
    if !path.try_exists().map_err(|source| TransportError::Io { shown: shown.to_owned(), source })? {
        return Err(TransportError::Missing(path.display().to_string()));
    }
    let damaged = |source| TransportError::damaged(shown, source);
    let layout = Layout::open(path).map_err(damaged)?;
    let entries = layout.entries().map_err(damaged)?;
    Ok((Kind::Layout(layout), entries))
}

fn oci_archive(
    path: &Path,
    members: TarIndex,
    shown: &str,
) -> Result<(Kind, Vec<Descriptor>), TransportError> {
    const INDEX: &str = "index.json";
    let size = members.size(INDEX).ok_or_else(|| TransportError::NotAnImage {
        shown: shown.to_owned(),
        reason: format!("it has no file `{INDEX}`"),
    })?;
    if size > MANIFEST_LIMIT {
        return Err(TransportError::damaged(shown, ReadError::IndexTooLarge { path: INDEX.into() }));
    }
    let mut bytes = Vec::new();
    if let Some(mut section) = members.read(INDEX) {
        section
            .read_to_end(&mut bytes)
            .map_err(|source| TransportError::Io { shown: shown.to_owned(), source })?;
    }
    let index = parsed(&bytes, INDEX, shown)?;
    let entries = entries_of(&index, INDEX, shown)?;
    Ok((Kind::Archive { path: path.to_owned(), members }, entries))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Digest;

    #[test]
    fn ids_are_no_names() {
        let id = Digest::of(b"an image").to_string();
        for text in [&*id, &id[7..], &id[7..19]] {
            assert!(is_id(text), "{text}");
        }
        for text in ["app:1", "app", "cafe", "sha256:1", "example.com/deadbeefcafe"] {
            assert!(!is_id(text), "{text}");
        }
    }
}
