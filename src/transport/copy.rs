//! Writing an image to where it should go: every document and blob is verified on its way.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::{Item, Location, Opener, Referrer, Selector, Source, TransportError};
use crate::engine::{self, Engine, Loadable};
use crate::layout::{LayoutWriter, Untagged};
use crate::oci::{Descriptor, Digest, Encoded, Reference, annotation};
use crate::output::OutputError;
use crate::output::archive::{self, Archive, Flavour};
use crate::platform::Platform;
use crate::report::Reporter;
use crate::sys::fs;
use crate::sys::staging::Staging;

/// An image that goes somewhere: documents and blobs of one source, or of several with an index of our own.
#[derive(Debug)]
pub struct Image<'a> {
    /// The index or manifest that gets the names.
    pub root: Descriptor,
    /// The root's bytes where it is of no source, but was made here.
    pub document: Option<Encoded>,
    /// What the sources contribute: each with the documents that are wanted of it.
    pub parts: Vec<(&'a Source, Vec<Descriptor>)>,
    /// The names it gets where the destination says none.
    pub names: Vec<String>,
    /// What refers to it and goes along, see [`Image::with_referrers`].
    pub referrers: Vec<Referrer<'a>>,
}

impl<'a> Image<'a> {
    /// A source's image as it is, under its own name.
    #[must_use]
    pub fn whole(source: &'a Source) -> Self {
        let root = source.root().clone();
        let names = own_name(&root).into_iter().collect();
        Self { document: None, parts: vec![(source, vec![root.clone()])], root, names, referrers: Vec::new() }
    }

    /// Some platforms of a source's image: of one its manifest, of several an index of those and their attestations,
    /// which is otherwise the source's own. All that it has is the image as it is.
    pub fn of_platforms(source: &'a Source, platforms: &[Platform]) -> Result<Self, TransportError> {
        let names = own_name(source.root()).into_iter().collect();
        let mut wanted: BTreeSet<Digest> = BTreeSet::new();
        for platform in platforms {
            wanted.insert(source.manifest_for(platform)?.digest);
        }
        if let ([platform, ..], 1) = (platforms, wanted.len()) {
            let root = source.manifest_for(platform)?;
            return Ok(Self {
                document: None,
                parts: vec![(source, vec![root.clone()])],
                root,
                names,
                referrers: Vec::new(),
            });
        }
        let all = source.manifests(source.root())?;
        let kept = |entry: &Descriptor| {
            let about = entry.annotation(annotation::DOCKER_REFERENCE_DIGEST);
            wanted.iter().any(|digest| *digest == entry.digest || about == Some(digest.to_string().as_str()))
        };
        let entries: Vec<Descriptor> =
            all.iter().map(|entry| entry.descriptor.clone()).filter(|entry| kept(entry)).collect();
        if entries.len() == all.len() {
            return Ok(Self::whole(source));
        }
        let mut index = source.json(source.root())?;
        index["manifests"] = json!(entries);
        let document = Encoded::new(&source.root().media_type, &index);
        let root = document.descriptor.clone();
        Ok(Self {
            document: Some(document),
            parts: vec![(source, entries)],
            root,
            names,
            referrers: Vec::new(),
        })
    }

    /// Each platform's manifest.
    fn manifests(&self) -> Result<Vec<(Platform, Descriptor)>, TransportError> {
        let mut manifests = Vec::new();
        for (source, wanted) in &self.parts {
            for root in wanted {
                let entries = source.manifests(root)?.into_iter();
                manifests.extend(entries.filter_map(|entry| Some((entry.platform?, entry.descriptor))));
            }
        }
        Ok(manifests)
    }

    fn shown(&self) -> String {
        self.parts.first().map_or_else(String::new, |(source, _)| source.shown().to_owned())
    }
}

/// The name that an entry of a layout's or archive's index has, as `--tag` takes it.
fn own_name(entry: &Descriptor) -> Option<String> {
    if let Some(name) = entry.annotation(annotation::CONTAINERD_NAME) {
        return Some(name.to_owned());
    }
    let name = as_name(entry.annotation(annotation::REF_NAME)?);
    // Others may have written what is no tag.
    name.parse::<Reference>().is_ok().then_some(name)
}

/// A tag alone, or a whole name, as people write either behind a path.
fn as_name(text: &str) -> String {
    if text.contains(['/', ':']) { text.to_owned() } else { format!(":{text}") }
}

impl Opener<'_> {
    /// Writes an image. A name in the destination wins over the image's own.
    pub fn write(
        &self,
        image: &Image<'_>,
        to: &Location,
        reporter: &dyn Reporter,
    ) -> Result<(), TransportError> {
        let names = match to {
            Location::Layout { selector: Selector::Name(name), .. }
            | Location::OciArchive { selector: Selector::Name(name), .. } => vec![as_name(name)],
            Location::DockerArchive { selector: Selector::Name(name), .. }
            | Location::Podman { name }
            | Location::Docker { name } => vec![name.clone()],
            _ => image.names.clone(),
        };
        match to {
            Location::Layout { path, .. } | Location::Path { path, .. } => {
                let writer = LayoutWriter::open(&absolute(path), self.cancel)?;
                self.fill(image, &writer)?;
                for referrer in &image.referrers {
                    self.fill_from(referrer.source, &referrer.document.descriptor, &writer)?;
                }
                let entry = |referrer: &Referrer<'_>| referrer.document.descriptor.clone();
                let referrers: Vec<Descriptor> = image.referrers.iter().map(entry).collect();
                Ok(writer.commit_with(&image.root, &names, Untagged::Keep, &referrers)?)
            }
            _ if !image.referrers.is_empty() && !matches!(to, Location::Registry { .. }) => {
                Err(TransportError::NoReferrers { destination: to.to_string(), count: image.referrers.len() })
            }
            Location::OciArchive { path, .. } => {
                archive::check(&absolute(path), self.cancel)?;
                let staged = self.staged(image, &absolute(path))?;
                let archive = staged.archive(&image.root, &names, Flavour::Oci);
                Ok(archive.write(&absolute(path), self.cancel)?)
            }
            Location::DockerArchive { path, .. } => {
                archive::check(&absolute(path), self.cancel)?;
                let manifests = image.manifests()?;
                let [(_, manifest)] = manifests.as_slice() else {
                    return Err(TransportError::OnePlatform {
                        shown: image.shown(),
                        destination: "an archive for Docker",
                        available: manifests.iter().map(|(platform, _)| platform.to_string()).collect(),
                    });
                };
                let staged = self.staged(image, &absolute(path))?;
                let archive = staged.archive(&image.root, &names, Flavour::Docker(manifest));
                Ok(archive.write(&absolute(path), self.cancel)?)
            }
            Location::Registry { name } => self.push(image, name, reporter),
            Location::Podman { .. } => self.load(image, Engine::Podman, &names),
            Location::Docker { .. } => self.load(image, Engine::Docker, &names),
        }
    }

    fn load(&self, image: &Image<'_>, engine: Engine, names: &[String]) -> Result<(), TransportError> {
        engine::find(Some(engine), self.environment, self.cancel)?;
        let scratch =
            fs::scratch_dir().map_err(|source| TransportError::Io { shown: image.shown(), source })?;
        let staged = self.staged(image, &scratch.path().join("image"))?;
        let manifests = image.manifests()?;
        let loadable = Loadable { layout: &staged.path, root: &image.root, manifests: &manifests, names };
        engine::load(engine, &loadable, scratch.path(), self.environment, self.cancel)?;
        Ok(())
    }

    /// A layout of the image beside a path, gone with the value.
    fn staged(&self, image: &Image<'_>, beside: &Path) -> Result<Staged, TransportError> {
        let folder = Staging::beside(beside, self.cancel).map_err(OutputError::from)?;
        let path = folder.path().join("layout");
        let writer = LayoutWriter::open(&path, self.cancel)?;
        self.fill(image, &writer)?;
        writer.commit_root(&image.root, &[], Untagged::Keep)?;
        Ok(Staged { path, _folder: folder })
    }

    /// Gives a layout everything that the image leads to.
    fn fill(&self, image: &Image<'_>, writer: &LayoutWriter) -> Result<(), TransportError> {
        for (source, wanted) in &image.parts {
            for root in wanted {
                self.fill_from(source, root, writer)?;
            }
        }
        if let Some(document) = &image.document {
            writer.add_document(document)?;
        }
        Ok(())
    }

    /// Gives a layout everything that a document leads to.
    fn fill_from(
        &self,
        source: &Source,
        root: &Descriptor,
        writer: &LayoutWriter,
    ) -> Result<(), TransportError> {
        for item in source.reachable(root)? {
            self.cancel.check()?;
            match item {
                Item::Document { descriptor, bytes } => writer.add_bytes(&descriptor.digest, &bytes)?,
                Item::Blob(descriptor) => self.add_blob(source, &descriptor, writer)?,
            }
        }
        Ok(())
    }

    /// A blob that has a file of its own is read for its digest, and then shared where the file system can.
    fn add_blob(
        &self,
        source: &Source,
        descriptor: &Descriptor,
        writer: &LayoutWriter,
    ) -> Result<(), TransportError> {
        if writer.has(&descriptor.digest) {
            return Ok(());
        }
        let blob = source.blob(descriptor)?;
        let failed = |source| {
            TransportError::Layout(crate::layout::LayoutError::Io { path: writer.path().to_owned(), source })
        };
        if let Some(file) = source.file(&descriptor.digest) {
            blob.copy(&mut io::sink(), self.cancel, failed)?;
            return Ok(writer.add_file(&descriptor.digest, &file)?);
        }
        let mut file = writer.stage()?;
        blob.copy(&mut file, self.cancel, failed)?;
        Ok(writer.keep(file, &descriptor.digest)?)
    }

    /// Gives an image that is in a layout more names. Nothing else of the layout changes.
    pub fn tag(&self, source: &Source, path: &Path, names: &[String]) -> Result<(), TransportError> {
        // What gets a name is whole.
        for item in source.reachable(source.root())? {
            if let Item::Blob(descriptor) = item {
                let mut start = [0; 1];
                let mut blob = source.blob(&descriptor)?;
                blob.read(&mut start).map_err(|error| blob.explain(error))?;
            }
        }
        let writer = LayoutWriter::open(&absolute(path), self.cancel)?;
        Ok(writer.commit_root(source.root(), names, Untagged::Keep)?)
    }
}

struct Staged {
    path: PathBuf,
    _folder: Staging,
}

impl Staged {
    fn archive<'a>(&'a self, root: &'a Descriptor, names: &'a [String], flavour: Flavour<'a>) -> Archive<'a> {
        Archive { layout: &self.path, root, names, flavour }
    }
}

/// A path without a folder in front is beside the process; `parent` of it would be nothing.
fn absolute(path: &Path) -> PathBuf {
    crate::sys::env::current_dir().map_or_else(|_| path.to_owned(), |folder| folder.join(path))
}
