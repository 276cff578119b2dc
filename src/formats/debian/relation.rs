//! Relations between packages (Debian Policy, chapter 7): `a (>= 1) | b:any, c`. Pure.
//!
//! Architecture lists and build profiles are deliberately not supported: they occur in source packages only.

use std::cmp::Ordering;
use std::fmt;

use debversion::Version;

/// Alternatives, one of which is enough.
pub type Group = Vec<Relation>;

/// A reference to a package, for or against it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// The package's name.
    pub name: String,
    /// The qualifier after the colon: `any`, `native` or an architecture.
    pub qualifier: Option<String>,
    /// The versions that match.
    pub constraint: Option<(Operator, Version)>,
}

/// How a version must compare to the given one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `<<`
    Earlier,
    /// `<=`
    EarlierOrEqual,
    /// `=`
    Equal,
    /// `>=`
    LaterOrEqual,
    /// `>>`
    Later,
}

/// A text that is not a relation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a relation between packages")]
pub struct BadRelation(pub String);

impl Operator {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "<<" => Self::Earlier,
            // The single signs are long obsolete and mean "or equal" (Policy, section 7.1).
            "<=" | "<" => Self::EarlierOrEqual,
            "=" => Self::Equal,
            ">=" | ">" => Self::LaterOrEqual,
            ">>" => Self::Later,
            _ => return None,
        })
    }

    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Earlier => ordering.is_lt(),
            Self::EarlierOrEqual => ordering.is_le(),
            Self::Equal => ordering.is_eq(),
            Self::LaterOrEqual => ordering.is_ge(),
            Self::Later => ordering.is_gt(),
        }
    }
}

impl Relation {
    /// A package in any version.
    #[must_use]
    pub fn any(name: &str) -> Self {
        Self { name: name.to_owned(), qualifier: None, constraint: None }
    }

    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (named, constraint) = match text.split_once('(') {
            Some((named, rest)) => {
                let inner = rest.strip_suffix(')')?.trim();
                let split = inner.find(|c: char| !matches!(c, '<' | '=' | '>'))?;
                let (operator, version) = inner.split_at(split);
                (
                    named.trim(),
                    Some((Operator::parse(operator)?, Version::parse_lenient(version.trim()).ok()?)),
                )
            }
            None => (text, None),
        };
        let (name, qualifier) = match named.split_once(':') {
            Some((name, qualifier)) => (name, Some(qualifier)),
            None => (named, None),
        };
        let plain = |text: &str| {
            !text.is_empty()
                && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.' | '_'))
        };
        if !plain(name) || !qualifier.is_none_or(plain) {
            return None;
        }
        Some(Self { name: name.to_owned(), qualifier: qualifier.map(Into::into), constraint })
    }

    /// True if a package's own version matches.
    #[must_use]
    pub fn admits(&self, version: &Version) -> bool {
        self.constraint.as_ref().is_none_or(|(operator, wanted)| operator.holds(version.cmp(wanted)))
    }

    /// True if a provided version matches. A package that is provided without a version only satisfies relations
    /// without one.
    #[must_use]
    pub fn admits_provided(&self, version: Option<&Version>) -> bool {
        match version {
            Some(version) => self.admits(version),
            None => self.constraint.is_none(),
        }
    }

    /// True unless the relation is for another architecture's package.
    #[must_use]
    pub fn is_native(&self, architecture: &str) -> bool {
        self.qualifier
            .as_deref()
            .is_none_or(|qualifier| matches!(qualifier, "any" | "native") || qualifier == architecture)
    }
}

/// Parses a whole field: groups separated by commas, alternatives by bars. Empty groups are skipped, as in dpkg.
///
/// # Errors
///
/// If one part is not a relation.
pub fn parse_groups(text: &str) -> Result<Vec<Group>, BadRelation> {
    let part = |text: &str| Relation::parse(text).ok_or_else(|| BadRelation(text.trim().to_owned()));
    text.split(',')
        .filter(|group| !group.trim().is_empty())
        .map(|group| group.split('|').map(part).collect())
        .collect()
}

impl fmt::Display for Relation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)?;
        if let Some(qualifier) = &self.qualifier {
            write!(formatter, ":{qualifier}")?;
        }
        if let Some((operator, version)) = &self.constraint {
            write!(formatter, " ({operator} {version})")?;
        }
        Ok(())
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Earlier => "<<",
            Self::EarlierOrEqual => "<=",
            Self::Equal => "=",
            Self::LaterOrEqual => ">=",
            Self::Later => ">>",
        })
    }
}

/// A group as in a field: `a (>= 1) | b`.
#[must_use]
pub fn written(group: &[Relation]) -> String {
    group.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_policy_allows() {
        let groups =
            parse_groups("libc6 (>= 2.36), debconf (>= 0.5) | debconf-2.0,\n python3:any, x(<<1:2~b1) ,")
                .unwrap();
        let lines: Vec<String> = groups.iter().map(|group| written(group)).collect();
        assert_eq!(
            lines,
            ["libc6 (>= 2.36)", "debconf (>= 0.5) | debconf-2.0", "python3:any", "x (<< 1:2~b1)"]
        );
    }

    #[test]
    fn refuses_what_it_does_not() {
        for text in ["a (1)", "a (>= )", "a (>= 1", "a | ", "a b", "a (~ 1)", "a:"] {
            assert!(parse_groups(text).is_err(), "{text}");
        }
    }

    #[test]
    fn compares_versions_as_dpkg_does() {
        let holds = |relation: &str, version: &str| {
            parse_groups(relation).unwrap()[0][0].admits(&version.parse().unwrap())
        };
        assert!(holds("a (>= 2.36)", "2.36-9+deb12u14"));
        assert!(holds("a (<< 1.0)", "1.0~rc1"));
        assert!(!holds("a (<< 1.0)", "1:0.1"));
        assert!(holds("a (= 1-0)", "1"));
        assert!(holds("a (>> 1.9)", "1.10"));
        assert!(holds("a", "0"));
    }

    #[test]
    fn an_unversioned_provision_satisfies_no_version() {
        let relation = |text: &str| parse_groups(text).unwrap().remove(0).remove(0);
        assert!(relation("awk").admits_provided(None));
        assert!(!relation("awk (>= 1)").admits_provided(None));
        assert!(relation("awk (>= 1)").admits_provided(Some(&"2".parse().unwrap())));
    }

    #[test]
    fn only_foreign_architectures_are_foreign() {
        let native = |text: &str| parse_groups(text).unwrap()[0][0].is_native("arm64");
        assert!(native("a") && native("a:any") && native("a:native") && native("a:arm64"));
        assert!(!native("a:amd64"));
    }
}
