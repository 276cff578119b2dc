//! The commands about existing images: copy, inspect, list and name them.

use std::path::Path;

use clap::{Args, ValueHint};
use serde::Serialize;

use super::arguments::Limit;
use super::commands::{Context, json_text};
use super::view::{print, print_bytes};
use super::{CliError, Failure, tree};
use crate::event::{Event, Level};
use crate::layout::choose::names_of;
use crate::oci::name::ImageName;
use crate::oci::{Descriptor, Reference};
use crate::registry::{self};
use crate::sys::fs;
use crate::target::platform::Platform;
use crate::text::counted;
use crate::transport::{
    Image, Location, LocationError, Opener, Selector, Source, TransportError, inspect, summary,
};

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

/// `xbuild copy`.
#[derive(Clone, Debug, Args)]
#[command(after_help = PLACES)]
pub(super) struct CopyOptions {
    /// The image
    source: String,
    /// Where it goes
    destination: String,
    /// Only these platforms, separated by commas [default: all]
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',')]
    platform: Vec<Platform>,
    /// Also copy what refers to the image: signatures, SBOMs and other manifests with a `subject`
    #[arg(long)]
    referrers: bool,
    #[command(flatten)]
    pub(super) limit: Limit,
}

/// `xbuild push`.
#[derive(Clone, Debug, Args)]
#[command(after_help = PLACES)]
pub(super) struct PushOptions {
    /// The image, in a layout, an archive or an engine
    image: String,
    /// Where it goes: registry/repository:tag [default: the image's own names]
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Only these platforms, separated by commas [default: all]
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',')]
    platform: Vec<Platform>,
    #[command(flatten)]
    pub(super) limit: Limit,
}

/// `xbuild pull`.
#[derive(Clone, Debug, Args)]
#[command(after_help = PLACES)]
pub(super) struct PullOptions {
    /// The image's name: registry/repository:tag or …@sha256:digest
    name: String,
    /// Where it goes [default: a layout named after the repository's last part]
    #[arg(short, long, value_name = "DESTINATION")]
    output: Option<String>,
    /// Only these platforms, separated by commas [default: all]
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',')]
    platform: Vec<Platform>,
    #[command(flatten)]
    pub(super) limit: Limit,
}

/// `xbuild inspect`.
#[derive(Clone, Debug, Args)]
#[command(after_help = PLACES)]
pub(super) struct InspectOptions {
    /// The image
    image: String,
    /// Print JSON
    #[arg(long, conflicts_with = "raw")]
    json: bool,
    /// Print the index or manifest byte for byte
    #[arg(long)]
    raw: bool,
    /// Only this platform
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Platform>,
    #[command(flatten)]
    pub(super) limit: Limit,
}

/// `xbuild ls`.
#[derive(Clone, Debug, Args)]
pub(super) struct ListImages {
    /// A layout, an archive, or a repository for all its tags [default: every layout in target/xbuild]
    #[arg(value_hint = ValueHint::AnyPath)]
    image: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(super) limit: Limit,
}

/// `xbuild tag`.
#[derive(Clone, Debug, Args)]
pub(super) struct TagOptions {
    /// An image in a layout or a registry: PATH[:TAG], PATH@DIGEST, registry/repository:tag
    image: String,
    /// Names to add: registry/repository:tag, or just :tag; in a registry, of the same repository
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    pub(super) limit: Limit,
}

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
    fn with_tags(&self, locations: Vec<Location>) -> Result<Vec<Location>, TransportError> {
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
    fn locate(&self, text: &str) -> Result<Location, TransportError> {
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
    fn write(
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

/// `xbuild copy`.
pub(super) fn copy(context: &Context<'_>, options: &CopyOptions) -> Result<(), Failure> {
    let destination = Location::parse_destination(&options.destination).map_err(TransportError::from)?;
    Images::run(context, std::slice::from_ref(&destination), |images| {
        let source = images.open(&options.source)?;
        images.write(&source, &options.platform, options.referrers, std::slice::from_ref(&destination))
    })
}

/// `xbuild push`.
pub(super) fn push(context: &Context<'_>, options: &PushOptions) -> Result<(), Failure> {
    let remote = |text: &str| -> Result<Location, TransportError> {
        let name = text.strip_prefix("docker://").unwrap_or(text);
        let name: ImageName = name.parse().map_err(LocationError::Name)?;
        Ok(Location::Registry { name })
    };
    // Before anything is opened, so that a typo in a name is reported at once.
    let mut destinations: Vec<Location> =
        options.names.iter().map(|name| remote(name)).collect::<Result<_, _>>()?;
    // Names from the image itself were not named by the user.
    Images::run(context, &destinations.clone(), |images| {
        let source = images.open(&options.image)?;
        if destinations.is_empty() {
            let own = source.names().into_iter().filter(|name| name.contains('/'));
            destinations = own.map(|name| remote(&name)).collect::<Result<_, _>>()?;
        }
        if destinations.is_empty() {
            return Err(CliError::NoName { given: options.image.clone() }.into());
        }
        images.write(&source, &options.platform, false, &destinations)
    })
}

/// The line with a reference by digest that `docker run` accepts.
pub(super) fn pushed_line(location: &Location, root: &Descriptor) -> String {
    match location {
        Location::Registry { name } => format!("{}@{}\n", name.repository, root.digest),
        other => format!("{}@{}\n", other.place(), root.digest),
    }
}

/// `xbuild pull`.
pub(super) fn pull(context: &Context<'_>, options: &PullOptions) -> Result<(), Failure> {
    Images::run(context, [], |images| {
        let name = options.name.strip_prefix("docker://").unwrap_or(&options.name);
        let name: ImageName =
            name.parse().map_err(|error| TransportError::from(LocationError::Name(error)))?;
        let destination = if let Some(output) = &options.output {
            Location::parse_destination(output).map_err(TransportError::from)?
        } else {
            let last = name.repository.path().rsplit('/').next().unwrap_or("image");
            Location::Layout { path: last.into(), selector: Selector::Only }
        };
        let source = images.opener().open(&Location::Registry { name })?;
        images.write(&source, &options.platform, false, &[destination])
    })
}

/// `xbuild inspect`.
pub(super) fn inspect_image(context: &Context<'_>, options: &InspectOptions) -> Result<(), Failure> {
    Images::run(context, [], |images| {
        let mut source = images.open(&options.image)?;
        if let Some(platform) = &options.platform {
            let manifest = source.manifest_for(platform)?;
            source.narrow(manifest);
        }
        if options.raw {
            let bytes = source.document(source.root())?;
            context.view.finish();
            return Ok(print_bytes(&bytes)?);
        }
        let found = inspect(&source, context.cancel)?;
        context.view.finish();
        Ok(print(&if options.json { json_text(&found) } else { tree::text(&found) })?)
    })
}

/// A row of `xbuild ls`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    /// The path of the layout or archive.
    image: String,
    /// The image's names there.
    names: Vec<String>,
    digest: String,
    platforms: Vec<String>,
    /// The bytes of all documents and blobs, each counted once.
    total_size: u64,
}

/// `xbuild ls`.
pub(super) fn list(context: &Context<'_>, options: &ListImages) -> Result<(), Failure> {
    Images::run(context, [], |images| {
        let locations = match &options.image {
            Some(text) => vec![images.locate(text)?],
            None => default_layouts()?,
        };
        let locations = images.with_tags(locations)?;
        let mut rows: Vec<Row> = Vec::new();
        for location in locations {
            images.opener().each(&location, &mut |source| {
                let (platforms, total_size) = summary(source, context.cancel)?;
                let mut names = Vec::new();
                // If there are both a full name and its tag, the full name.
                for name in source.named().iter().filter_map(|entry| names_of(entry).into_iter().next()) {
                    if !names.contains(&name) {
                        names.push(name);
                    }
                }
                rows.push(Row {
                    image: location.place().to_string(),
                    names,
                    digest: source.root().digest.to_string(),
                    platforms: platforms.iter().map(ToString::to_string).collect(),
                    total_size,
                });
                Ok(())
            })?;
        }
        rows.sort_by(|a, b| (&a.image, &a.names).cmp(&(&b.image, &b.names)));
        context.view.finish();
        Ok(print(&if options.json { json_text(&rows) } else { table(&rows) })?)
    })
}

/// The layouts that builds in this directory have written.
fn default_layouts() -> Result<Vec<Location>, TransportError> {
    let dir = Path::new("target/xbuild");
    let nothing = || LocationError::Nothing(dir.display().to_string());
    let io = |source| TransportError::Io { shown: dir.display().to_string(), source };
    let entries = fs::unless_missing(fs::read_dir(dir)).map_err(io)?.ok_or_else(nothing)?;
    let mut layouts = Vec::new();
    for entry in entries {
        let path = entry.map_err(io)?.path();
        if path.join("oci-layout").is_file() {
            layouts.push(Location::Layout { path, selector: Selector::Only });
        }
    }
    layouts.sort();
    if layouts.is_empty() { Err(nothing().into()) } else { Ok(layouts) }
}

fn table(rows: &[Row]) -> String {
    let mut lines = vec![["IMAGE", "NAMES", "DIGEST", "PLATFORMS", "SIZE"].map(str::to_owned)];
    lines.extend(rows.iter().map(|row| {
        [
            row.image.clone(),
            if row.names.is_empty() { "-".into() } else { row.names.join(", ") },
            row.digest.chars().take(19).collect(),
            row.platforms.join(", "),
            crate::text::size(row.total_size),
        ]
    }));
    tree::columns(&lines)
}

/// `xbuild tag`.
pub(super) fn tag(context: &Context<'_>, options: &TagOptions) -> Result<(), Failure> {
    let named = Location::parse(&options.image, &Path::exists).map_err(TransportError::from)?;
    Images::run(context, [&named], |images| {
        let references = options.names.iter().map(|name| name.parse::<Reference>());
        let references: Vec<Reference> =
            references.collect::<Result<_, _>>().map_err(|error| TransportError::Layout(error.into()))?;
        let location = images.locate(&options.image)?;
        let digest = match (&location, location.path()) {
            (Location::Registry { name }, _) => {
                let tags = tags_in(name, &references)?;
                images.opener().tag_in_registry(name, &tags, context.view.reporter())?
            }
            (Location::Layout { .. } | Location::Path { .. }, Some(path)) if path.is_dir() => {
                let source = images.opener().open(&location)?;
                images.opener().tag(&source, path, &options.names)?;
                source.root().digest.clone()
            }
            _ => return Err(CliError::TagElsewhere { given: options.image.clone() }.into()),
        };
        context.view.finish();
        let line = match &location {
            Location::Registry { name } => format!("{}@{digest}\n", name.repository),
            other => format!("{}@{digest}\n", other.place()),
        };
        Ok(print(&line)?)
    })
}

/// The tags of names that must be in the image's repository. Another repository would need the image's content, not
/// just a name.
fn tags_in(image: &ImageName, names: &[Reference]) -> Result<Vec<String>, CliError> {
    let own = image.repository.to_string();
    let tag = |name: &Reference| match name.repository() {
        Some(other) if other != own => {
            Err(CliError::TagAcross { image: image.to_string(), name: name.to_string() })
        }
        _ => Ok(name.tag().to_owned()),
    };
    names.iter().map(tag).collect()
}
