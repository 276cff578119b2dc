//! Finds a project's `Cargo.toml` and the configuration files.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::DeTable;

use super::document::{Document, metadata, parse_project, parse_user, table};
use super::{Error, ProjectFile, UserFile};
use crate::origin::Source;
use crate::sys::{env::Environment, fs};

/// A cargo project and its configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Project {
    /// The absolute path of its `Cargo.toml`.
    pub manifest_path: PathBuf,
    /// Its configuration, in the order of precedence: the package's, then its workspace's.
    pub(crate) documents: Vec<Document<ProjectFile>>,
}

/// Finds the project and reads its configuration.
///
/// - `manifest_path` (`--manifest-path`) is used as it is.
/// - `path` is a directory with a `Cargo.toml`, or that file. Its parents are not searched: a user who names a
///   directory means that directory, and `xbuild examples/typo` must not build the project around it.
/// - With neither, the current directory and its parents are searched, as cargo does.
///
/// `config` (`--config`) replaces all configuration files of the project.
///
/// # Errors
///
/// If there is no `Cargo.toml` in the directories that are searched, or if a configuration file cannot be read or
/// parsed.
pub fn find_project(
    dir: &Path,
    path: Option<&Path>,
    manifest_path: Option<&Path>,
    config: Option<&Path>,
) -> Result<Project, Error> {
    let manifest_path = find_manifest(dir, path, manifest_path)?;
    let documents = match config {
        Some(config) => {
            let path = dir.join(config);
            let source = read(&path, dir)?.ok_or(Error::Missing(path))?;
            vec![parse_project(source)?]
        }
        None => documents(&manifest_path, dir)?,
    };
    Ok(Project { manifest_path, documents })
}

fn find_manifest(dir: &Path, path: Option<&Path>, manifest: Option<&Path>) -> Result<PathBuf, Error> {
    let given = manifest.or(path).map(|path| dir.join(path));
    let candidates: Vec<PathBuf> = match (&given, manifest) {
        (Some(given), Some(_)) => vec![given.clone()],
        (Some(given), None) if given.file_name().is_some_and(|name| name == "Cargo.toml") => {
            vec![given.clone()]
        }
        (Some(given), None) => vec![given.join("Cargo.toml")],
        (None, _) => dir.ancestors().map(|dir| dir.join("Cargo.toml")).collect(),
    };
    for candidate in &candidates {
        if is_file(candidate).map_err(Error::Read)? {
            return absolute(candidate);
        }
    }
    let looked_in = match candidates.as_slice() {
        [only] => only.parent().unwrap_or(dir),
        _ => dir,
    };
    let near = given.as_ref().and_then(|given| {
        given
            .ancestors()
            .skip(1)
            .map(|dir| dir.join("Cargo.toml"))
            .find(|path| is_file(path).unwrap_or(false))
    });
    Err(Error::NoManifest { dir: looked_in.to_owned(), parents: given.is_none(), near })
}

/// The configuration of the package and of its workspace.
fn documents(manifest_path: &Path, cwd: &Path) -> Result<Vec<Document<ProjectFile>>, Error> {
    let Some(source) = read(manifest_path, cwd)? else {
        return Err(Error::Missing(manifest_path.to_owned()));
    };
    let source = Arc::new(source);
    let manifest = table(&source)?;
    let manifest = manifest.get_ref();
    let mut documents = Vec::new();
    let of_package = metadata(&source, manifest, "package")?;
    let beside_it = beside(manifest_path, cwd)?;
    if manifest.contains_key("workspace") {
        // If one directory has both, an `xbuild.toml` in it is the workspace's, and so also the package's.
        if let (Some((_, location)), Some((beside, _))) = (&of_package, &beside_it) {
            let (location, beside) = (location.clone(), beside.clone());
            return Err(Error::Twice { location, beside, table: "package" });
        }
        documents.extend(of_package.map(|(document, _)| document));
        documents.extend(one_of("workspace", metadata(&source, manifest, "workspace")?, beside_it)?);
        return Ok(documents);
    }
    documents.extend(one_of("package", of_package, beside_it)?);
    if let Some(root) = workspace_root(manifest_path, manifest, cwd)? {
        let of_workspace = metadata(&root, table(&root)?.get_ref(), "workspace")?;
        documents.extend(one_of("workspace", of_workspace, beside(&root.path, cwd)?)?);
    }
    Ok(documents)
}

type OfMetadata = Option<(Document<ProjectFile>, crate::origin::Location)>;
type Beside = Option<(PathBuf, Source)>;

fn beside(manifest_path: &Path, cwd: &Path) -> Result<Beside, Error> {
    let path = manifest_path.with_file_name("xbuild.toml");
    Ok(read(&path, cwd)?.map(|source| (source.shown.clone(), source)))
}

/// A directory has one configuration: nobody would intend the result of merging two.
fn one_of(
    kind: &'static str,
    metadata: OfMetadata,
    beside: Beside,
) -> Result<Option<Document<ProjectFile>>, Error> {
    match (metadata, beside) {
        (Some((_, location)), Some((beside, _))) => Err(Error::Twice { location, beside, table: kind }),
        (Some((document, _)), None) => Ok(Some(document)),
        (None, Some((_, source))) => parse_project(source).map(Some),
        (None, None) => Ok(None),
    }
}

/// The `Cargo.toml` of the workspace that a package is a member of, as cargo finds it: `package.workspace`, or the
/// nearest one above that has `[workspace]` and does not exclude the package. (If cargo then does not accept the
/// package as a member, it refuses to build it.)
fn workspace_root(
    manifest_path: &Path,
    manifest: &DeTable<'_>,
    cwd: &Path,
) -> Result<Option<Arc<Source>>, Error> {
    let dir = manifest_path.parent().unwrap_or(Path::new("/"));
    let explicit = manifest
        .get("package")
        .and_then(|package| package.get_ref().get("workspace"))
        .and_then(|path| path.get_ref().as_str());
    if let Some(path) = explicit {
        let path = dir.join(path).join("Cargo.toml");
        return Ok(read(&path, cwd)?.map(Arc::new));
    }
    for above in dir.ancestors().skip(1) {
        let Some(source) = read(&above.join("Cargo.toml"), cwd)?.map(Arc::new) else { continue };
        let is_root = {
            let table = table(&source)?;
            let workspace = table.get_ref().get("workspace").map(|workspace| workspace.get_ref().clone());
            workspace.map(|workspace| {
                let excluded = workspace.get("exclude").and_then(|paths| paths.get_ref().as_array().cloned());
                excluded
                    .into_iter()
                    .flatten()
                    .any(|path| path.get_ref().as_str().is_some_and(|path| dir.starts_with(above.join(path))))
            })
        };
        match is_root {
            Some(false) => return Ok(Some(source)),
            Some(true) => return Ok(None),
            None => (),
        }
    }
    Ok(None)
}

/// The path of the user's file: `xbuild/config.toml` in `$XDG_CONFIG_HOME`, or in `~/.config`.
#[must_use]
pub(super) fn user_file_path(environment: &Environment) -> Option<PathBuf> {
    // The XDG specification: a relative path is invalid and to be ignored.
    let dir = environment
        .path("XDG_CONFIG_HOME")
        .filter(|path| path.is_absolute())
        .or_else(|| environment.path("HOME").map(|home| home.join(".config")))?;
    Some(dir.join("xbuild").join("config.toml"))
}

/// Reads the user's file, if there is one.
///
/// # Errors
///
/// If the file exists and cannot be read or parsed. A missing file is not an error.
pub fn load_user(environment: &Environment, cwd: &Path) -> Result<Option<Document<UserFile>>, Error> {
    let Some(path) = user_file_path(environment) else { return Ok(None) };
    read(&path, cwd)?.map(parse_user).transpose()
}

/// Whether there is such a file. A directory that may not be searched, such as one above the user's own, counts as no
/// file; other failures are errors.
fn is_file(path: &Path) -> io::Result<bool> {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.is_file()),
        Err(error) if matches!(error.kind(), NotFound | NotADirectory | PermissionDenied) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The absolute path with `..` and links resolved in its directory, as in cargo's own output. If the file itself is a
/// link, the project is in the directory of the link, for cargo too.
fn absolute(path: &Path) -> Result<PathBuf, Error> {
    let (dir, name) = (path.parent().unwrap_or(path), path.file_name().unwrap_or_default());
    Ok(fs::canonicalize(dir).map_err(Error::Read)?.join(name))
}

/// A file's text; `None` if there is no such file.
fn read(path: &Path, cwd: &Path) -> Result<Option<Source>, Error> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(Error::Read(error)),
    };
    let shown = path.strip_prefix(cwd).unwrap_or(path).to_owned();
    Ok(Some(Source { path: path.to_owned(), shown, text, foreign: fs::leads_out(path) }))
}
