//! Package specifications in cargo's syntax (`cargo help pkgid`): a name, `name@version`, or a URL with or without
//! these after a `#`. A version may be partial, as `1.2`. Pure.
//!
//! A name alone is not always enough: a package may depend on another one of its own name, and two versions of one
//! package are common in a graph.

use cargo_metadata::{Metadata, Package, semver::Version};

use crate::error::{ExitCode, Explain};
use crate::text::nearest;

/// A parsed specification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spec {
    /// `path`, `git`, `registry` or `sparse`, before a `+` and the URL.
    kind: Option<String>,
    /// The URL, without a trailing `/`; with its query if `kind` is given.
    url: Option<String>,
    name: Option<String>,
    version: Option<String>,
}

/// Why a specification names no package.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// It is not a specification.
    #[error("`{given}` does not specify a package: {reason}")]
    Form {
        /// The text.
        given: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// No package matches.
    #[error("no package of the build matches `{given}`")]
    Unknown {
        /// The text.
        given: String,
        /// A name that may have been meant.
        nearest: Option<String>,
    },
    /// Several packages match.
    #[error("several packages match `{given}`: {}", fitting.iter().map(|spec| format!("`{spec}`")).collect::<Vec<_>>().join(", "))]
    Ambiguous {
        /// The text.
        given: String,
        /// Specifications, each of which matches only one of them.
        fitting: Vec<String>,
    },
}

impl Explain for SpecError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Form { .. } => ExitCode::Config,
            Self::Unknown { .. } => ExitCode::NoBinary,
            Self::Ambiguous { .. } => ExitCode::AmbiguousBinary,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Form { .. } => {
                "write a name, `name@version`, or what `cargo pkgid` prints in the project's directory".into()
            }
            Self::Unknown { nearest: Some(name), .. } => format!("did you mean `{name}`?"),
            Self::Unknown { nearest: None, .. } => "`cargo tree` lists the packages".into(),
            Self::Ambiguous { fitting, .. } => {
                format!("write which one: `{}`", fitting.first().map_or("name@version", String::as_str))
            }
        })
    }
}

impl Spec {
    /// Parses a specification.
    pub(crate) fn parse(text: &str) -> Result<Self, SpecError> {
        let wrong = |reason| SpecError::Form { given: text.to_owned(), reason };
        if let Some((scheme, _)) = text.split_once("://") {
            return Ok(Self::of_url(text, scheme));
        }
        if text.contains('/') || text.contains('\\') {
            return Err(wrong("it looks like a path, which must be written as a URL: `file:///…`"));
        }
        let (name, version) = match text.split_once(['@', ':']) {
            Some((name, version)) => (name, Some(version)),
            None => (text, None),
        };
        if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_')) {
            return Err(wrong("a name has letters, digits, `-` and `_`"));
        }
        if version.is_some_and(|version| !version.starts_with(|c: char| c.is_ascii_digit())) {
            return Err(wrong("a version begins with a number"));
        }
        Ok(Self { kind: None, url: None, name: Some(name.into()), version: version.map(Into::into) })
    }

    fn of_url(text: &str, scheme: &str) -> Self {
        let (url, fragment) = match text.split_once('#') {
            Some((url, fragment)) => (url, Some(fragment)),
            None => (text, None),
        };
        let (kind, url) = match scheme.split_once('+') {
            Some((kind, _)) => (Some(kind.to_owned()), &url[kind.len() + 1..]),
            None => (None, url),
        };
        let plain = url.split('?').next().unwrap_or(url).trim_end_matches('/');
        let last = || plain.rsplit('/').next().unwrap_or(plain).to_owned();
        let (name, version) = match fragment {
            None => (last(), None),
            Some(fragment) => match fragment.split_once(['@', ':']) {
                Some((name, version)) => (name.to_owned(), Some(version.to_owned())),
                None if fragment.starts_with(|c: char| c.is_ascii_digit()) => {
                    (last(), Some(fragment.to_owned()))
                }
                None => (fragment.to_owned(), None),
            },
        };
        let url = if kind.is_some() { url.trim_end_matches('/') } else { plain };
        Self { kind, url: Some(url.to_owned()), name: Some(name), version }
    }

    /// True if it matches this package.
    #[must_use]
    pub(crate) fn fits(&self, package: &Package) -> bool {
        let of_package = || {
            let id = package.id.repr.as_str();
            let scheme = id.split_once("://").map_or("", |(scheme, _)| scheme);
            Self::of_url(id, scheme)
        };
        self.name.as_ref().is_none_or(|name| *name == *package.name)
            && self.version.as_ref().is_none_or(|version| version_fits(version, &package.version))
            && self.url.as_ref().is_none_or(|url| {
                let own = of_package();
                let own_url = own.url.unwrap_or_default();
                match &self.kind {
                    Some(_) => own.kind == self.kind && own_url == *url,
                    None => own_url.split('?').next() == Some(url),
                }
            })
    }
}

/// True if a version, or the first numbers of one, matches that of a package.
fn version_fits(given: &str, version: &Version) -> bool {
    if let Ok(given) = Version::parse(given) {
        return (given.major, given.minor, given.patch, &given.pre)
            == (version.major, version.minor, version.patch, &version.pre)
            && (given.build.is_empty() || given.build == version.build);
    }
    let numbers = [version.major, version.minor, version.patch];
    let parts: Vec<&str> = given.split('.').collect();
    version.pre.is_empty()
        && parts.len() <= numbers.len()
        && parts.iter().zip(numbers).all(|(part, number)| part.parse() == Ok(number))
}

/// True if it is not a specification but a pattern of names, in cargo's syntax.
#[must_use]
pub(crate) fn is_pattern(text: &str) -> bool {
    !text.contains("://") && text.contains(['*', '?', '['])
}

/// The only package that a specification matches. If several match, a member of the workspace is preferred.
pub(crate) fn find<'a>(metadata: &'a Metadata, text: &str) -> Result<&'a Package, SpecError> {
    let spec = Spec::parse(text)?;
    let fitting: Vec<&Package> = metadata.packages.iter().filter(|package| spec.fits(package)).collect();
    let members: Vec<&Package> =
        fitting.iter().copied().filter(|package| metadata.workspace_members.contains(&package.id)).collect();
    match (members.as_slice(), fitting.as_slice()) {
        ([one], _) | ([], [one]) => Ok(one),
        ([], []) => {
            let known: Vec<&str> = metadata.packages.iter().map(|package| package.name.as_str()).collect();
            let name = spec.name.as_deref().unwrap_or(text);
            Err(SpecError::Unknown {
                given: text.to_owned(),
                nearest: nearest(name, &known).filter(|near| *near != text).map(ToOwned::to_owned),
            })
        }
        _ => Err(SpecError::Ambiguous {
            given: text.to_owned(),
            fitting: fitting.iter().map(|package| shortest(metadata, package)).collect(),
        }),
    }
}

/// The shortest specification that matches no other package of the graph, for users to read in messages and to type.
#[must_use]
pub(crate) fn shortest(metadata: &Metadata, package: &Package) -> String {
    let same = |other: &&Package| other.name == package.name;
    let others: Vec<&Package> = metadata.packages.iter().filter(same).collect();
    if others.len() == 1 {
        return package.name.to_string();
    }
    if others.iter().filter(|other| other.version == package.version).count() == 1 {
        return format!("{}@{}", package.name, package.version);
    }
    package.id.repr.clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::cargo::sample::{metadata, of_registry, package};

    /// A workspace whose member `itoa` depends on the registry's `itoa`, of which there are two versions.
    fn graph() -> Metadata {
        metadata(&[
            package("itoa", &["itoa"], false, None),
            package("app", &["app"], false, None),
            of_registry("itoa", "1.0.15"),
            of_registry("itoa", "0.4.8"),
            of_registry("ryu", "1.0.20"),
        ])
    }

    fn id(text: &str) -> String {
        let graph = graph();
        find(&graph, text).unwrap_or_else(|error| panic!("{text}: {error}")).id.repr.clone()
    }

    #[test]
    fn every_form_of_cargos_is_understood() {
        let member = "path+file:///w/itoa#1.2.3";
        for text in ["itoa", "itoa@1.2.3", "itoa:1.2", "file:///w/itoa", "path+file:///w/itoa/", member] {
            assert_eq!(id(text), member, "{text}");
        }
        let old = "registry+https://github.com/rust-lang/crates.io-index#itoa@0.4.8";
        for text in ["itoa@0.4.8", "itoa@0", "https://github.com/rust-lang/crates.io-index#itoa@0.4", old] {
            assert_eq!(id(text), old, "{text}");
        }
        let ryu = "registry+https://github.com/rust-lang/crates.io-index#ryu@1.0.20";
        for text in ["ryu", "ryu@1", "https://github.com/rust-lang/crates.io-index#ryu"] {
            assert_eq!(id(text), ryu, "{text}");
        }
    }

    #[test]
    fn what_fits_none_or_several_is_told() {
        let graph = graph();
        let error = |text: &str| find(&graph, text).unwrap_err();
        assert_eq!(error("riu").hint().unwrap(), "did you mean `ryu`?");
        assert!(matches!(error("itoa@3"), SpecError::Unknown { nearest: Some(_), .. }));
        assert!(matches!(
            error("git+https://github.com/rust-lang/crates.io-index#ryu"),
            SpecError::Unknown { .. }
        ));
        let several = error("https://github.com/rust-lang/crates.io-index#itoa");
        assert_eq!(several.exit_code(), ExitCode::AmbiguousBinary);
        assert!(several.to_string().ends_with("`itoa@1.0.15`, `itoa@0.4.8`"), "{several}");
        assert!(error("./app").to_string().contains("file:///"), "a path is not a specification");
        assert!(matches!(error("app@x"), SpecError::Form { .. }));
        assert!(matches!(error(""), SpecError::Form { .. }));
    }

    #[test]
    fn the_shortest_specification_fits_one_package_only() {
        let graph = graph();
        let shortest: Vec<String> = graph.packages.iter().map(|package| shortest(&graph, package)).collect();
        assert_eq!(shortest, ["itoa@1.2.3", "app", "itoa@1.0.15", "itoa@0.4.8", "ryu"]);
    }

    #[test]
    fn two_of_one_name_and_version_are_told_apart_by_their_places() {
        let graph = metadata(&[package("a", &[], true, None), of_registry("a", "1.2.3")]);
        assert_eq!(shortest(&graph, &graph.packages[0]), "path+file:///w/a#1.2.3");
        assert_eq!(
            shortest(&graph, &graph.packages[1]),
            "registry+https://github.com/rust-lang/crates.io-index#a@1.2.3"
        );
    }
}
