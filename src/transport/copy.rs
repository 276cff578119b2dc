//! Writing an image to a destination. Every document and blob is verified while it is copied.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::{Blob, Item, Location, Opener, Referrer, Selector, Source, TransportError};
use crate::event::Reporter;
use crate::layout::{LayoutWriter, Untagged};
use crate::oci::{Descriptor, Encoded, Reference, annotation};
use crate::output::OutputError;
use crate::output::archive::{self, Archive, Flavour};
use crate::output::engine::{self, Engine, Loadable};
use crate::sys::fs;
use crate::sys::staging::Staging;
use crate::target::platform::Platform;

/// An image to be written: documents and blobs of one source, or of several with an index of our own.
#[derive(Debug)]
pub struct Image<'a> {
    /// The index or manifest that gets the names.
    pub root: Descriptor,
    /// The root's bytes, if the root was made here and is in no source.
    pub document: Option<Encoded>,
    /// What the sources contribute: each with the documents that are wanted from it.
    pub parts: Vec<(&'a Source, Vec<Descriptor>)>,
    /// The names it gets if the destination has none.
    pub names: Vec<String>,
    /// The referrers that are written with it, see [`Image::with_referrers`].
    pub referrers: Vec<Referrer<'a>>,
}

impl<'a> Image<'a> {
    /// A source's whole image, under its own names.
    #[must_use]
    pub fn whole(source: &'a Source) -> Self {
        Self::of_root(source, source.root().clone())
    }

    /// One document of a source.
    fn of_root(source: &'a Source, mut root: Descriptor) -> Self {
        let parts = vec![(source, vec![root.clone()])];
        root.forget_entry();
        Self { root, document: None, parts, names: own_names(source), referrers: Vec::new() }
    }

    /// Some platforms of a source's image. For one platform this is its manifest; for several it is an index of those
    /// and their attestations, otherwise the same as the source's own. If all platforms are chosen, the image is
    /// unchanged. If several images are for one platform and differ only in the version of their system, all of them
    /// are included.
    ///
    /// # Errors
    ///
    /// If the image does not have one of the platforms, or if a document of it cannot be read.
    pub fn of_platforms(source: &'a Source, platforms: &[Platform]) -> Result<Self, TransportError> {
        let all = source.manifests(source.root())?;
        let offered: Vec<(&Platform, &Descriptor)> =
            all.iter().filter_map(|entry| Some((entry.platform.as_ref()?, &entry.descriptor))).collect();
        let mut wanted: Vec<&Descriptor> = Vec::new();
        for platform in platforms {
            let found = platform.every(offered.iter().map(|(platform, _)| *platform));
            if found.is_empty() {
                return Err(TransportError::NoPlatform {
                    shown: source.shown().to_owned(),
                    wanted: platform.clone(),
                    available: offered.iter().map(|(platform, _)| platform.to_string()).collect(),
                });
            }
            wanted.extend(found.into_iter().map(|at| offered[at].1));
        }
        if let [root, rest @ ..] = wanted.as_slice()
            && rest.iter().all(|other| other.digest == root.digest)
        {
            return Ok(Self::of_root(source, (*root).clone()));
        }
        // If one manifest is listed for several platforms, only the entries differ.
        let kept = |entry: &Descriptor| {
            let about = entry.annotation(annotation::DOCKER_REFERENCE_DIGEST);
            wanted.contains(&entry)
                || wanted.iter().any(|wanted| about == Some(wanted.digest.to_string().as_str()))
        };
        let entries: Vec<Descriptor> =
            all.iter().map(|entry| entry.descriptor.clone()).filter(|entry| kept(entry)).collect();
        if entries.len() == all.len() {
            return Ok(Self::whole(source));
        }
        let mut index = source.json(source.root())?;
        index["manifests"] = json!(entries);
        let document = Encoded::new(&source.root().media_type, &index);
        let (root, names) = (document.descriptor.clone(), own_names(source));
        Ok(Self {
            document: Some(document),
            parts: vec![(source, entries)],
            root,
            names,
            referrers: Vec::new(),
        })
    }

    /// Checks that all layers are in the sources, for a destination that needs every layer.
    fn check_layers(&self, destination: &'static str) -> Result<(), TransportError> {
        for (source, wanted) in &self.parts {
            for root in wanted {
                for entry in source.manifests(root)?.into_iter().filter(|entry| entry.platform.is_some()) {
                    let manifest = source.json(&entry.descriptor)?;
                    let layers: Vec<Descriptor> =
                        serde_json::from_value(manifest["layers"].clone()).unwrap_or_default();
                    for layer in layers {
                        if source.lies_elsewhere(&layer)? {
                            let url = layer.urls().next().unwrap_or_default().to_owned();
                            let (shown, layer) = (self.shown(), layer.digest);
                            return Err(TransportError::LayerElsewhere { shown, destination, layer, url });
                        }
                    }
                }
            }
        }
        Ok(())
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

/// The names that an image has in its source, in the form of `--tag`.
fn own_names(source: &Source) -> Vec<String> {
    let mut names = Vec::new();
    for name in source.named().iter().filter_map(own_name) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// The name of an entry. Other programs may have written invalid names.
fn own_name(entry: &Descriptor) -> Option<String> {
    let whole = entry.annotation(annotation::CONTAINERD_NAME).map(ToOwned::to_owned);
    let tag = entry.annotation(annotation::REF_NAME).map(as_name);
    whole.into_iter().chain(tag).find(|name| name.parse::<Reference>().is_ok())
}

/// A tag or a full name, in the form that may follow a path.
fn as_name(text: &str) -> String {
    if text.contains(['/', ':']) { text.to_owned() } else { format!(":{text}") }
}

impl Opener<'_> {
    /// Writes an image. A name in the destination replaces the image's own.
    ///
    /// # Errors
    ///
    /// If a blob cannot be read or does not match its descriptor, if the destination cannot be written, cannot hold
    /// such an image or names the digest of another one, or if the work is cancelled.
    pub fn write(
        &self,
        image: &Image<'_>,
        to: &Location,
        reporter: &dyn Reporter,
    ) -> Result<(), TransportError> {
        to.check_digest(&image.root.digest)?;
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
                let mut root = image.root.clone();
                if !image.referrers.is_empty() {
                    for referrer in &image.referrers {
                        self.fill_from(referrer.source, &referrer.document.descriptor, &writer)?;
                    }
                    if let Some(list) = image.list_of_referrers(self.referrers_at(path, &root)?) {
                        writer.add_document(&list)?;
                        root.annotations.insert(annotation::REFERRERS.into(), list.digest().to_string());
                    }
                }
                Ok(writer.commit_root(&root, &names, Untagged::Keep)?)
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
                image.check_layers("an archive for Docker")?;
                let staged = self.staged(image, &absolute(path))?;
                let archive = staged.archive(&image.root, &names, Flavour::Docker(manifest));
                Ok(archive.write(&absolute(path), self.cancel)?)
            }
            Location::Registry { name } => self.push(image, name, reporter),
            Location::Podman { .. } => self.load(image, Engine::Podman, &names),
            Location::Docker { .. } => self.load(image, Engine::Docker, &names),
        }
    }

    /// The referrers of an image that a layout has already. If they cannot be read, that is an error, since they would
    /// be lost.
    fn referrers_at(&self, path: &Path, root: &Descriptor) -> Result<Vec<Descriptor>, TransportError> {
        let location = Location::Layout { path: path.to_owned(), selector: Selector::Only };
        let shown = location.to_string();
        let marker = fs::unless_missing(fs::metadata(path.join("oci-layout")));
        if marker.map_err(|source| TransportError::Io { shown: shown.clone(), source })?.is_none() {
            return Ok(Vec::new());
        }
        let (kind, entries, _) = self.store(&location)?;
        let source = Source::of_all(shown, kind, &entries, self.cancel);
        let mut known = Vec::new();
        for entry in entries.iter().filter(|entry| entry.digest == root.digest) {
            known.extend(source.list_at(entry)?);
        }
        Ok(known)
    }

    fn load(&self, image: &Image<'_>, engine: Engine, names: &[String]) -> Result<(), TransportError> {
        engine::find(Some(engine), self.environment, self.cancel)?;
        let scratch =
            fs::scratch_dir().map_err(|source| TransportError::Io { shown: image.shown(), source })?;
        let staged = self.staged(image, &scratch.path().join("image"))?;
        image.check_layers("an engine")?;
        let manifests = image.manifests()?;
        let loadable = Loadable { layout: &staged.path, root: &image.root, manifests: &manifests, names };
        engine::load(engine, &loadable, scratch.path(), self.environment, self.cancel)?;
        Ok(())
    }

    /// A layout of the image beside a path, removed on drop.
    fn staged(&self, image: &Image<'_>, beside: &Path) -> Result<Staged, TransportError> {
        let dir = Staging::beside(beside, self.cancel).map_err(OutputError::from)?;
        let path = dir.path().join("layout");
        let writer = LayoutWriter::open(&path, self.cancel)?;
        self.fill(image, &writer)?;
        writer.commit_root(&image.root, &[], Untagged::Keep)?;
        Ok(Staged { path, _dir: dir })
    }

    /// Adds everything that is reachable from the image to a layout.
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

    /// Adds everything that is reachable from a document to a layout.
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
                Item::Blob(descriptor) => self.add_blob(source, &descriptor, Source::blob, writer)?,
                Item::Entry(descriptor) => self.add_blob(source, &descriptor, Source::entry, writer)?,
            }
        }
        Ok(())
    }

    /// Adds our own verified copy of a blob. If the blob has a file of its own and the file system supports it, the
    /// copy shares the file's blocks. It is never a link to the file, which somebody may write to later.
    fn add_blob(
        &self,
        source: &Source,
        descriptor: &Descriptor,
        read: fn(&Source, &Descriptor) -> Result<Blob, TransportError>,
        writer: &LayoutWriter,
    ) -> Result<(), TransportError> {
        if writer.has(&descriptor.digest) {
            return Ok(());
        }
        if let Some(file) = source.file(&descriptor.digest)
            && writer.add_clone(descriptor, &file, self.cancel)?
        {
            return Ok(());
        }
        let blob = read(source, descriptor)?;
        let failed = |source| {
            TransportError::Layout(crate::layout::LayoutError::Io { path: writer.path().to_owned(), source })
        };
        let mut file = writer.stage()?;
        blob.copy(&mut file, self.cancel, failed)?;
        Ok(writer.keep(file, &descriptor.digest)?)
    }

    /// Gives an image in a layout additional names. Nothing else in the layout changes.
    ///
    /// # Errors
    ///
    /// If a name is invalid, or if the layout cannot be read or written.
    pub fn tag(&self, source: &Source, path: &Path, names: &[String]) -> Result<(), TransportError> {
        // Only a complete image gets a name.
        for item in source.reachable(source.root())? {
            if let Item::Blob(descriptor) | Item::Entry(descriptor) = item {
                let mut start = [0; 1];
                let mut blob = source.entry(&descriptor)?;
                fs::read_piece(&mut blob, &mut start).map_err(|error| blob.explain(error))?;
            }
        }
        let writer = LayoutWriter::open(&absolute(path), self.cancel)?;
        if let Some(made) = source.made() {
            writer.add_document(made)?;
        }
        Ok(writer.commit_root(source.root(), names, Untagged::Keep)?)
    }
}

struct Staged {
    path: PathBuf,
    _dir: Staging,
}

impl Staged {
    fn archive<'a>(&'a self, root: &'a Descriptor, names: &'a [String], flavour: Flavour<'a>) -> Archive<'a> {
        Archive { layout: &self.path, root, names, flavour }
    }
}

/// Makes a path absolute. A path without a directory is in the current directory, but its `parent` would be empty.
fn absolute(path: &Path) -> PathBuf {
    crate::sys::env::current_dir().map_or_else(|_| path.to_owned(), |dir| dir.join(path))
}
