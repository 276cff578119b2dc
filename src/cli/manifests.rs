//! What `xbuild resolve` and `apply` share: they replace `xbuild://PATH` in Kubernetes manifests by the image that was
//! just pushed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueHint};

use super::context::{Context, Failure};
use super::options::BuildOptions;
use crate::error::{ExitCode, Explain};
use crate::event::{Event, Level};
use crate::kubernetes::{self, Left, Manifest};
use crate::oci::Reference;
use crate::pipeline;
use crate::sys::cancel::Cancel;
use crate::sys::fs;
use crate::sys::process::{Command, ProcessError};

/// The time limit of kubectl.
pub(super) const KUBECTL: Duration = Duration::from_secs(10 * 60);
/// The extensions of manifest files.
const EXTENSIONS: &[&str] = &["yaml", "yml", "json"];

/// The manifests, and the options of the builds.
#[derive(Clone, Debug, Args)]
#[command(mut_arg("path", |path| path.hide(true)))]
pub(super) struct ManifestOptions {
    /// A manifest, a directory of manifests, or `-` for standard input; repeatable, or separated by commas
    #[arg(short, long = "filename", value_name = "FILE", required_unless_present = "kustomize", value_delimiter = ',', value_hint = ValueHint::AnyPath)]
    filenames: Vec<PathBuf>,
    /// A directory with a kustomization.yaml, which kubectl builds; repeatable
    #[arg(short, long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    kustomize: Vec<PathBuf>,
    /// Also read subdirectories
    #[arg(short = 'R', long)]
    recursive: bool,
    /// Where to push images: each to REPOSITORY/<name of the project's directory>
    ///
    /// Tags are then those of --tag, as `-t v1`, or `latest`. Without it, each project's own tags are used.
    #[arg(long, value_name = "REPOSITORY")]
    repository: Option<String>,
    /// Allow references that point outside the current directory: by `..`, from the root, or through links
    #[arg(long)]
    allow_outside: bool,
    #[command(flatten)]
    build: BuildOptions,
}

/// Why manifests could not be resolved.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ManifestError {
    /// A file could not be read.
    #[error("cannot read `{shown}`: {source}")]
    Read {
        /// The file.
        shown: String,
        /// Why.
        source: std::io::Error,
    },
    /// A directory has nothing that looks like a manifest.
    #[error("`{}` has no file that ends in .yaml, .yml or .json", .0.display())]
    NoManifests(PathBuf),
    /// A path without `-f`.
    #[error("`{}` is not a manifest that -f names", .0.display())]
    Path(PathBuf),
    /// No repository is known for a project's image.
    #[error("nothing says where the image of `{path}` is pushed")]
    NoRepository {
        /// The project.
        path: String,
    },
    /// A text that is not YAML.
    #[error("{shown}: {source}")]
    Syntax {
        /// The file.
        shown: String,
        /// Where and why.
        source: kubernetes::Syntax,
    },
    /// References that are only a part of a value.
    #[error("{} no image, for it is only a part of a value: {}", if places.len() == 1 { "a reference becomes" } else { "some references become" }, places.join(", "))]
    Left {
        /// Each as `FILE:LINE` with the word there.
        places: Vec<String>,
    },
    /// A reference to a project outside the current directory.
    #[error("`{}{path}` leads out of the current directory, to `{}`", kubernetes::PREFIX, leads_to.display())]
    Outside {
        /// The path as written in the manifest.
        path: String,
        /// The path that it resolves to.
        leads_to: PathBuf,
    },
    /// kubectl is missing, or could not build a kustomization.
    #[error("kubectl has not built the kustomization `{}`: {source}", path.display())]
    Kustomize {
        /// Its directory.
        path: PathBuf,
        /// Why.
        source: ProcessError,
    },
    /// kubectl is missing, or failed.
    #[error("kubectl has not applied the manifests: {0}")]
    Kubectl(#[source] ProcessError),
    /// The manifests for kubectl could not be written.
    #[error("cannot pass the manifests to kubectl: {0}")]
    Io(#[source] std::io::Error),
}

impl Explain for ManifestError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                ExitCode::MissingFile
            }
            Self::Read { source, .. } | Self::Io(source) => ExitCode::of_io(source),
            Self::NoManifests(_) => ExitCode::MissingFile,
            Self::Outside { .. } => ExitCode::PathEscape,
            Self::Path(_) => ExitCode::Usage,
            Self::NoRepository { .. } | Self::Syntax { .. } | Self::Left { .. } => ExitCode::Config,
            Self::Kubectl(ProcessError::Cancelled(cancelled))
            | Self::Kustomize { source: ProcessError::Cancelled(cancelled), .. } => cancelled.exit_code(),
            Self::Kubectl(_) | Self::Kustomize { .. } => ExitCode::Kubectl,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Read { .. } | Self::Io(_) => None,
            Self::NoManifests(_) => Some("name the files, or add -R for its subdirectories".into()),
            Self::Path(path) => Some(format!("write -f {}; projects are named in the manifests", path.display())),
            Self::NoRepository { .. } => Some(
                "add --repository registry.example/team, or `tags = [\"registry.example/team/app\"]` to its xbuild.toml"
                    .into(),
            ),
            Self::Outside { .. } => Some(
                "a build runs the project's code: if you trust the manifests, run xbuild above it, or add \
                 --allow-outside"
                    .into(),
            ),
            Self::Syntax { .. } => {
                Some("a template is filled in first, as in `helm template … | xbuild resolve -f -`".into())
            }
            Self::Left { .. } => Some(
                "make it a value of its own, as `[\"--image\", \"xbuild://PATH\"]`, or write the image's name there".into(),
            ),
            Self::Kustomize { source, .. } if source.is_not_found() => {
                Some("install kubectl, or pipe `kustomize build` to `xbuild resolve -f -`".into())
            }
            Self::Kustomize { path, .. } => Some(format!("`kubectl kustomize {}` shows the same", path.display())),
            Self::Kubectl(error) if error.is_not_found() => Some("install kubectl, or pipe `xbuild resolve` to it".into()),
            Self::Kubectl(_) => Some("the images are pushed; run the command again once kubectl works".into()),
        }
    }
}

/// The cancellation for the whole command, if the user sets a time limit. A limit in a project's file applies to that
/// project's build.
pub(super) fn limited(
    context: &Context<'_>,
    options: &ManifestOptions,
    name: &str,
) -> Result<Cancel, Failure> {
    match (options.build.total_timeout(), context.environment.var("XBUILD_TIMEOUT")) {
        (None, None) => Ok(context.cancel.clone()),
        (flag, _) => context.within(flag, name),
    }
}

/// The manifests with every reference replaced. Nothing is printed or applied unless all could be replaced.
pub(super) fn resolved(context: &Context<'_>, options: &ManifestOptions) -> Result<String, Failure> {
    if let Some(path) = &options.build.path {
        return Err(ManifestError::Path(path.clone()).into());
    }
    let documents = documents(context, options)?;
    tell_left(context, &documents)?;
    let projects: BTreeSet<String> =
        documents.iter().flat_map(|document| document.manifest.projects()).collect();
    if !options.allow_outside {
        projects.iter().try_for_each(|path| check_inside(path))?;
    }
    let mut images = BTreeMap::new();
    for path in projects {
        let image = build_and_push(context, options, &path)?;
        images.insert(path, image);
    }
    let mut all = String::new();
    for document in &documents {
        let text = document.manifest.replaced(&images);
        if !all.is_empty() {
            if !all.ends_with('\n') {
                all.push('\n');
            }
            if !text.starts_with("---") {
                all += "---\n";
            }
        }
        all += &text;
    }
    Ok(all)
}

/// Refuses a project outside the current directory. Building a project runs its code, and the author of a manifest need
/// not be the author of the projects beside it.
fn check_inside(path: &str) -> Result<(), ManifestError> {
    let outside = |leads_to: PathBuf| ManifestError::Outside { path: path.to_owned(), leads_to };
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    if !Path::new(path).components().all(plain) {
        return Err(outside(PathBuf::from(path)));
    }
    // If the path does not exist, the build reports that.
    match (fs::canonicalize(Path::new(path)), fs::canonicalize(Path::new("."))) {
        (Ok(real), Ok(current)) if !real.starts_with(&current) => Err(outside(real)),
        _ => Ok(()),
    }
}

/// A manifest, and its name in messages.
struct Document {
    shown: String,
    manifest: Manifest,
}

/// All given manifests, in order.
fn documents(context: &Context<'_>, options: &ManifestOptions) -> Result<Vec<Document>, ManifestError> {
    let mut documents = Vec::new();
    let mut add = |shown: String, text: &str, kustomized: bool| {
        let manifest = Manifest::read(text, kustomized)
            .map_err(|source| ManifestError::Syntax { shown: shown.clone(), source })?;
        documents.push(Document { shown, manifest });
        Ok(())
    };
    for path in &options.filenames {
        if is_kustomization(path) {
            add(format!("kustomization {}", path.display()), &kustomized(context, path)?, true)?;
            continue;
        }
        for file in files(path, options.recursive)? {
            let shown =
                if file == Path::new("-") { "standard input".into() } else { file.display().to_string() };
            // A file that was not given explicitly may be a pipe, on which reading would block.
            let text = if file == *path {
                read(&file)?
            } else {
                fs::read_to_string(&file)
                    .map_err(|source| ManifestError::Read { shown: shown.clone(), source })?
            };
            add(shown, &text, false)?;
        }
    }
    for path in &options.kustomize {
        add(format!("kustomization {}", path.display()), &kustomized(context, path)?, true)?;
    }
    Ok(documents)
}

/// Reports text that looks like a reference and is not replaced. If a cluster would run it, that is an error.
fn tell_left(context: &Context<'_>, documents: &[Document]) -> Result<(), ManifestError> {
    let mut places = Vec::new();
    for document in documents {
        for Left { line, word, kept } in &document.manifest.left {
            let place = format!("{}:{line}: `{word}`", document.shown);
            if *kept {
                let text = format!("{place}is inside a text or a key, and is left unchanged");
                let note = Event::Note { level: Level::Warning, platform: None, text };
                context.view.reporter().report(note);
            } else {
                places.push(place);
            }
        }
    }
    if places.is_empty() { Ok(()) } else { Err(ManifestError::Left { places }) }
}

/// True for a directory that kustomize builds.
fn is_kustomization(path: &Path) -> bool {
    const NAMES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];
    path != Path::new("-") && NAMES.iter().any(|name| path.join(name).is_file())
}

/// The output of kustomize.
fn kustomized(context: &Context<'_>, path: &Path) -> Result<String, ManifestError> {
    let cancel = context.cancel.within(KUBECTL, "kubectl");
    let kubectl = Command::new("kubectl").here().arg("kustomize").arg(path);
    kubectl.text(&cancel).map_err(|source| ManifestError::Kustomize { path: path.to_owned(), source })
}

/// Builds a project and pushes its image. Returns the image's name with its digest.
fn build_and_push(context: &Context<'_>, options: &ManifestOptions, path: &str) -> Result<String, Failure> {
    let names = options.repository.as_ref().map(|repository| {
        let dir = fs::canonicalize(Path::new(path)).unwrap_or_else(|_| PathBuf::from(path));
        let name = dir.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let tags = options.build.tags();
        let tags = if tags.is_empty() { vec!["latest".to_owned()] } else { tags };
        let named = |tag: &String| {
            format!("{}/{name}:{}", repository.trim_end_matches('/'), tag.trim_start_matches(':'))
        };
        tags.iter().map(named).collect::<Vec<String>>()
    });
    let build = options.build.for_project(Path::new(path), names);
    if context.settings(&build)?.tags.is_empty() {
        return Err(ManifestError::NoRepository { path: path.to_owned() }.into());
    }
    let settings = context.settings(&build.pushed())?;
    let reporter = context.view.reporter();
    let outcome =
        pipeline::run(&settings, context.environment, reporter, context.cancel, &mut std::io::sink())?;
    if let Some(failed) = outcome.failed {
        return Err(failed.error().into());
    }
    let reference: Option<Reference> = settings.tags.first().and_then(|tag| tag.parse().ok());
    let repository = reference.as_ref().and_then(Reference::repository).map(str::to_owned);
    let repository = repository.ok_or_else(|| ManifestError::NoRepository { path: path.to_owned() })?;
    Ok(format!("{repository}@{}", outcome.digest))
}

/// The manifests at a path: one file, or those of a directory in the order of their names.
fn files(path: &Path, recursive: bool) -> Result<Vec<PathBuf>, ManifestError> {
    let fault = |source| ManifestError::Read { shown: path.display().to_string(), source };
    if path == Path::new("-") || !fs::metadata(path).map_err(fault)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let (mut dirs, mut found) = (vec![path.to_owned()], Vec::new());
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).map_err(fault)? {
            let entry = entry.map_err(fault)?;
            let path = entry.path();
            if entry.file_type().map_err(fault)?.is_dir() {
                if recursive {
                    dirs.push(path);
                }
            } else if path.extension().is_some_and(|end| EXTENSIONS.iter().any(|known| end == *known)) {
                found.push(path);
            }
        }
    }
    found.sort();
    if found.is_empty() { Err(ManifestError::NoManifests(path.to_owned())) } else { Ok(found) }
}

fn read(path: &Path) -> Result<String, ManifestError> {
    if path == Path::new("-") {
        let mut text = String::new();
        let read = std::io::stdin().lock().read_to_string(&mut text);
        return read
            .map(|_| text)
            .map_err(|source| ManifestError::Read { shown: "standard input".into(), source });
    }
    fs::read_stream_to_string(path)
        .map_err(|source| ManifestError::Read { shown: path.display().to_string(), source })
}
