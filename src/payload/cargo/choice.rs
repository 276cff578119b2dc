//! Chooses the programs of the selected packages that go into the image. Pure over cargo's metadata.

use cargo_metadata::{Metadata, Package, Target, TargetKind};
use globset::Glob;

use super::features::Features;
use super::project::{Binary, ProgramKind};
use super::spec::{self, SpecError};
use crate::error::{ExitCode, Explain};
use crate::settings::PayloadSettings;
use crate::text::nearest;

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
    /// `--package` or `--exclude` does not specify one package.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// Everything is excluded.
    #[error("every package of the workspace is excluded")]
    AllExcluded,
    /// `--bin` or `--example` names nothing of the selected packages.
    #[error("there is no {kind} `{wanted}`; there are {}", list(available))]
    NoSuchBinary {
        /// The kind that was looked for.
        kind: ProgramKind,
        /// What was asked for.
        wanted: String,
        /// The available names in the selected packages.
        available: Vec<String>,
        /// True if one of the other kind has this name.
        other: bool,
    },
    /// No selected package has a binary target.
    #[error("{} no {} target", have(packages), kind.target())]
    NoBinary {
        /// The kind that was looked for.
        kind: ProgramKind,
        /// The selected packages.
        packages: Vec<String>,
        /// The examples that they have.
        examples: Vec<String>,
    },
    /// The only selected package is a library.
    #[error("package `{package}` is a library: it has no binary to put into an image")]
    LibraryOnly {
        /// The package.
        package: String,
        /// The examples that it has.
        examples: Vec<String>,
    },
    /// The chosen programs, or all programs, need features that are off.
    #[error("{}", programs.iter().map(Lacking::text).collect::<Vec<_>>().join("; "))]
    NeedsFeatures {
        /// The programs.
        programs: Vec<Lacking>,
    },
    /// There are several binaries, and none was chosen.
    #[error("there are several binaries and none was chosen: {}", list(available))]
    Ambiguous {
        /// The binaries.
        available: Vec<String>,
    },
    /// Two selected packages have a binary of the same name, or one has a program and an example of the same name.
    #[error("packages `{}` and `{}` both have a binary `{name}`", packages[0], packages[1])]
    SameName {
        /// The binary's name.
        name: String,
        /// The two packages.
        packages: [String; 2],
    },
}

/// A program that cannot be built with the enabled features.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lacking {
    /// The program.
    pub program: Binary,
    /// The features that it needs (`required-features`) and that are off; never empty.
    pub features: Vec<String>,
}

impl Lacking {
    fn text(&self) -> String {
        let Binary { name, package, kind, .. } = &self.program;
        format!("the {kind} `{name}` of package `{package}` requires the features {}", list(&self.features))
    }
}

impl Explain for SelectError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::NoPackage { .. }
            | Self::AllExcluded
            | Self::NoSuchBinary { .. }
            | Self::NoBinary { .. }
            | Self::NeedsFeatures { .. } => ExitCode::NoBinary,
            Self::Spec(error) => error.exit_code(),
            Self::LibraryOnly { .. } => ExitCode::LibraryOnly,
            Self::Ambiguous { .. } | Self::SameName { .. } => ExitCode::AmbiguousBinary,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Spec(error) => return error.hint(),
            Self::AllExcluded => "exclude fewer packages".into(),
            Self::NoSuchBinary { kind: ProgramKind::Bin, wanted, other: true, .. } => {
                format!("it is an example: --example {wanted}")
            }
            Self::NoSuchBinary { kind: ProgramKind::Example, wanted, other: true, .. } => {
                format!("it is a program: --bin {wanted}")
            }
            Self::NoPackage { wanted, available } | Self::NoSuchBinary { wanted, available, .. } => {
                let known: Vec<&str> = available.iter().map(String::as_str).collect();
                match nearest(wanted, &known) {
                    Some(name) => format!("did you mean `{name}`?"),
                    None => "leave the name out to build the only one".into(),
                }
            }
            Self::NoBinary { examples, .. } if examples.is_empty() => {
                "choose a package that has one with --package".into()
            }
            Self::NoBinary { examples, .. } => format!("choose an example: --example {}", examples[0]),
            Self::LibraryOnly { examples, .. } if examples.is_empty() => {
                "add src/main.rs or a [[bin]] target, or choose another package with --package".into()
            }
            Self::LibraryOnly { examples, .. } => {
                format!(
                    "add src/main.rs or a [[bin]] target, or choose an example: --example {}",
                    examples[0]
                )
            }
            Self::NeedsFeatures { programs } => {
                let features = programs.first().map_or(&[][..], |program| &program.features);
                let quoted: Vec<_> = features.iter().map(|feature| format!("\"{feature}\"")).collect();
                format!(
                    "add --features {}, or `features = [{}]` under [payload]",
                    features.join(","),
                    quoted.join(", ")
                )
            }
            Self::Ambiguous { available } => format!(
                "choose with --bin {} (repeatable), with `bins = [...]` under [payload], or set `default-run` in Cargo.toml",
                available.first().map_or("NAME", |name| name.rsplit(' ').next().unwrap_or(name))
            ),
            Self::SameName { packages, .. } if packages[0] == packages[1] => {
                "choose the program or the example, or rename one of them".into()
            }
            Self::SameName { .. } => "choose one package with --package".into(),
        })
    }
}

pub(super) fn list(names: &[String]) -> String {
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

/// The packages whose programs are selected, as cargo would choose them.
pub(super) fn packages<'a>(
    metadata: &'a Metadata,
    request: &PayloadSettings,
) -> Result<Vec<&'a Package>, SelectError> {
    let mut members = metadata.workspace_packages();
    members.sort_by(|a, b| a.name.cmp(&b.name));
    if !request.packages.is_empty() {
        let mut chosen = Vec::new();
        for wanted in &request.packages {
            for package in specified(metadata, &members, wanted)? {
                if !chosen.contains(&package) {
                    chosen.push(package);
                }
            }
        }
        return Ok(chosen);
    }
    if request.workspace {
        // A package may be excluded twice, so look it up among all members.
        let all = members.clone();
        for excluded in &request.exclude {
            let out = specified(metadata, &all, excluded)?;
            members.retain(|package| !out.contains(package));
        }
        return if members.is_empty() { Err(SelectError::AllExcluded) } else { Ok(members) };
    }
    // cargo has taken into account which manifest was named.
    if metadata.workspace_default_members.is_available() {
        members.retain(|package| metadata.workspace_default_members.contains(&package.id));
    }
    Ok(members)
}

/// The members that match a specification or a pattern.
fn specified<'a>(
    metadata: &'a Metadata,
    members: &[&'a Package],
    wanted: &str,
) -> Result<Vec<&'a Package>, SelectError> {
    let none = || SelectError::NoPackage {
        wanted: wanted.to_owned(),
        available: members.iter().map(|package| package.name.to_string()).collect(),
    };
    if spec::is_pattern(wanted) {
        let pattern = pattern(wanted)?;
        let fitting = members.iter().filter(|package| pattern.is_match(package.name.as_str()));
        let fitting: Vec<&Package> = fitting.copied().collect();
        return if fitting.is_empty() { Err(none()) } else { Ok(fitting) };
    }
    match spec::find(metadata, wanted) {
        Ok(package) if members.contains(&package) => Ok(vec![package]),
        Ok(_) | Err(SpecError::Unknown { .. }) => Err(none()),
        Err(error) => Err(error.into()),
    }
}

fn pattern(text: &str) -> Result<globset::GlobMatcher, SelectError> {
    let pattern = Glob::new(text).map(|glob| glob.compile_matcher());
    pattern
        .map_err(|_| SpecError::Form { given: text.to_owned(), reason: "it is not a valid pattern" }.into())
}

/// The programs to choose from.
struct Candidates<'a> {
    packages: &'a [&'a Package],
    all: Vec<Lacking>,
}

/// Returns the chosen programs, and those that were selected with others and cannot be built.
pub(super) fn programs(
    metadata: &Metadata,
    packages: &[&Package],
    request: &PayloadSettings,
) -> Result<(Vec<Binary>, Vec<Lacking>), SelectError> {
    let examples = !request.examples.is_empty() || request.all_examples;
    let features = Features::of(metadata, packages, request, examples);
    let targets =
        packages.iter().flat_map(|package| package.targets.iter().map(move |target| (*package, target)));
    let all = targets
        .filter_map(|(package, target)| {
            let program = binary(package, target)?;
            Some(Lacking { program, features: features.lacking(package, &target.required_features) })
        })
        .collect();
    let candidates = Candidates { packages, all };
    if request.bins.is_empty() && !request.all_bins && !examples {
        return candidates.default().map(|chosen| (chosen, Vec::new()));
    }
    let (mut chosen, mut left_out) = (Vec::new(), Vec::new());
    for (kind, names, whole) in [
        (ProgramKind::Bin, &request.bins, request.all_bins),
        (ProgramKind::Example, &request.examples, request.all_examples),
    ] {
        for name in names {
            chosen.extend(candidates.named(kind, name)?);
        }
        if whole {
            let (lacking, whole): (Vec<&Lacking>, Vec<&Lacking>) =
                candidates.of(kind).partition(|program| !program.features.is_empty());
            chosen.extend(whole.into_iter().map(|program| program.program.clone()));
            left_out.extend(lacking.into_iter().cloned());
        }
    }
    chosen.sort();
    chosen.dedup();
    if chosen.is_empty() {
        let kind = if request.all_bins { ProgramKind::Bin } else { ProgramKind::Example };
        return Err(if left_out.is_empty() {
            candidates.none(kind)
        } else {
            SelectError::NeedsFeatures { programs: left_out }
        });
    }
    left_out.retain(|program| !chosen.contains(&program.program));
    Ok((chosen, left_out))
}

impl Candidates<'_> {
    fn of(&self, kind: ProgramKind) -> impl Iterator<Item = &Lacking> {
        self.all.iter().filter(move |program| program.program.kind == kind)
    }

    fn names(&self, kind: ProgramKind) -> Vec<String> {
        let mut names: Vec<String> = self.of(kind).map(|program| program.program.name.clone()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// The programs of a name, or of a pattern of names, that can be built.
    fn named(&self, kind: ProgramKind, wanted: &str) -> Result<Vec<Binary>, SelectError> {
        let pattern = if spec::is_pattern(wanted) { Some(pattern(wanted)?) } else { None };
        let fits = |name: &str| pattern.as_ref().map_or(name == wanted, |pattern| pattern.is_match(name));
        let meant: Vec<&Lacking> = self.of(kind).filter(|program| fits(&program.program.name)).collect();
        if meant.is_empty() {
            let other = self.all.iter().any(|program| fits(&program.program.name));
            let (wanted, available) = (wanted.to_owned(), self.names(kind));
            return Err(SelectError::NoSuchBinary { kind, wanted, available, other });
        }
        let able = meant.iter().filter(|program| program.features.is_empty());
        let able: Vec<Binary> = able.map(|program| program.program.clone()).collect();
        if able.is_empty() {
            return Err(SelectError::NeedsFeatures { programs: meant.into_iter().cloned().collect() });
        }
        Ok(able)
    }

    /// The programs to use if none was chosen: the only one, or the one that `cargo run` runs.
    fn default(&self) -> Result<Vec<Binary>, SelectError> {
        let all: Vec<&Lacking> = self.of(ProgramKind::Bin).collect();
        let able: Vec<Binary> = all
            .iter()
            .filter(|program| program.features.is_empty())
            .map(|program| program.program.clone())
            .collect();
        if let ([package], [_, _, ..]) = (self.packages, all.as_slice())
            && let Some(default) = &package.default_run
        {
            return self.named(ProgramKind::Bin, default);
        }
        match able.as_slice() {
            [_] => Ok(able),
            [] if all.is_empty() => Err(self.none(ProgramKind::Bin)),
            [] => Err(SelectError::NeedsFeatures { programs: all.into_iter().cloned().collect() }),
            several => Err(SelectError::Ambiguous { available: self.shown(several) }),
        }
    }

    fn shown(&self, binaries: &[Binary]) -> Vec<String> {
        let mut names: Vec<String> = binaries
            .iter()
            .map(|binary| {
                if self.packages.len() > 1 {
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

    fn none(&self, kind: ProgramKind) -> SelectError {
        let examples = if kind == ProgramKind::Bin { self.names(ProgramKind::Example) } else { Vec::new() };
        match self.packages {
            [package] if kind == ProgramKind::Bin && package.targets.iter().any(is_library) => {
                SelectError::LibraryOnly { package: package.name.to_string(), examples }
            }
            packages => SelectError::NoBinary {
                kind,
                packages: packages.iter().map(|package| package.name.to_string()).collect(),
                examples,
            },
        }
    }
}

/// The program that a target builds, if it builds one.
fn binary(package: &Package, target: &Target) -> Option<Binary> {
    let kind = if target.kind.contains(&TargetKind::Bin) {
        ProgramKind::Bin
    } else if target.kind.contains(&TargetKind::Example)
        && target.crate_types.contains(&cargo_metadata::CrateType::Bin)
    {
        ProgramKind::Example
    } else {
        return None;
    };
    Some(Binary {
        name: target.name.clone(),
        package: package.name.to_string(),
        kind,
        package_id: package.id.repr.clone(),
    })
}

fn is_library(target: &Target) -> bool {
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
    use serde_json::{Value, json};

    use super::*;
    use crate::payload::cargo::project::select;
    use crate::payload::cargo::sample::{metadata, of_registry, package, target};

    fn chosen(
        packages: &[Value],
        change: impl FnOnce(&mut PayloadSettings),
    ) -> Result<Vec<String>, SelectError> {
        let mut request = PayloadSettings::default();
        change(&mut request);
        let project = select(&metadata(packages), &request)?;
        Ok(project.binaries.into_iter().map(|binary| binary.name).collect())
    }

    fn words(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    /// A server, and a program that needs a feature.
    fn tools() -> Value {
        let mut package = package("app", &["server"], false, None);
        let targets = package["targets"].as_array_mut().unwrap();
        targets.push(target("bin", "seed", &["dev-tools"]));
        targets.push(target("example", "tour", &[]));
        targets.push(target("example", "deep", &["dev-tools"]));
        package["features"] = json!({ "dev-tools": [] });
        package
    }

    #[test]
    fn the_only_binary_needs_no_choice() {
        assert_eq!(chosen(&[package("a", &["a"], true, None)], |_| ()).unwrap(), ["a"]);
    }

    #[test]
    fn several_binaries_need_a_choice_or_a_default() {
        let error = chosen(&[package("a", &["x", "y"], false, None)], |_| ()).unwrap_err();
        assert_eq!(error.exit_code(), ExitCode::AmbiguousBinary);
        assert!(error.to_string().contains("`x`, `y`"), "{error}");
        assert_eq!(chosen(&[package("a", &["x", "y"], false, Some("y"))], |_| ()).unwrap(), ["y"]);
        let both = |request: &mut PayloadSettings| request.bins = words(&["y", "x"]);
        assert_eq!(chosen(&[package("a", &["x", "y"], false, None)], both).unwrap(), ["x", "y"]);
        let pattern = |request: &mut PayloadSettings| request.bins = words(&["app-*"]);
        let all = [package("a", &["app-x", "app-y", "z"], false, None)];
        assert_eq!(chosen(&all, pattern).unwrap(), ["app-x", "app-y"]);
    }

    #[test]
    fn a_virtual_workspace_takes_all_default_members() {
        let all = [package("b", &["b"], false, None), package("c", &["c"], false, None)];
        let error = chosen(&all, |_| ()).unwrap_err();
        assert!(error.to_string().contains("`b: b`, `c: c`"), "{error}");
        assert!(error.hint().unwrap().contains("--bin b "), "{:?}", error.hint());
        for spec in ["c", "c@1.2", "file:///w/c", "c*"] {
            assert_eq!(chosen(&all, |request| request.packages = words(&[spec])).unwrap(), ["c"], "{spec}");
        }
        assert_eq!(chosen(&all, |request| request.all_bins = true).unwrap(), ["b", "c"]);
        let without = |request: &mut PayloadSettings| {
            request.workspace = true;
            request.exclude = words(&["path+file:///w/b#1.2.3"]);
        };
        assert_eq!(chosen(&all, without).unwrap(), ["c"]);
        let twice = |request: &mut PayloadSettings| {
            request.workspace = true;
            request.exclude = words(&["b*", "b"]);
        };
        assert_eq!(chosen(&all, twice).unwrap(), ["c"]);
    }

    #[test]
    fn only_the_default_members_count() {
        let all = [package("a", &["a"], false, None), package("b", &["b"], false, None)];
        let mut document = serde_json::to_value(metadata(&all)).unwrap();
        document["workspace_default_members"] = json!([all[1]["id"]]);
        let metadata: Metadata = serde_json::from_value(document).unwrap();
        let project = select(&metadata, &PayloadSettings::default()).unwrap();
        assert_eq!(project.binaries[0].name, "b");
    }

    #[test]
    fn a_member_may_have_the_name_of_a_dependency() {
        let all = [package("itoa", &["itoa"], false, None), of_registry("itoa", "1.0.15")];
        let name = |request: &mut PayloadSettings| request.packages = words(&["itoa"]);
        assert_eq!(chosen(&all, name).unwrap(), ["itoa"]);
        let project = select(&metadata(&all), &PayloadSettings::default()).unwrap();
        assert_eq!(project.spec_of(&project.binaries[0].package_id), "itoa@1.2.3");
        let error = chosen(&all, |request| request.packages = words(&["itoa@1.0.15"])).unwrap_err();
        assert!(matches!(error, SelectError::NoPackage { .. }), "{error}");
    }

    #[test]
    fn libraries_and_unknown_names_are_told_apart() {
        let library = chosen(&[package("a", &[], true, None)], |_| ()).unwrap_err();
        assert_eq!(library.exit_code(), ExitCode::LibraryOnly);
        let empty = chosen(&[package("a", &[], false, None)], |_| ()).unwrap_err();
        assert_eq!(empty.exit_code(), ExitCode::NoBinary);
        let typo = |request: &mut PayloadSettings| request.bins = words(&["servr"]);
        let typo = chosen(&[package("a", &["server"], false, None)], typo);
        assert_eq!(typo.unwrap_err().hint().unwrap(), "did you mean `server`?");
    }

    #[test]
    fn two_binaries_of_one_name_are_refused() {
        let all = [package("b", &["same"], false, None), package("c", &["same"], false, None)];
        let error = chosen(&all, |request| request.bins = words(&["same"])).unwrap_err();
        assert!(matches!(error, SelectError::SameName { .. }));
        let one = |request: &mut PayloadSettings| {
            request.bins = words(&["same"]);
            request.packages = words(&["c"]);
        };
        assert_eq!(chosen(&all, one).unwrap(), ["same"]);
    }

    #[test]
    fn programs_whose_features_are_off_are_not_chosen() {
        let all = [tools()];
        assert_eq!(chosen(&all, |_| ()).unwrap(), ["server"]);
        assert_eq!(chosen(&all, |request| request.all_bins = true).unwrap(), ["server"]);
        let on = |request: &mut PayloadSettings| request.features = words(&["dev-tools"]);
        let error = chosen(&all, on).unwrap_err();
        assert!(matches!(error, SelectError::Ambiguous { .. }));
        let hint = error.hint().unwrap();
        assert!(hint.contains("`bins = [...]` under [payload]"), "{hint}");
        let both = |request: &mut PayloadSettings| {
            request.features = words(&["app/dev-tools"]);
            request.all_bins = true;
        };
        assert_eq!(chosen(&all, both).unwrap(), ["seed", "server"]);
        let everything = |request: &mut PayloadSettings| {
            request.all_features = true;
            request.bins = words(&["seed"]);
        };
        assert_eq!(chosen(&all, everything).unwrap(), ["seed"]);
    }

    #[test]
    fn the_feature_that_a_chosen_program_needs_is_named() {
        let error = chosen(&[tools()], |request| request.bins = words(&["seed"])).unwrap_err();
        assert_eq!(error.exit_code(), ExitCode::NoBinary);
        assert_eq!(
            error.to_string(),
            "the program `seed` of package `app` requires the features `dev-tools`"
        );
        assert_eq!(
            error.hint().unwrap(),
            "add --features dev-tools, or `features = [\"dev-tools\"]` under [payload]"
        );
        let mut only = package("app", &[], false, Some("seed"));
        only["targets"] = json!([target("bin", "seed", &["dev-tools"])]);
        assert!(matches!(chosen(&[only], |_| ()).unwrap_err(), SelectError::NeedsFeatures { .. }));
    }

    #[test]
    fn examples_are_programs_where_they_are_asked_for() {
        let all = [tools()];
        assert_eq!(chosen(&all, |request| request.examples = words(&["tour"])).unwrap(), ["tour"]);
        assert_eq!(chosen(&all, |request| request.all_examples = true).unwrap(), ["tour"]);
        let both = |request: &mut PayloadSettings| {
            request.examples = words(&["t*"]);
            request.bins = words(&["server"]);
        };
        assert_eq!(chosen(&all, both).unwrap(), ["server", "tour"]);
        let error = chosen(&all, |request| request.bins = words(&["tour"])).unwrap_err();
        assert_eq!(error.hint().unwrap(), "it is an example: --example tour");
        let error = chosen(&all, |request| request.examples = words(&["deep"])).unwrap_err();
        assert!(matches!(error, SelectError::NeedsFeatures { .. }));
        let mut library = package("a", &[], true, None);
        library["targets"].as_array_mut().unwrap().push(target("example", "tour", &[]));
        let error = chosen(std::slice::from_ref(&library), |_| ()).unwrap_err();
        assert!(error.hint().unwrap().ends_with("--example tour"), "{:?}", error.hint());
        let error = chosen(&[package("a", &["a"], false, None)], |request| request.all_examples = true);
        assert_eq!(error.unwrap_err().to_string(), "package `a` has no example target");
    }
}
