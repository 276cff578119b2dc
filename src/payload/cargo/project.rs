//! The cargo project: its directories, and the packages and binaries that go into the image.
//!
//! [`select`] is pure over cargo's own metadata. xbuild passes its selection to cargo by name, so the two never
//! disagree about which binary is meant.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cargo_metadata::{Metadata, Package, TargetKind};

use super::choice;
use super::spec::{self, SpecError};
use crate::files::STANDARD;
use crate::settings::PayloadSettings;

pub(crate) use super::choice::{Lacking, SelectError};

/// The project, and what of it goes into the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Project {
    /// The directory of the workspace's Cargo.toml; a lone package is its own workspace.
    pub workspace_root: PathBuf,
    /// The directory of cargo's results.
    pub target_directory: PathBuf,
    /// The directory of cargo's intermediate files, if its configuration sets a separate one (`build.build-dir`).
    pub build_directory: Option<PathBuf>,
    /// The selected binaries, sorted by name.
    pub binaries: Vec<Binary>,
    /// Programs that `--bins` and `--examples` select but that cannot be built with the enabled features.
    pub left_out: Vec<Lacking>,
    /// The package that names the image and describes it.
    pub package: PackageFacts,
    /// By each package's id, the shortest specification that cargo accepts for it.
    pub specs: BTreeMap<String, String>,
    /// The packages whose builds make configured files, by their specifications as configured.
    pub makers: BTreeMap<String, Maker>,
}

/// A package whose build makes files for the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Maker {
    /// Its id.
    pub package_id: String,
    /// True if cargo must be asked for its library: a member of the workspace that the programs may not depend on.
    pub library: bool,
    /// What its build makes for each target.
    pub parts: Vec<Part>,
}

/// What the build of a package makes for a target, as reported by cargo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// Its build script has run.
    Script,
    /// Its library exists as a shared library.
    Library,
}

/// The package that a specification in `from-build` means; `None` for the Rust toolchain's own libraries.
pub(crate) fn maker(metadata: &Metadata, spec: &str) -> Result<Option<Maker>, SpecError> {
    let package = match spec::find(metadata, spec) {
        Ok(package) => package,
        Err(SpecError::Unknown { .. }) if spec == STANDARD => return Ok(None),
        Err(error) => return Err(error),
    };
    let has = |kind: &TargetKind| package.targets.iter().any(|target| target.kind.contains(kind));
    let shared = [TargetKind::CDyLib, TargetKind::DyLib].iter().any(has);
    let library = shared || [TargetKind::Lib, TargetKind::RLib, TargetKind::StaticLib].iter().any(has);
    let mut parts = Vec::new();
    if has(&TargetKind::CustomBuild) {
        parts.push(Part::Script);
    }
    if shared {
        parts.push(Part::Library);
    }
    let is_member = metadata.workspace_members.contains(&package.id);
    Ok(Some(Maker { package_id: package.id.repr.clone(), library: is_member && library, parts }))
}

impl Project {
    /// The specification to pass to cargo.
    #[must_use]
    pub(crate) fn spec_of<'a>(&'a self, package_id: &'a str) -> &'a str {
        self.specs.get(package_id).map_or(package_id, String::as_str)
    }
}

/// A binary target of a package.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Binary {
    /// The target's name, which is also the file's name.
    pub name: String,
    /// The package's name.
    pub package: String,
    /// What cargo builds it as.
    pub kind: ProgramKind,
    /// cargo's opaque identifier of the package, as its messages carry it.
    #[serde(skip)]
    pub package_id: String,
}

/// What cargo builds a program as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProgramKind {
    /// `[[bin]]`.
    Bin,
    /// `[[example]]`.
    Example,
}

impl ProgramKind {
    /// The table's name in Cargo.toml.
    #[must_use]
    pub fn target(self) -> &'static str {
        match self {
            Self::Bin => "binary",
            Self::Example => "example",
        }
    }
}

impl std::fmt::Display for ProgramKind {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Bin => "program",
            Self::Example => "example",
        })
    }
}

/// The package's data for annotations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PackageFacts {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// `package.description`.
    pub description: Option<String>,
    /// `package.license`, an SPDX expression.
    pub license: Option<String>,
    /// `package.repository`.
    pub repository: Option<String>,
    /// `package.authors`, joined.
    pub authors: Option<String>,
    /// `package.homepage`.
    pub homepage: Option<String>,
    /// `package.documentation`.
    pub documentation: Option<String>,
}

/// Chooses packages and binaries.
pub(crate) fn select(metadata: &Metadata, request: &PayloadSettings) -> Result<Project, SelectError> {
    let packages = choice::packages(metadata, request)?;
    let (mut binaries, left_out) = choice::programs(metadata, &packages, request)?;
    binaries.sort();
    if let Some(pair) = binaries.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return Err(SelectError::SameName {
            name: pair[0].name.clone(),
            packages: [pair[0].package.clone(), pair[1].package.clone()],
        });
    }
    let first =
        packages.iter().find(|package| binaries.iter().any(|binary| binary.package_id == package.id.repr));
    let package = first.or(packages.first()).ok_or(SelectError::AllExcluded)?;
    let build = metadata.build_directory.as_ref().filter(|dir| **dir != metadata.target_directory);
    Ok(Project {
        workspace_root: metadata.workspace_root.clone().into(),
        target_directory: metadata.target_directory.clone().into(),
        build_directory: build.cloned().map(Into::into),
        binaries,
        left_out,
        package: describe(package),
        specs: metadata
            .packages
            .iter()
            .map(|package| (package.id.repr.clone(), spec::shortest(metadata, package)))
            .collect(),
        makers: BTreeMap::new(),
    })
}

fn describe(package: &Package) -> PackageFacts {
    PackageFacts {
        name: package.name.to_string(),
        version: package.version.to_string(),
        description: package.description.as_deref().map(|text| text.trim().to_owned()),
        license: package.license.clone(),
        repository: package.repository.clone(),
        authors: (!package.authors.is_empty()).then(|| package.authors.join(", ")),
        homepage: package.homepage.clone(),
        documentation: package.documentation.clone(),
    }
}
