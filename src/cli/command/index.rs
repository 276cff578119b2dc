//! `xbuild index create`: one index of existing images.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueHint};
use serde_json::Value;

use crate::cli::context::{Context, Failure, Run};
use crate::cli::images::{Images, PLACES, pushed_line};
use crate::cli::options::Limit;
use crate::cli::view::{json_text, print};
use crate::error::{ExitCode, Explain, io_hint};
use crate::oci::Reference;
use crate::output::report::{self, Published};
use crate::settings;
use crate::sys::fs;
use crate::transport::{IndexAnnotations, Location, Selector, Source, TransportError, merge};

/// Make an index of several images
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum IndexCommand {
    /// Merge existing images into one index, such as those of native runners
    Create(CreateOptions),
}

/// `xbuild index create`.
#[derive(Clone, Debug, Args)]
#[command(after_help = PLACES)]
pub(crate) struct CreateOptions {
    /// The images: each of one platform, or an index of several
    #[arg(value_name = "SOURCE", required_unless_present = "file")]
    sources: Vec<String>,
    /// A name of the new index; with --output its name there, otherwise its destination
    #[arg(short, long, value_name = "NAME")]
    tag: Vec<String>,
    /// Where the new index goes [default: where --tag says]
    #[arg(short, long, value_name = "DESTINATION")]
    output: Option<String>,
    /// Read further sources from a file: one per line, a --metadata-file of a build, or descriptors
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: Vec<PathBuf>,
    /// Add to the existing index, and replace its images of the same platforms
    #[arg(long)]
    append: bool,
    /// An annotation of the index, or of the given level: manifest-descriptor[linux/arm64]:KEY=VALUE
    #[arg(long, value_name = "[LEVEL:]KEY=VALUE")]
    annotation: Vec<String>,
    /// Print the index and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Write the index's digests, names and descriptors to a file, as JSON with docker buildx's keys
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    metadata_file: Option<PathBuf>,
    #[command(flatten)]
    limit: Limit,
}

/// Why no index was made.
#[derive(Debug, thiserror::Error)]
enum IndexError {
    /// There is no destination.
    #[error("nothing says where the index goes")]
    NoDestination,
    /// The file of `-f` could not be read.
    #[error("cannot read the sources: {0}")]
    SourceFile(std::io::Error),
    /// The file is JSON, but not metadata.
    #[error("`{}` describes no image: {reason}", path.display())]
    Metadata {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl Explain for IndexError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::NoDestination => ExitCode::Usage,
            Self::SourceFile(error) if error.kind() == std::io::ErrorKind::NotFound => ExitCode::MissingFile,
            Self::SourceFile(error) => ExitCode::of_io(error),
            Self::Metadata { .. } => ExitCode::Config,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NoDestination => {
                Some("name a destination: --output oci:PATH, or --tag registry.example/team/app:1.0".into())
            }
            Self::SourceFile(error) => io_hint(error),
            Self::Metadata { .. } => {
                Some("use a file that `xbuild --metadata-file` or docker buildx wrote".into())
            }
        }
    }
}

impl Run for IndexCommand {
    fn limit(&self) -> Option<(&'static str, Option<&str>)> {
        match self {
            Self::Create(options) => Some(("`xbuild index create`", options.limit.timeout.as_deref())),
        }
    }

    fn run(&self, context: &Context<'_>) -> Result<(), Failure> {
        match self {
            Self::Create(options) => create(context, options),
        }
    }
}

fn create(context: &Context<'_>, options: &CreateOptions) -> Result<(), Failure> {
    if let Some(path) = &options.metadata_file {
        report::check(path, context.cancel)?;
    }
    let annotations = annotations(&options.annotation)?;
    let (destinations, names) = destinations(options)?;
    Images::run(context, &destinations, |images| {
        let mut texts = options.sources.clone();
        let tagged: Vec<Reference> = options.tag.iter().filter_map(|tag| tag.parse().ok()).collect();
        let tagged = tagged.iter().find_map(Reference::repository);
        for file in &options.file {
            texts.extend(sources_of(file, tagged)?);
        }
        let sources: Vec<Source> = texts.iter().map(|text| images.open(text)).collect::<Result<_, _>>()?;
        let base = match (options.append, destinations.first()) {
            (true, Some(destination)) => Some(images.opener().open(&appended(destination, &names))?),
            _ => None,
        };
        let merged = merge(base.as_ref(), &sources, &annotations)?;
        let root = merged.index.descriptor.clone();
        let bytes = merged.index.bytes.clone();
        // Check all before the first is written.
        for destination in &destinations {
            destination.check_digest(&root.digest)?;
        }
        if options.dry_run {
            context.view.finish();
            return Ok(print(&format!("{}\n", String::from_utf8_lossy(&bytes)))?);
        }
        let platforms = merged.platforms(context.cancel)?;
        let image = merged.image(names.clone());
        for destination in &destinations {
            images.opener().write(&image, destination, context.view.reporter())?;
        }
        if let Some(path) = &options.metadata_file {
            let published =
                Published { root: root.clone(), platforms, names, untagged: Vec::new(), loaded: None };
            report::write(path, &json_text(&published.metadata()), context.cancel)?;
        }
        context.view.finish();
        let lines = destinations.iter().map(|to| pushed_line(to, &root));
        Ok(print(&lines.collect::<String>())?)
    })
}

/// The destinations of a new index, and its names there.
fn destinations(options: &CreateOptions) -> Result<(Vec<Location>, Vec<String>), Failure> {
    if let Some(output) = &options.output {
        let location = Location::parse_destination(output).map_err(TransportError::from)?;
        for name in &options.tag {
            name.parse::<Reference>().map_err(|error| TransportError::Layout(error.into()))?;
        }
        return Ok((vec![location], options.tag.clone()));
    }
    if options.tag.is_empty() && !options.dry_run {
        return Err(IndexError::NoDestination.into());
    }
    let places = options.tag.iter().map(|tag| Location::parse_destination(tag)).collect::<Result<_, _>>();
    Ok((places.map_err(TransportError::from)?, Vec::new()))
}

/// The existing index to add to: the one of the destination's own name, otherwise of the first name that it gets.
fn appended(destination: &Location, names: &[String]) -> Location {
    let mut location = destination.clone();
    if let Location::Layout { selector, .. } | Location::OciArchive { selector, .. } = &mut location
        && *selector == Selector::Only
        && let Some(name) = names.first()
    {
        *selector = Selector::Name(name.trim_start_matches(':').to_owned());
    }
    location
}

/// Reads the references in a file: one per line; or, in JSON, the images of a `--metadata-file` (ours, docker buildx's
/// or its bake's), or descriptors as `docker buildx imagetools` accepts them. A descriptor without a repository is in
/// `tagged`, the repository of the new index.
fn sources_of(file: &Path, tagged: Option<&str>) -> Result<Vec<String>, IndexError> {
    let text = fs::read_stream_to_string(file).map_err(IndexError::SourceFile)?;
    if !text.trim_start().starts_with(['{', '[']) {
        let lines = text.lines().map(str::trim);
        return Ok(lines
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(str::to_owned)
            .collect());
    }
    let wrong = |reason: &str| IndexError::Metadata { path: file.to_owned(), reason: reason.to_owned() };
    let document: Value = serde_json::from_str(&text).map_err(|error| wrong(&error.to_string()))?;
    let tells = |value: &Value| value["containerimage.digest"].is_string() || value["digest"].is_string();
    let told: Vec<&Value> = match &document {
        Value::Array(list) => list.iter().collect(),
        // One metadata object per target.
        Value::Object(targets) if !tells(&document) => {
            targets.values().filter(|value| tells(value)).collect()
        }
        one => vec![one],
    };
    if told.is_empty() {
        return Err(wrong("it has no string `containerimage.digest`"));
    }
    let source = |value: &Value| {
        let digest = value["containerimage.digest"].as_str().or_else(|| value["digest"].as_str());
        let digest = digest.ok_or_else(|| wrong("one of its entries has no digest"))?;
        let name = value["image.name"].as_str().and_then(|names| names.split(',').next());
        let reference: Option<Reference> = name.and_then(|name| name.parse().ok());
        let repository = reference.as_ref().and_then(Reference::repository).or(tagged);
        let repository = repository.ok_or_else(|| wrong("it has no image name in `image.name`"))?;
        Ok(format!("docker://{repository}@{digest}"))
    };
    told.into_iter().map(source).collect()
}

/// Parses `--annotation` of an index. Without a level it is for the index; manifests cannot be annotated any more.
fn annotations(texts: &[String]) -> Result<IndexAnnotations, Failure> {
    Ok(settings::index_annotations(texts)?)
}
