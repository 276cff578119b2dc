//! The cargo project: its folders, and the packages and binaries that go into the image.
//!
//! [`select`] is pure over cargo's own metadata. What it selects, cargo is told by name, so cargo and xbuild
//! never disagree about which binary is meant.

use std::path::{Path, PathBuf};

use cargo_metadata::{Metadata, Package, PackageId, TargetKind};

use crate::error::{ExitCode, Explain};
use crate::settings::{CargoSettings, nearest::nearest};

/// What was found, and what of it goes into the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// The folder of the workspace's Cargo.toml; a lone package is its own workspace.
    pub workspace_root: PathBuf,
    /// Where cargo puts what it builds.
    pub target_directory: PathBuf,
    /// The selected binaries, sorted by name.
    pub binaries: Vec<Binary>,
    /// The package that names the image and describes it.
    pub package: PackageFacts,
}

/// A binary target of a package.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Binary {
    /// The target's name, which is also the file's name.
    pub name: String,
    /// The package's name.
    pub package: String,
    /// cargo's opaque identifier of the package, as its messages carry it.
    #[serde(skip)]
    pub package_id: String,
}

/// What annotations say of the package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageFacts {
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

/// Why there is nothing to build.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// `--package` names no member of the workspace.
    #[error("the workspace has no package `{wanted}`; it has {}", list(available))]
    NoPackage {
        /// What was asked for.
        wanted: String,
        /// The workspace's members.
        available: Vec<String>,
    },
    /// `--bin` names no binary of the selected packages.
    #[error("there is no binary `{wanted}`; there are {}", list(available))]
    NoSuchBinary {
        /// What was asked for.
        wanted: String,
        /// The binaries of the selected packages.
        available: Vec<String>,
    },
    /// No selected package has a binary target.
    #[error("{} no binary target", have(packages))]
    NoBinary {
        /// The selected packages.
        packages: Vec<String>,
    },
    /// The only selected package is a library.
    #[error("package `{package}` is a library: it has no binary to put into an image")]
    LibraryOnly {
        /// The package.
        package: String,
    },
    /// Several binaries and no choice.
    #[error("there are several binaries and none was chosen: {}", list(available))]
    Ambiguous {
        /// The binaries.
        available: Vec<String>,
    },
    /// Two selected packages have a binary of one name.
    #[error("packages `{}` and `{}` both have a binary `{name}`", packages[0], packages[1])]
    SameName {
        /// The binary's name.
        name: String,
        /// The two packages.
        packages: [String; 2],
    },
}

impl Explain for SelectError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::NoPackage { .. } | Self::NoSuchBinary { .. } | Self::NoBinary { .. } => ExitCode::NoBinary,
            Self::LibraryOnly { .. } => ExitCode::LibraryOnly,
            Self::Ambiguous { .. } | Self::SameName { .. } => ExitCode::AmbiguousBinary,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoPackage { wanted, available } | Self::NoSuchBinary { wanted, available } => {
                let known: Vec<&str> = available.iter().map(String::as_str).collect();
                match nearest(wanted, &known) {
                    Some(name) => format!("did you mean `{name}`?"),
                    None => "leave the name out to build the only one".into(),
                }
            }
            Self::NoBinary { .. } => "choose a package that has one with --package".into(),
            Self::LibraryOnly { .. } => {
                "add src/main.rs or a [[bin]] target, or choose another package with --package".into()
            }
            Self::Ambiguous { available } => format!(
                "choose with --bin {} (repeatable), with `bins = [...]` in xbuild.toml, or set `default-run` in Cargo.toml",
                available.first().map_or("NAME", |name| name.rsplit(' ').next().unwrap_or(name))
            ),
            Self::SameName { .. } => "choose one package with --package".into(),
        })
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        return "none".into();
    }
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn have(packages: &[String]) -> String {
    match packages {
        [] => "the workspace has no package and".into(),
        [one] => format!("package `{one}` has"),
        many => format!("packages {} have", list(many)),
    }
}

/// Chooses packages and binaries. `manifest` is the path of the Cargo.toml that xbuild was pointed at.
pub fn select(metadata: &Metadata, manifest: &Path, request: &CargoSettings) -> Result<Project, SelectError> {
    let packages = selected_packages(metadata, manifest, &request.packages)?;
    let mut binaries = chosen_binaries(&packages, request)?;
    binaries.sort();
    if let Some(pair) = binaries.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return Err(SelectError::SameName {
            name: pair[0].name.clone(),
            packages: [pair[0].package.clone(), pair[1].package.clone()],
        });
    }
    let first =
        packages.iter().find(|package| binaries.iter().any(|binary| binary.package_id == package.id.repr));
    let package = first.or(packages.first()).ok_or(SelectError::NoBinary { packages: Vec::new() })?;
    Ok(Project {
        workspace_root: metadata.workspace_root.clone().into(),
        target_directory: metadata.target_directory.clone().into(),
        binaries,
        package: describe(package),
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

fn selected_packages<'a>(
    metadata: &'a Metadata,
    manifest: &Path,
    wanted: &[String],
) -> Result<Vec<&'a Package>, SelectError> {
    let members = metadata.workspace_packages();
    if !wanted.is_empty() {
        return wanted
            .iter()
            .map(|name| {
                members.iter().find(|package| package.name.as_str() == name).copied().ok_or_else(|| {
                    let mut available: Vec<_> =
                        members.iter().map(|package| package.name.to_string()).collect();
                    available.sort();
                    SelectError::NoPackage { wanted: name.clone(), available }
                })
            })
            .collect();
    }
    if let Some(package) = members.iter().find(|package| package.manifest_path.as_std_path() == manifest) {
        return Ok(vec![package]);
    }
    let default: Vec<&PackageId> = if metadata.workspace_default_members.is_available() {
        metadata.workspace_default_members.iter().collect()
    } else {
        metadata.workspace_members.iter().collect()
    };
    let mut packages: Vec<_> = members.into_iter().filter(|package| default.contains(&&package.id)).collect();
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(packages)
}

fn chosen_binaries(packages: &[&Package], request: &CargoSettings) -> Result<Vec<Binary>, SelectError> {
    let wanted = &request.bins;
    let all: Vec<Binary> = packages.iter().flat_map(|package| binaries_of(package)).collect();
    if !wanted.is_empty() {
        let mut chosen = Vec::new();
        for name in wanted {
            let before = chosen.len();
            chosen.extend(all.iter().filter(|binary| binary.name == *name).cloned());
            if chosen.len() == before {
                return Err(SelectError::NoSuchBinary {
                    wanted: name.clone(),
                    available: names(&all, false),
                });
            }
        }
        chosen.sort();
        chosen.dedup();
        return Ok(chosen);
    }
    match (all.as_slice(), packages) {
        ([], [package]) if package.targets.iter().any(is_library) => {
            Err(SelectError::LibraryOnly { package: package.name.to_string() })
        }
        ([], _) => Err(SelectError::NoBinary {
            packages: packages.iter().map(|package| package.name.to_string()).collect(),
        }),
        ([_], _) => Ok(all),
        _ if request.all_bins => Ok(all),
        (_, [package]) => match &package.default_run {
            Some(default) => Ok(all.into_iter().filter(|binary| binary.name == *default).collect()),
            None => Err(SelectError::Ambiguous { available: names(&all, false) }),
        },
        _ => Err(SelectError::Ambiguous { available: names(&all, true) }),
    }
}

fn names(binaries: &[Binary], with_package: bool) -> Vec<String> {
    let mut names: Vec<_> =
        binaries
            .iter()
            .map(|binary| {
                if with_package {
                    format!("{}: {}", binary.package, binary.name)
                } else {
                    binary.name.clone()
                }
            })
            .collect();
    names.sort();
    names.dedup();
    names
}

fn binaries_of(package: &Package) -> impl Iterator<Item = Binary> {
    package.targets.iter().filter(|target| target.kind.contains(&TargetKind::Bin)).map(|target| Binary {
        name: target.name.clone(),
        package: package.name.to_string(),
        package_id: package.id.repr.clone(),
    })
}

fn is_library(target: &cargo_metadata::Target) -> bool {
    target.kind.iter().any(|kind| {
        matches!(
            kind,
            TargetKind::Lib
                | TargetKind::RLib
                | TargetKind::DyLib
                | TargetKind::CDyLib
                | TargetKind::StaticLib
                | TargetKind::ProcMacro
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn package(name: &str, bins: &[&str], library: bool, default_run: Option<&str>) -> Value {
        let target = |kind: &str, name: &str| {
            json!({
                "kind": [kind], "crate_types": [kind], "name": name, "src_path": "/w/x.rs", "edition": "2024",
                "doc": true, "doctest": false, "test": true
            })
        };
        let mut targets: Vec<Value> = bins.iter().map(|bin| target("bin", bin)).collect();
        if library {
            targets.push(target("lib", name));
        }
        json!({
            "name": name, "version": "1.2.3", "id": format!("path+file:///w/{name}#1.2.3"), "license": "MIT",
            "license_file": null, "description": " what it is\n", "source": null, "dependencies": [],
            "targets": targets, "features": {}, "manifest_path": format!("/w/{name}/Cargo.toml"),
            "metadata": null, "publish": null, "authors": ["A", "B"], "categories": [], "keywords": [],
            "readme": null, "repository": "https://example.com/w", "homepage": null, "documentation": null,
            "edition": "2024", "links": null, "default_run": default_run, "rust_version": null
        })
    }

    fn metadata(packages: &[Value]) -> Metadata {
        let ids: Vec<_> = packages.iter().map(|package| package["id"].clone()).collect();
        serde_json::from_value(json!({
            "packages": packages, "workspace_members": ids, "workspace_default_members": ids, "resolve": null,
            "target_directory": "/w/target", "version": 1, "workspace_root": "/w", "metadata": null
        }))
        .unwrap()
    }

    fn names(packages: &[Value], request: &CargoSettings) -> Result<Vec<String>, SelectError> {
        let project = select(&metadata(packages), Path::new("/w/a/Cargo.toml"), request)?;
        Ok(project.binaries.into_iter().map(|binary| binary.name).collect())
    }

    #[test]
    fn the_only_binary_needs_no_choice() {
        let all = [package("a", &["a"], true, None), package("b", &["b"], false, None)];
        assert_eq!(names(&all, &CargoSettings::default()).unwrap(), ["a"]);
    }

    #[test]
    fn several_binaries_need_a_choice_or_a_default() {
        let none = CargoSettings::default();
        let error = names(&[package("a", &["x", "y"], false, None)], &none).unwrap_err();
        assert_eq!(error.exit_code(), ExitCode::AmbiguousBinary);
        assert!(error.to_string().contains("`x`, `y`"), "{error}");
        assert_eq!(names(&[package("a", &["x", "y"], false, Some("y"))], &none).unwrap(), ["y"]);
        let both = CargoSettings { bins: vec!["y".into(), "x".into()], ..none };
        assert_eq!(names(&[package("a", &["x", "y"], false, None)], &both).unwrap(), ["x", "y"]);
    }

    #[test]
    fn a_virtual_workspace_takes_all_default_members() {
        let all = [package("b", &["b"], false, None), package("c", &["c"], false, None)];
        let error = names(&all, &CargoSettings::default()).unwrap_err();
        assert!(error.to_string().contains("`b: b`, `c: c`"), "{error}");
        assert!(error.hint().unwrap().contains("--bin b "), "{:?}", error.hint());
        let wanted = CargoSettings { packages: vec!["c".into()], ..CargoSettings::default() };
        assert_eq!(names(&all, &wanted).unwrap(), ["c"]);
        let wanted = CargoSettings { all_bins: true, ..CargoSettings::default() };
        assert_eq!(names(&all, &wanted).unwrap(), ["b", "c"]);
    }

    #[test]
    fn libraries_and_unknown_names_are_told_apart() {
        let none = CargoSettings::default();
        let library = names(&[package("a", &[], true, None)], &none).unwrap_err();
        assert_eq!(library.exit_code(), ExitCode::LibraryOnly);
        let empty = names(&[package("a", &[], false, None)], &none).unwrap_err();
        assert_eq!(empty.exit_code(), ExitCode::NoBinary);
        let wanted = CargoSettings { bins: vec!["servr".into()], ..none };
        let typo = names(&[package("a", &["server"], false, None)], &wanted);
        assert_eq!(typo.unwrap_err().hint().unwrap(), "did you mean `server`?");
    }

    #[test]
    fn two_binaries_of_one_name_are_refused() {
        let all = [package("b", &["same"], false, None), package("c", &["same"], false, None)];
        let wanted = CargoSettings { bins: vec!["same".into()], ..CargoSettings::default() };
        let error = names(&all, &wanted).unwrap_err();
        assert!(matches!(error, SelectError::SameName { .. }));
    }
}
