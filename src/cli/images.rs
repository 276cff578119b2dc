//! What the commands about existing images share: how images are named, opened and copied.

use std::path::Path;

use super::context::{Context, Failure};
use super::view::print;
use crate::event::{Event, Level};
use crate::oci::Descriptor;
use crate::oci::name::ImageName;
use crate::registry::{self};
use crate::target::platform::Platform;
use crate::text::counted;
use crate::transport::{Image, Location, Opener, Source, TransportError};

/// The registry of names without one.
const DOCKER_HUB: &str = "docker.io";

/// How to name an image, for every command's help.
pub(super) const PLACES: &str = "\
Images are named as in skopeo and podman:
  oci:PATH[:TAG]            an OCI image layout, a directory
  oci-archive:FILE[:TAG]    a layout in a tar file
  docker-archive:FILE       what `docker save` writes
  podman:NAME               podman's storage (also containers-storage:NAME)
  docker-daemon:NAME        Docker's storage
  docker://NAME             a registry
  PATH[:TAG]                a layout, or an archive of either kind; if no such path exists, a registry's image
A digest works in place of a tag: oci:PATH@sha256:…";

/// What these commands open images with.
pub(super) struct Images<'a> {
    context: &'a Context<'a>,
    registry: registry::Client,
}

impl<'a> Images<'a> {
    /// Makes it with the destinations that the user has named. Credentials that name no registry are for these.
    fn new<'l>(
        context: &'a Context<'a>,
        named: impl IntoIterator<Item = &'l Location>,
    ) -> Result<Self, Failure> {
        let registry = |location: &Location| match location {
            Location::Registry { name } => Some(name.repository.registry().to_owned()),
            _ => None,
        };
        let named = named.into_iter().filter_map(registry).collect();
        let machine = context.machine(false)?;
        let config = registry::Config {
            offline: machine.offline,
            registries: machine.registries,
            named: Some(named),
            ..registry::Config::default()
        };
        Ok(Self { context, registry: registry::Client::new(config, context.environment) })
    }

    /// Runs a command, and meanwhile reports the registries' notes.
    pub(super) fn run<'l>(
        context: &'a Context<'a>,
        named: impl IntoIterator<Item = &'l Location>,
        work: impl FnOnce(&Self) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let images = Self::new(context, named)?;
        images.registry.telling(context.view.reporter(), || work(&images))
    }

    pub(super) fn opener(&self) -> Opener<'_> {
        Opener {
            environment: self.context.environment,
            registry: &self.registry,
            cancel: self.context.cancel,
        }
    }

    /// Replaces a repository without a tag by all its tags.
    pub(super) fn with_tags(&self, locations: Vec<Location>) -> Result<Vec<Location>, TransportError> {
        let mut found = Vec::new();
        for location in locations {
            match location {
                Location::Registry { name } if name.tag.is_none() && name.digest.is_none() => {
                    let repository = self.registry.repository(&name.repository, registry::Access::Pull);
                    for tag in repository.tags(self.context.cancel)? {
                        let name = ImageName { tag: Some(tag), ..name.clone() };
                        found.push(Location::Registry { name });
                    }
                }
                other => found.push(other),
            }
        }
        Ok(found)
    }

    /// The location that a text means. If the text is taken for a name without a registry, the full name is reported,
    /// since a path may have been meant.
    pub(super) fn locate(&self, text: &str) -> Result<Location, TransportError> {
        let location = Location::parse(text, &Path::exists)?;
        if let Location::Registry { name } = &location
            && name.repository.registry() == DOCKER_HUB
            && !text.contains(DOCKER_HUB)
            && !text.starts_with("docker:")
        {
            let text = format!("there is no file or directory `{text}`, so it is taken for the image {name}");
            self.note(Level::Info, text);
        }
        Ok(location)
    }

    /// Opens the image that a text means.
    pub(super) fn open(&self, text: &str) -> Result<Source, TransportError> {
        let source = self.opener().open(&self.locate(text)?)?;
        if let Some(remark) = source.remark() {
            let text = format!("{}: {remark}", source.shown());
            self.note(Level::Info, text);
        }
        Ok(source)
    }

    fn note(&self, level: Level, text: String) {
        self.context.view.reporter().report(Event::Note { level, platform: None, text });
    }

    /// Copies an image, or some platforms of it, and prints its reference at each destination.
    pub(super) fn write(
        &self,
        source: &Source,
        platforms: &[Platform],
        referrers: bool,
        destinations: &[Location],
    ) -> Result<(), Failure> {
        let mut image = match platforms {
            [] => Image::whole(source),
            platforms => Image::of_platforms(source, platforms)?,
        };
        if referrers {
            image = image.with_referrers()?;
            let goes = if image.referrers.len() == 1 { "goes" } else { "go" };
            self.note(Level::Info, format!("{} {goes} along", counted(image.referrers.len(), "referrer")));
        }
        // Check all before the first is written.
        for destination in destinations {
            destination.check_digest(&image.root.digest)?;
        }
        // podman is given one platform at a time.
        let as_it_is = |to: &Location| !matches!(to, Location::Podman { .. } | Location::Docker { .. });
        if image.root.digest == source.root().digest
            && destinations.iter().any(as_it_is)
            && source.has_nested_index()?
        {
            let text = format!(
                "{} has an index inside its index, which podman and skopeo neither load nor copy; `xbuild index create \
                 {} -o DESTINATION` makes one index of all its platforms",
                source.shown(),
                source.shown()
            );
            self.note(Level::Warning, text);
        }
        for destination in destinations {
            self.opener().write(&image, destination, self.context.view.reporter())?;
        }
        self.context.view.finish();
        let lines = destinations.iter().map(|to| pushed_line(to, &image.root));
        Ok(print(&lines.collect::<String>())?)
    }
}

/// The line with a reference by digest that `docker run` accepts.
pub(super) fn pushed_line(location: &Location, root: &Descriptor) -> String {
    match location {
        Location::Registry { name } => format!("{}@{}\n", name.repository, root.digest),
        other => format!("{}@{}\n", other.place(), root.digest),
    }
}
